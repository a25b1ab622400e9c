# oneDNN (GNU OpenMP build). `./dev` unpacks the two Python packages that carry it into .deps/onednn.
# Defines the imported target headrace_onednn when it is there; without it the cpu backend has no oneDNN tactics.
set(HEADRACE_ONEDNN_ROOT "${CMAKE_CURRENT_SOURCE_DIR}/.deps/onednn" CACHE PATH "folder with include/oneapi and lib/libdnnl.so.3")

if(EXISTS "${HEADRACE_ONEDNN_ROOT}/lib/libdnnl.so.3" AND EXISTS "${HEADRACE_ONEDNN_ROOT}/include/oneapi/dnnl/dnnl.hpp")
  add_library(headrace_onednn SHARED IMPORTED GLOBAL)
  set_target_properties(headrace_onednn PROPERTIES
    IMPORTED_LOCATION "${HEADRACE_ONEDNN_ROOT}/lib/libdnnl.so.3"
    IMPORTED_SONAME libdnnl.so.3
    INTERFACE_INCLUDE_DIRECTORIES "${HEADRACE_ONEDNN_ROOT}/include")
  message(STATUS "oneDNN: ${HEADRACE_ONEDNN_ROOT}")
else()
  message(WARNING
    "oneDNN was not found in ${HEADRACE_ONEDNN_ROOT}: the cpu backend is built WITHOUT its oneDNN tactics and will be "
    "several times slower. Run `./dev env` to fetch it, or set HEADRACE_ONEDNN_ROOT.")
endif()
