# Links a library so that it runs on every Linux with MOE_GLIBC or later: against stubs of that glibc, with libstdc++ inside.
# Included by the toolchain files beside this one, after they have named the compilers.
set(MOE_GLIBC 2.28)
set(folder "${CMAKE_CURRENT_LIST_DIR}/../../build/glibc-${CMAKE_SYSTEM_PROCESSOR}")
if(NOT EXISTS "${folder}/done")
  find_program(MOE_NODE NAMES node nodejs REQUIRED)
  execute_process(
    COMMAND "${MOE_NODE}" "${CMAKE_CURRENT_LIST_DIR}/glibc_stubs.mjs" "${CMAKE_CXX_COMPILER}" ${MOE_GLIBC} "${folder}"
    COMMAND_ERROR_IS_FATAL ANY)
  execute_process(
    COMMAND "${CMAKE_C_COMPILER}" -O2 -fPIC -fvisibility=hidden -D_GNU_SOURCE -c "${CMAKE_CURRENT_LIST_DIR}/glibc_compat.c"
      -o "${folder}/compat.o"
    COMMAND_ERROR_IS_FATAL ANY)
  file(WRITE "${folder}/done")
endif()
set(flags "-L${folder} ${folder}/compat.o -static-libstdc++ -Wl,--exclude-libs,ALL")
set(CMAKE_MODULE_LINKER_FLAGS_INIT "${flags}")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "${flags}")
