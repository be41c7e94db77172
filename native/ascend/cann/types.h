// What the functions of CANN take and return. The vendor's enums are plain C enums, passed as int.
#pragma once
#include <cstdint>

namespace moe::ascend::cann {

using Status = int32_t;  // of every function, acl and aclnn; 0 is success
constexpr Status kSuccess = 0;

// Statuses that mean something to us; any other is a failure of the call.
constexpr Status kRepeatInitialize = 100002;  // somebody else in the process has called aclInit
constexpr Status kStubLibrary = 100039;       // a library made for linking only
constexpr Status kBadAlloc = 200000;
constexpr Status kRuntimeOutOfMemory = 207001;
constexpr Status kFirstFinal = 507000, kLastFinal = 507999;  // exceptions on the device
constexpr Status kMissingOppPath = 561107;                   // ASCEND_OPP_PATH does not name the operator package
constexpr Status kMissingOppKernels = 561112;                // the operator package has no kernels for this chip

using Context = void*;
using Stream = void*;

// Descriptions of arguments: handles into the vendor's library.
struct Tensor;
struct TensorList;
struct Scalar;
struct IntArray;
struct Executor;

enum class DataType : int {
  kFloat32 = 0,
  kFloat16 = 1,
  kInt8 = 2,
  kInt32 = 3,
  kInt64 = 9,
  kBool = 12,
  kBFloat16 = 27,
};

enum class Format : int {
  kND = 2,          // row-major
  kFractalNZ = 29,  // blocks of 16 rows by 32 bytes
};

enum class MallocPolicy : int { kHugeFirst = 0, kHugeOnly = 1, kNormalOnly = 2 };
enum class MemcpyKind : int { kHostToHost = 0, kHostToDevice = 1, kDeviceToHost = 2, kDeviceToDevice = 3 };
enum class MemoryAttribute : int { kDDR = 0, kHBM = 1 };

// How a matrix product may round its inputs.
enum class CubeMath : int8_t { kKeepType = 0, kAllowLower = 1, kFloat16 = 2, kHFloat32 = 3 };

}  // namespace moe::ascend::cann
