# A build of linux-x64 for every glibc since 2.28.
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_C_COMPILER gcc)
set(CMAKE_CXX_COMPILER g++)
include("${CMAKE_CURRENT_LIST_DIR}/portable.cmake")
