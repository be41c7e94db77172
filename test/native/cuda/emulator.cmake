# The CUDA backend without a GPU: an interpreter of PTX, a stand-in of the CUDA runtime on top of it, and the plugin
# linked with both. See docs/cuda-testing.md.
if(CMAKE_CROSSCOMPILING)
  return()  # a tool of the machine that builds
endif()

file(GLOB sources CONFIGURE_DEPENDS ptx/*.cc)
add_library(moe_ptx STATIC ${sources})
target_link_libraries(moe_ptx PUBLIC moe_options)
target_include_directories(moe_ptx PUBLIC ${PROJECT_SOURCE_DIR}/test/native)
# Registers are bytes read as many types. Optimised in every build, or the suite would take minutes; for AVX2 where the
# machine that builds, and so runs the tests, has it.
target_compile_options(moe_ptx PRIVATE -O3 -fno-strict-aliasing -fno-math-errno)
include(CheckCXXSourceRuns)
check_cxx_source_runs("int main() { return __builtin_cpu_supports(\"avx2\") && __builtin_cpu_supports(\"fma\") ? 0 : 1; }"
  MOE_HOST_HAS_AVX2)
if(MOE_HOST_HAS_AVX2)
  target_compile_options(moe_ptx PRIVATE -mavx2 -mfma)
endif()

file(GLOB sources CONFIGURE_DEPENDS interpreter/*_test.cc)
add_executable(ptx_test ${sources})
target_link_libraries(ptx_test PRIVATE moe_ptx moe_test_options GTest::gtest_main)
gtest_discover_tests(ptx_test TEST_PREFIX "cuda." DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES)

# The rest needs nvcc for the kernels' PTX and the headers beside it for the host code.
find_program(MOE_NVCC nvcc HINTS /usr/local/cuda/bin)
if(NOT MOE_NVCC)
  # As GoogleTest says why it skips.
  add_test(NAME cuda.OnTheEmulatedDevice COMMAND ${CMAKE_COMMAND} -E echo "emulator.cmake: Skipped\nnvcc was not found")
  set_tests_properties(cuda.OnTheEmulatedDevice PROPERTIES SKIP_REGULAR_EXPRESSION "Skipped")
  return()
endif()
get_filename_component(nvcc_folder ${MOE_NVCC} REALPATH)
get_filename_component(nvcc_folder ${nvcc_folder} DIRECTORY)
find_path(MOE_CUDA_HEADERS cuda_runtime_api.h HINTS ${nvcc_folder}/../include /usr/local/cuda/include REQUIRED)

# The same text and flags as the shipped PTX.
set(MOE_PTX_FOLDER ${PROJECT_BINARY_DIR}/cuda/ptx)
file(MAKE_DIRECTORY ${MOE_PTX_FOLDER})
file(GLOB kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/native/cuda/kernels/*.cu)
set(ptx_files)
foreach(kernel ${kernels})
  get_filename_component(name ${kernel} NAME_WE)
  set(ptx ${MOE_PTX_FOLDER}/${name}.ptx)
  add_custom_command(OUTPUT ${ptx}
    COMMAND ${MOE_NVCC} -std=c++17 -O3 -fmad=false -arch=compute_80 -ptx -I ${PROJECT_SOURCE_DIR}/native
      -MD -MF ${ptx}.d -MT ${ptx} -o ${ptx} ${kernel}
    DEPENDS ${kernel} DEPFILE ${ptx}.d COMMENT "PTX of ${name}.cu" VERBATIM)
  list(APPEND ptx_files ${ptx})
endforeach()
add_custom_target(moe_cuda_ptx ALL DEPENDS ${ptx_files})

# Machine code of the same text, for what can be told of it without a GPU.
find_program(MOE_PTXAS ptxas HINTS ${nvcc_folder} /usr/local/cuda/bin)
set(MOE_CUBIN_FOLDER ${PROJECT_BINARY_DIR}/cuda/cubin)
file(MAKE_DIRECTORY ${MOE_CUBIN_FOLDER})
set(cubins)
foreach(ptx ${ptx_files})
  get_filename_component(name ${ptx} NAME_WE)
  foreach(architecture 80 90)
    set(cubin ${MOE_CUBIN_FOLDER}/${name}.sm_${architecture})
    add_custom_command(OUTPUT ${cubin}.cubin ${cubin}.txt
      COMMAND sh -c "${MOE_PTXAS} -v --fmad false -arch=sm_${architecture} -o ${cubin}.cubin ${ptx} 2> ${cubin}.txt"
      DEPENDS ${ptx} COMMENT "sm_${architecture} code of ${name}.cu" VERBATIM)
    list(APPEND cubins ${cubin}.cubin)
  endforeach()
endforeach()
add_custom_target(moe_cuda_cubins DEPENDS ${cubins})
execute_process(COMMAND ${MOE_NVCC} --version OUTPUT_VARIABLE nvcc_version)
string(REGEX MATCH "release [^\n]*" nvcc_version "${nvcc_version}")

file(GLOB sources CONFIGURE_DEPENDS runtime/*.cc)
list(FILTER sources EXCLUDE REGEX "/(stubs|test_main)\\.cc$")
add_library(moe_cuda_emulator STATIC ${sources})
target_link_libraries(moe_cuda_emulator PUBLIC moe_ptx)
target_include_directories(moe_cuda_emulator SYSTEM PUBLIC ${MOE_CUDA_HEADERS})
target_compile_definitions(moe_cuda_emulator PRIVATE MOE_PTX_FOLDER="${MOE_PTX_FOLDER}")
add_dependencies(moe_cuda_emulator moe_cuda_ptx)

# The backend's own host code, told that its device is no GPU.
file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/native/cuda/*.cc)
list(FILTER sources EXCLUDE REGEX "/plugin\\.cc$")
add_library(moe_cuda_on_emulator STATIC ${sources})
target_compile_definitions(moe_cuda_on_emulator PRIVATE MOE_CUDA_EMULATED=1)
target_link_libraries(moe_cuda_on_emulator PUBLIC moe_core moe_cuda_emulator)

add_library(moe_cuda_emulated MODULE ${PROJECT_SOURCE_DIR}/native/cuda/plugin.cc runtime/stubs.cc)
set_target_properties(moe_cuda_emulated PROPERTIES
  OUTPUT_NAME moe_cuda LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/cuda/plugin)
target_link_libraries(moe_cuda_emulated PRIVATE moe_cuda_on_emulator)

file(GLOB sources CONFIGURE_DEPENDS emulated/*.cc *_test.cc)
add_executable(cuda_emulated_test ${sources} runtime/stubs.cc)
target_link_libraries(cuda_emulated_test PRIVATE moe_cuda_on_emulator moe_cpu moe_test_options GTest::gtest_main)
# Found by the loader as the real one would be.
add_library(moe_fake_nccl SHARED nccl/fake_nccl.cc)
set_target_properties(moe_fake_nccl PROPERTIES OUTPUT_NAME nccl SOVERSION 2
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/cuda/nccl)
target_link_libraries(moe_fake_nccl PRIVATE moe_options)
add_dependencies(cuda_emulated_test moe_fake_nccl)
set_target_properties(cuda_emulated_test PROPERTIES BUILD_RPATH ${PROJECT_BINARY_DIR}/cuda/nccl)
gtest_discover_tests(cuda_emulated_test TEST_PREFIX "cuda." DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES)

# What runs on a GPU runs here, too, but for sizes that would take minutes.
file(GLOB sources CONFIGURE_DEPENDS device/*_test.cc)
list(FILTER sources EXCLUDE REGEX "/large_test\\.cc$")
if(sources)
  add_executable(cuda_device_emulated_test ${sources} runtime/stubs.cc runtime/test_main.cc)
  target_link_libraries(cuda_device_emulated_test PRIVATE moe_cuda_on_emulator moe_cpu moe_test_options GTest::gtest)
  gtest_discover_tests(cuda_device_emulated_test TEST_PREFIX "cuda.emulated." DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES)
endif()

file(GLOB sources CONFIGURE_DEPENDS static/*.cc)
add_executable(cuda_kernels_test ${sources} runtime/stubs.cc)
target_link_libraries(cuda_kernels_test PRIVATE moe_cuda_on_emulator moe_test_options GTest::gtest_main)
target_compile_definitions(cuda_kernels_test PRIVATE
  MOE_PTX_FOLDER="${MOE_PTX_FOLDER}" MOE_CUBIN_FOLDER="${MOE_CUBIN_FOLDER}" MOE_NVCC_VERSION="${nvcc_version}"
  MOE_KERNEL_TABLE="${CMAKE_CURRENT_SOURCE_DIR}/static/kernels.md")
add_dependencies(cuda_kernels_test moe_cuda_cubins)
gtest_discover_tests(cuda_kernels_test TEST_PREFIX "cuda." DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES)
