# One compile_fail test: cmake -DCOMPILER= -DFILE= -DINCLUDE= -P compile_fail.cmake
# A file must fail to compile with an error that matches its first line `// expect: REGEX`; a file named control*.cc must
# compile. A file that tests HEADRACE_CONTROL must also compile when that is defined: it proves that only the misuse fails.
get_filename_component(name "${FILE}" NAME)
file(STRINGS "${FILE}" lines LIMIT_COUNT 1)
file(READ "${FILE}" text)

function(compile out_code out_text)
  execute_process(COMMAND "${COMPILER}" -std=c++20 -fsyntax-only -Wall -Wextra -Werror -Wno-missing-field-initializers
    "-I${INCLUDE}" ${ARGN} "${FILE}" RESULT_VARIABLE code OUTPUT_VARIABLE log ERROR_VARIABLE log)
  set(${out_code} "${code}" PARENT_SCOPE)
  set(${out_text} "${log}" PARENT_SCOPE)
endfunction()

if(name MATCHES "^control")
  compile(code log)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${name} is a control and must compile:\n${log}")
  endif()
  return()
endif()

if(NOT lines MATCHES "^// expect: (.+)$")
  message(FATAL_ERROR "${name}: the first line must be `// expect: REGEX`")
endif()
set(expected "${CMAKE_MATCH_1}")
compile(code log)
if(code EQUAL 0)
  message(FATAL_ERROR "${name} compiles, but it must not")
elseif(NOT log MATCHES "${expected}")
  message(FATAL_ERROR "${name} fails, but not with /${expected}/:\n${log}")
endif()
if(text MATCHES "HEADRACE_CONTROL")
  compile(code log -DHEADRACE_CONTROL)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${name} must compile with HEADRACE_CONTROL defined:\n${log}")
  endif()
endif()
