// What libstdc++ and the headers take from a glibc newer than 2.28, in terms of one that is not. Linked into every
// library of a prebuild, hidden there.
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

// glibc 2.32: true while there is one thread. False costs an atomic instruction.
char __libc_single_threaded = 0;

// glibc 2.33: before, these were inline functions over a versioned one.
#if defined(__x86_64__)
enum { kStatVersion = 1 };
#else
enum { kStatVersion = 0 };
#endif
extern int __fxstat(int version, int file, struct stat* result);
extern int __fxstat64(int version, int file, struct stat64* result);
int fstat(int file, struct stat* result) { return __fxstat(kStatVersion, file, result); }
int fstat64(int file, struct stat64* result) { return __fxstat64(kStatVersion, file, result); }

// glibc 2.36; for std::random_device.
uint32_t arc4random(void) {
  uint32_t value;
  if (getentropy(&value, sizeof value) != 0) abort();  // as glibc does
  return value;
}
