# A build of linux-arm64 for every glibc since 2.28, on any Linux with Debian's cross compiler.
include("${CMAKE_CURRENT_LIST_DIR}/../aarch64.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/portable.cmake")
