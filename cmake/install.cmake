# cmake --install: headers, the two libraries, the command, oneDNN's shared library, and find_package(headrace).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(HEADRACE_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/headrace")

install(TARGETS headrace_runtime headrace_build EXPORT headraceTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY include/headrace DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
install(EXPORT headraceTargets NAMESPACE headrace:: DESTINATION "${HEADRACE_CMAKE_DIR}")
if(TARGET headrace)
  set_target_properties(headrace PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
  install(TARGETS headrace RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
set(HEADRACE_WITH_ONEDNN OFF)
if(TARGET headrace_onednn)
  set(HEADRACE_WITH_ONEDNN ON)
  install(FILES "${HEADRACE_ONEDNN_ROOT}/lib/libdnnl.so.3" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()
configure_package_config_file(cmake/headraceConfig.cmake.in "${CMAKE_BINARY_DIR}/headraceConfig.cmake"
  INSTALL_DESTINATION "${HEADRACE_CMAKE_DIR}" PATH_VARS CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/headraceConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/headraceConfig.cmake" "${CMAKE_BINARY_DIR}/headraceConfigVersion.cmake"
  DESTINATION "${HEADRACE_CMAKE_DIR}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
