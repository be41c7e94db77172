# A build of linux-x64 for musl (Alpine Linux), by the compiler that musl_toolchain.sh makes. What is C++ is linked in.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(toolchain "${CMAKE_CURRENT_LIST_DIR}/../../build/musl-toolchain")
set(CMAKE_C_COMPILER "${toolchain}/bin/x86_64-linux-musl-gcc")
set(CMAKE_CXX_COMPILER "${toolchain}/bin/x86_64-linux-musl-g++")
set(CMAKE_CROSSCOMPILING_EMULATOR /lib/ld-musl-x86_64.so.1)
if(NOT EXISTS "${toolchain}/compat.o")
  execute_process(COMMAND "${CMAKE_CURRENT_LIST_DIR}/musl_toolchain.sh" "${toolchain}" COMMAND_ERROR_IS_FATAL ANY)
  execute_process(
    COMMAND "${CMAKE_C_COMPILER}" -O2 -fPIC -fvisibility=hidden -D_GNU_SOURCE -c "${CMAKE_CURRENT_LIST_DIR}/musl_compat.c"
      -o "${toolchain}/compat.o"
    COMMAND_ERROR_IS_FATAL ANY)
endif()
set(headers "${toolchain}/include/c++")
set(CMAKE_CXX_FLAGS_INIT "-nostdinc++ -isystem ${headers} -isystem ${headers}/x86_64-linux-musl")
# musl's specs leave out the table that unwinding looks for.
set(libraries "-L${toolchain}/lib ${toolchain}/compat.o -static-libstdc++ -Wl,--eh-frame-hdr")
set(CMAKE_EXE_LINKER_FLAGS_INIT "${libraries}")
set(CMAKE_MODULE_LINKER_FLAGS_INIT "${libraries} -Wl,--exclude-libs,ALL")
