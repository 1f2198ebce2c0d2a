# libcow: one archive of all layers, one shared library of the C interface over them, and what
# `find_package(cow)`, `pkg-config cow` and `pkg-config cow-c` need to use an installed copy of them.
include(CMakePackageConfigHelpers)

# The layers inside of libcow; a user links one library and sees include/cow only.
set(COW_LAYERS base os format store fs vm move control core)

# cow_library(): the target `cow`, and `cow_shared`, of the same objects. The shared library shows the
# C interface alone: that of C++ has types of Abseil in it, which promises no stable form of them.
function(cow_library)
  add_library(cow STATIC)
  add_library(cow_shared SHARED)
  add_library(cow::cow ALIAS cow)
  add_library(cow::shared ALIAS cow_shared)
  set_target_properties(cow cow_shared PROPERTIES LINKER_LANGUAGE CXX)
  target_include_directories(cow PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                        $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(cow PUBLIC cxx_std_20)
  set(libraries)
  foreach(layer ${COW_LAYERS})
    if(NOT TARGET cow_${layer})
      continue()
    endif()
    target_sources(cow PRIVATE $<TARGET_OBJECTS:cow_${layer}>)
    target_sources(cow_shared PRIVATE $<TARGET_OBJECTS:cow_${layer}>)
    get_target_property(used cow_${layer} LINK_LIBRARIES)
    list(APPEND libraries ${used})
  endforeach()
  # What the layers link, less the layers themselves: an archive passes its needs on.
  list(FILTER libraries EXCLUDE REGEX "^cow|cow_tsan_mutex")
  list(REMOVE_DUPLICATES libraries)
  target_link_libraries(cow PUBLIC ${libraries} Threads::Threads)

  set(symbols ${PROJECT_SOURCE_DIR}/cmake/shared.map)
  target_link_libraries(cow_shared PRIVATE ${libraries} Threads::Threads)
  target_include_directories(cow_shared INTERFACE
                             $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                             $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  # Not unloaded by dlclose: it has threads.
  target_link_options(cow_shared PRIVATE -Wl,--version-script=${symbols} -Wl,-z,nodelete)
  set_target_properties(cow_shared PROPERTIES
                        OUTPUT_NAME cow EXPORT_NAME shared LINK_DEPENDS ${symbols}
                        VERSION ${PROJECT_VERSION}
                        SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
endfunction()

# cow_install(): the rules of `cmake --install`.
function(cow_install)
  set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/cow)
  install(TARGETS cow cow_shared EXPORT cow-targets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/cow DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
          FILES_MATCHING PATTERN "*.h")
  install(EXPORT cow-targets NAMESPACE cow:: DESTINATION ${package_dir})

  # The libraries by the names that pkg-config has for them.
  get_target_property(libraries cow LINK_LIBRARIES)
  set(requires)
  set(COW_PKGCONFIG_TARGETS)
  foreach(library ${libraries})
    if(library MATCHES "^absl::(.+)")
      list(APPEND requires absl_${CMAKE_MATCH_1})
    elseif(library MATCHES "^PkgConfig::(.+)")
      list(APPEND requires ${${CMAKE_MATCH_1}_MODULE_NAME})
      string(APPEND COW_PKGCONFIG_TARGETS "pkg_check_modules(${CMAKE_MATCH_1} REQUIRED IMPORTED_TARGET "
                    "${${CMAKE_MATCH_1}_MODULE_NAME})\n")
    elseif(NOT library MATCHES "^Threads::Threads$|cow_tsan_mutex")
      message(FATAL_ERROR "libcow links ${library}: say in cmake/install.cmake how users find it")
    endif()
  endforeach()
  list(JOIN requires " " COW_REQUIRES)

  # Paths relative to where the files land, so that an installed copy can be moved.
  file(RELATIVE_PATH COW_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)

  set(made ${PROJECT_BINARY_DIR}/package)
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/cow-config.cmake.in
                                ${made}/cow-config.cmake INSTALL_DESTINATION ${package_dir})
  write_basic_package_version_file(${made}/cow-config-version.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${made}/cow-config.cmake ${made}/cow-config-version.cmake
          DESTINATION ${package_dir})
  configure_file(${PROJECT_SOURCE_DIR}/cmake/cow.pc.in ${made}/cow.pc @ONLY)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/cow-c.pc.in ${made}/cow-c.pc @ONLY)
  install(FILES ${made}/cow.pc ${made}/cow-c.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()
