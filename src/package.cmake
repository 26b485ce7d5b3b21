# What `cmake --install` leaves besides the program: the library, its headers, and a package for
#     find_package(qwill REQUIRED)
#     target_link_libraries(app PRIVATE qwill::qwill)
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/qwill)

set_target_properties(qwill_core PROPERTIES OUTPUT_NAME qwill EXPORT_NAME qwill)
install(TARGETS qwill_core EXPORT qwill ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/qwill DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT qwill NAMESPACE qwill:: FILE qwill-targets.cmake DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/qwill-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/qwill-config.cmake
  INSTALL_DESTINATION ${package_dir} PATH_VARS CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/qwill-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/qwill-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/qwill-config-version.cmake
        DESTINATION ${package_dir})
# The CUDA runtime comes along, so that who links the library needs no toolkit.
if(QWILL_CUDA)
  install(FILES $<TARGET_FILE:CUDA::cudart_static> DESTINATION ${CMAKE_INSTALL_LIBDIR}/qwill)
endif()
