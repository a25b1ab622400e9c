# install/consumer: installs the build tree into a fresh prefix, then builds and runs examples/consumer against it.
set(prefix "${BUILD}/consumer_test/prefix")
set(build "${BUILD}/consumer_test/build")
file(REMOVE_RECURSE "${BUILD}/consumer_test")

function(must)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE log ERROR_VARIABLE log)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${ARGN}\nfailed (${code}):\n${log}")
  endif()
endfunction()

must("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${prefix}")
must("${CMAKE_COMMAND}" -S "${SOURCE}/examples/consumer" -B "${build}" -G "${GENERATOR}"
  -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_BUILD_TYPE=Release)
must("${CMAKE_COMMAND}" --build "${build}")
must("${build}/consumer_runtime")
must("${build}/consumer_build")
