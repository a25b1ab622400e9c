# Tests: one executable per folder of tests/ that has sources (headrace_tests_<folder>).
# Label: `fast-<folder>` or `slow-<folder>` (one word, as gtest_discover_tests passes no lists); `ctest -L fast` matches
# all fast ones, `ctest -L pipeline` one folder. Files *sched*.cc of tests/unit form headrace_tests_sched. Tests that need
# a GPU (gpu_tests below) have the label `gpu-<folder>`; where there is none they are skipped, with the reason.
enable_testing()
find_package(GTest REQUIRED)
include(GoogleTest)

file(GLOB_RECURSE support_sources CONFIGURE_DEPENDS tests/support/*.cc)
add_library(headrace_test_support STATIC ${support_sources} ${HEADRACE_EMPTY_SOURCE})
target_link_libraries(headrace_test_support PUBLIC headrace_build headrace_private GTest::gtest GTest::gmock)
target_include_directories(headrace_test_support PUBLIC src tests)
set_target_properties(headrace_test_support PROPERTIES POSITION_INDEPENDENT_CODE OFF)  # as the programs that share its
target_precompile_headers(headrace_test_support PRIVATE                                 # precompiled headers
  <gmock/gmock.h> <gtest/gtest.h> <nlohmann/json.hpp> ${HEADRACE_COMMON_HEADERS})
# Paths stand in one file, so that all others compile to the same in every folder (ccache).
set_source_files_properties(tests/support/paths.cc PROPERTIES COMPILE_DEFINITIONS
  "HEADRACE_SOURCE_DIR=\"${PROJECT_SOURCE_DIR}\";HEADRACE_BINARY=\"$<IF:$<TARGET_EXISTS:headrace>,${CMAKE_BINARY_DIR}/headrace,>\"")

add_custom_target(headrace_fast_tests)   # what `ctest -L fast` needs
add_custom_target(headrace_sched_tests)  # what the thread sanitizer runs

# All others see no GPU, so that they are the same on every machine.
set(no_gpu "CUDA_VISIBLE_DEVICES=set:-1")
set(gpu_tests "Gpu*.*:*/cuda_*:*/checked_cuda_*")
function(headrace_add_tests folder speed)
  if(NOT ARGN)
    return()
  endif()
  set(target headrace_tests_${folder})
  add_executable(${target} ${ARGN})
  target_link_libraries(${target} PRIVATE headrace_test_support GTest::gtest_main)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_precompile_headers(${target} REUSE_FROM headrace_test_support)
  if(speed STREQUAL "fast")
    add_dependencies(headrace_fast_tests ${target})
  elseif(TARGET headrace)
    add_dependencies(${target} headrace)
  endif()
  if(folder MATCHES "^(sched|pipeline)$")
    add_dependencies(headrace_sched_tests ${target})
  endif()
  set(common TEST_PREFIX "${folder}/" DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  gtest_discover_tests(${target} ${common} TEST_FILTER "*:-${gpu_tests}"
    PROPERTIES LABELS "${speed}-${folder}" TIMEOUT 900 ENVIRONMENT "OMP_WAIT_POLICY=passive"
    ENVIRONMENT_MODIFICATION "${no_gpu}")
  if(HEADRACE_CUDA_INCLUDE)
    gtest_discover_tests(${target} ${common} TEST_FILTER "${gpu_tests}" TEST_LIST ${target}_gpu_tests
      PROPERTIES LABELS "gpu-${folder}" TIMEOUT 900 ENVIRONMENT "OMP_WAIT_POLICY=passive")
  endif()
endfunction()

foreach(folder unit passes ops onnx device models plan pipeline seedway ladder workload cli)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS tests/${folder}/*.cc)
  set(speed fast)
  if(folder MATCHES "^(models|cli|onnx)$")
    set(speed slow)
  endif()
  if(folder STREQUAL unit)
    set(sched_sources ${sources})
    list(FILTER sched_sources INCLUDE REGEX "sched[^/]*\\.cc$")
    list(FILTER sources EXCLUDE REGEX "sched[^/]*\\.cc$")
    headrace_add_tests(sched fast ${sched_sources})
  endif()
  headrace_add_tests(${folder} ${speed} ${sources})
endforeach()

# Ranges for profilers, whether the libraries were built with them or not: the sources of base alone, with NVTX.
if(HEADRACE_NVTX_INCLUDE AND NOT HEADRACE_SANITIZE)
  add_library(headrace_nvtx_injection SHARED tests/nvtx/injection.cc)
  target_include_directories(headrace_nvtx_injection SYSTEM PRIVATE "${HEADRACE_NVTX_INCLUDE}")
  target_link_libraries(headrace_nvtx_injection PRIVATE headrace_flags)
  file(GLOB base_sources CONFIGURE_DEPENDS src/base/*.cc)
  add_executable(headrace_tests_nvtx tests/nvtx/ranges_test.cc ${base_sources})
  target_include_directories(headrace_tests_nvtx PRIVATE include)
  target_include_directories(headrace_tests_nvtx SYSTEM PRIVATE "${HEADRACE_NVTX_INCLUDE}")
  target_compile_definitions(headrace_tests_nvtx PRIVATE HEADRACE_NVTX
    HEADRACE_NVTX_INJECTION="$<TARGET_FILE:headrace_nvtx_injection>"
    $<$<BOOL:${HEADRACE_NVTX}>:HEADRACE_NVTX_BINARY="${CMAKE_BINARY_DIR}/headrace">)
  target_link_libraries(headrace_tests_nvtx PRIVATE headrace_private GTest::gtest_main GTest::gmock
    "${HEADRACE_XXHASH_LIBRARY}" Threads::Threads ${CMAKE_DL_LIBS})
  add_dependencies(headrace_tests_nvtx headrace_nvtx_injection)
  add_dependencies(headrace_fast_tests headrace_tests_nvtx)
  if(HEADRACE_NVTX AND TARGET headrace)
    add_dependencies(headrace_tests_nvtx headrace)
  endif()
  gtest_discover_tests(headrace_tests_nvtx TEST_PREFIX "nvtx/" DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS "fast-nvtx" TIMEOUT 120)
endif()

# Scripts that drive the program: tests/onnx/node_tests.py (ONNX's own node tests), tests/models/all_models.py (one test
# per network, against ONNX Runtime), tests/{models,cli}/*_test.py.
if(TARGET headrace AND NOT HEADRACE_SANITIZE)
  find_program(HEADRACE_PYTHON NAMES python3 HINTS "${PROJECT_SOURCE_DIR}/.deps/venv/bin" NO_CMAKE_PATH)
  file(GLOB scripts CONFIGURE_DEPENDS tests/onnx/node_tests.py tests/models/*_test.py tests/cli/*_test.py)
  foreach(script ${scripts})
    file(RELATIVE_PATH name "${PROJECT_SOURCE_DIR}/tests" "${script}")
    string(REGEX REPLACE "\\.py$" "" name "${name}")
    string(REGEX REPLACE "/.*" "" folder "${name}")
    add_test(NAME ${name} COMMAND "${HEADRACE_PYTHON}" "${script}" --cli "$<TARGET_FILE:headrace>"
      WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
    set_tests_properties(${name} PROPERTIES LABELS "slow-${folder}" TIMEOUT 1200 ENVIRONMENT_MODIFICATION "${no_gpu}")
    if(NOT folder STREQUAL cli)  # those of models and onnx use all cores by themselves
      set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
    endif()
  endforeach()
  if(EXISTS "${PROJECT_SOURCE_DIR}/tests/models/all_models.py")
    foreach(model resnet18 resnet50 mobilenet_v2 mobilenet9 pointpillars_rpn yolox_m ocr_det ocr_cls ocr_rec)
      add_test(NAME models/${model} COMMAND "${HEADRACE_PYTHON}" tests/models/all_models.py --cli "$<TARGET_FILE:headrace>"
        --models .deps/models --ocr .deps/ocr ${model} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
      set_tests_properties(models/${model} PROPERTIES LABELS slow-models TIMEOUT 600 RUN_SERIAL ON
        ENVIRONMENT_MODIFICATION "${no_gpu}")
    endforeach()
  endif()
endif()

# The examples check what they compute: each once, with small settings, on the network that it is about.
if(TARGET headrace AND NOT HEADRACE_SANITIZE)
  file(GLOB examples CONFIGURE_DEPENDS examples/*.cc)
  foreach(source ${examples})
    get_filename_component(name "${source}" NAME_WE)
    add_executable(example_${name} "${source}")
    target_link_libraries(example_${name} PRIVATE headrace_build headrace_flags)
  endforeach()
  function(headrace_run_example name model count)
    add_test(NAME examples/${name} COMMAND example_${name} .deps/models/${model}.onnx ${count} quick
      WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
    set_tests_properties(examples/${name} PROPERTIES LABELS slow-examples TIMEOUT 300 RUN_SERIAL ON
      ENVIRONMENT_MODIFICATION "${no_gpu}")
  endfunction()
  headrace_run_example(camera resnet18 40)
  headrace_run_example(throughput resnet18 4)
  headrace_run_example(timing pointpillars_rpn 3)
  headrace_run_example(mobilenet9 mobilenet9 6)
  headrace_run_example(yolox yolox_m 2)
endif()

if(NOT HEADRACE_SANITIZE)
  file(GLOB compile_fail_files CONFIGURE_DEPENDS tests/compile_fail/*.cc)
  foreach(file ${compile_fail_files})
    get_filename_component(name "${file}" NAME_WE)
    add_test(NAME compile_fail/${name} COMMAND "${CMAKE_COMMAND}" -DCOMPILER=${CMAKE_CXX_COMPILER} -DFILE=${file}
      -DINCLUDE=${PROJECT_SOURCE_DIR}/include -P "${PROJECT_SOURCE_DIR}/cmake/compile_fail.cmake")
    set_tests_properties(compile_fail/${name} PROPERTIES LABELS "fast;compile_fail" TIMEOUT 120)
  endforeach()

  # The run-time library stands alone: with every object of it linked in, nothing of the build half may be missing.
  add_executable(headrace_runtime_alone ${HEADRACE_MAIN_SOURCE})
  target_link_libraries(headrace_runtime_alone PRIVATE
    -Wl,--whole-archive $<TARGET_FILE:headrace_runtime> -Wl,--no-whole-archive headrace_runtime)
  add_test(NAME link/runtime_alone COMMAND headrace_runtime_alone)
  set_tests_properties(link/runtime_alone PROPERTIES LABELS "fast;link")

  # The installed package: install to a fresh prefix, find_package from another project, build and run.
  add_test(NAME install/consumer COMMAND "${CMAKE_COMMAND}" -DBUILD=${CMAKE_BINARY_DIR}
    -DSOURCE=${PROJECT_SOURCE_DIR} -DGENERATOR=${CMAKE_GENERATOR} -DCXX=${CMAKE_CXX_COMPILER}
    -P "${PROJECT_SOURCE_DIR}/cmake/consumer_test.cmake")
  set_tests_properties(install/consumer PROPERTIES LABELS "slow;install" TIMEOUT 300
    ENVIRONMENT_MODIFICATION "${no_gpu}")
endif()
