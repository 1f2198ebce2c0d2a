# Warnings are errors for everything the project builds itself.
add_library(cow_warnings INTERFACE)
target_compile_options(cow_warnings INTERFACE -Wall -Wextra -Werror
                       $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
                       # A false alarm of GCC 12 at every "text" + string (its bug 105651).
                       $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)

# Debian's Abseil is not built for the thread sanitizer, which would report every use of absl::Mutex
# as a race; under it, each executable gets the annotations of tests/support/tsan_mutex.cc.
if(CMAKE_CXX_FLAGS MATCHES "fsanitize=thread")
  add_library(cow_tsan_mutex OBJECT ${PROJECT_SOURCE_DIR}/tests/support/tsan_mutex.cc)
  link_libraries("$<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:cow_tsan_mutex>")
endif()

# cow_layer(NAME [DEPENDS target...]): the static library cow_NAME of all sources in this folder.
function(cow_layer name)
  cmake_parse_arguments(LAYER "" "" "DEPENDS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  add_library(cow_${name} STATIC ${sources})
  target_include_directories(cow_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(cow_${name} PUBLIC ${LAYER_DEPENDS} PRIVATE cow_warnings)
endfunction()

# cow_tests(NAME [DEPENDS target...]): one binary of all *.cc in this folder; each test is a test of
# ctest, named by suite and case.
function(cow_tests name)
  cmake_parse_arguments(TESTS "" "" "DEPENDS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_test ${sources})
  target_include_directories(${name}_test PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name}_test PRIVATE ${TESTS_DEPENDS} cow_test_support cow_warnings
                        GTest::gmock GTest::gtest GTest::gtest_main)
  gtest_discover_tests(${name}_test DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                       PROPERTIES TIMEOUT 300)
endfunction()
