// The backend's declarations and the simulator's were written apart; here they meet. Handles and enumerations are
// compared by what the processor sees: a pointer is a pointer, an enumeration the integer under it.
#include "abi.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "ascend/cann/arguments.h"
#include "ascend/cann/operators.h"
#include "ascend/cann/runtime.h"
#include "ascend/cann/types.h"

namespace ascend_sim {
namespace {

namespace cann = moe::ascend::cann;

template <class T>
struct Seen {
  using type = T;
};
template <class T>
requires std::is_enum_v<T>
struct Seen<T> {
  using type = std::underlying_type_t<T>;
};
template <class T>
requires std::is_pointer_v<T>
struct Seen<T> {
  using type = void*;
};
template <class Result, class... Arguments>
struct Seen<Result (*)(Arguments...)> {
  using type = typename Seen<Result>::type (*)(typename Seen<Arguments>::type...);
};

template <class A, class B>
constexpr bool kSame = std::is_same_v<typename Seen<A>::type, typename Seen<B>::type>;

// Runtime.
static_assert(kSame<decltype(cann::Runtime::init), decltype(&aclInit)>);
static_assert(kSame<decltype(cann::Runtime::recent_error), decltype(&aclGetRecentErrMsg)>);
static_assert(kSame<decltype(cann::Runtime::soc_name), decltype(&aclrtGetSocName)>);
static_assert(kSame<decltype(cann::Runtime::device_count), decltype(&aclrtGetDeviceCount)>);
static_assert(kSame<decltype(cann::Runtime::set_device), decltype(&aclrtSetDevice)>);
static_assert(kSame<decltype(cann::Runtime::reset_device), decltype(&aclrtResetDevice)>);
static_assert(kSame<decltype(cann::Runtime::current_context), decltype(&aclrtGetCurrentContext)>);
static_assert(kSame<decltype(cann::Runtime::set_current_context), decltype(&aclrtSetCurrentContext)>);
static_assert(kSame<decltype(cann::Runtime::memory_info), decltype(&aclrtGetMemInfo)>);
static_assert(kSame<decltype(cann::Runtime::create_stream), decltype(&aclrtCreateStream)>);
static_assert(kSame<decltype(cann::Runtime::destroy_stream), decltype(&aclrtDestroyStream)>);
static_assert(kSame<decltype(cann::Runtime::synchronize_stream), decltype(&aclrtSynchronizeStream)>);
static_assert(kSame<decltype(cann::Runtime::malloc), decltype(&aclrtMalloc)>);
static_assert(kSame<decltype(cann::Runtime::free), decltype(&aclrtFree)>);
static_assert(kSame<decltype(cann::Runtime::malloc_host), decltype(&aclrtMallocHost)>);
static_assert(kSame<decltype(cann::Runtime::free_host), decltype(&aclrtFreeHost)>);
static_assert(kSame<decltype(cann::Runtime::memcpy_async), decltype(&aclrtMemcpyAsync)>);
static_assert(kSame<decltype(cann::Runtime::memset_async), decltype(&aclrtMemsetAsync)>);

// Arguments.
static_assert(kSame<decltype(cann::Arguments::create_tensor), decltype(&aclCreateTensor)>);
static_assert(kSame<decltype(cann::Arguments::destroy_tensor), decltype(&aclDestroyTensor)>);
static_assert(kSame<decltype(cann::Arguments::create_tensor_list), decltype(&aclCreateTensorList)>);
static_assert(kSame<decltype(cann::Arguments::destroy_tensor_list), decltype(&aclDestroyTensorList)>);
static_assert(kSame<decltype(cann::Arguments::create_scalar), decltype(&aclCreateScalar)>);
static_assert(kSame<decltype(cann::Arguments::destroy_scalar), decltype(&aclDestroyScalar)>);
static_assert(kSame<decltype(cann::Arguments::create_int_array), decltype(&aclCreateIntArray)>);
static_assert(kSame<decltype(cann::Arguments::destroy_int_array), decltype(&aclDestroyIntArray)>);
static_assert(kSame<decltype(cann::Arguments::set_repeatable), decltype(&aclSetAclOpExecutorRepeatable)>);
static_assert(kSame<decltype(cann::Arguments::destroy_executor), decltype(&aclDestroyAclOpExecutor)>);

// Operators.
template <class Theirs>
constexpr bool same_operator(auto* prepare, auto* run) {
  return kSame<decltype(Theirs::prepare), decltype(prepare)> && kSame<decltype(Theirs::run), decltype(run)>;
}

#define ASCEND_SIM_SAME(member, name) \
  static_assert(same_operator<decltype(cann::Operators::member)>(name##GetWorkspaceSize, name))
ASCEND_SIM_SAME(matmul, aclnnMatmul);
ASCEND_SIM_SAME(cast, aclnnCast);
ASCEND_SIM_SAME(index_select, aclnnIndexSelect);
ASCEND_SIM_SAME(add, aclnnAdd);
ASCEND_SIM_SAME(adds, aclnnAdds);
ASCEND_SIM_SAME(mul, aclnnMul);
ASCEND_SIM_SAME(muls, aclnnMuls);
ASCEND_SIM_SAME(clamp, aclnnClamp);
ASCEND_SIM_SAME(sigmoid, aclnnSigmoid);
ASCEND_SIM_SAME(silu, aclnnSilu);
ASCEND_SIM_SAME(relu, aclnnRelu);
ASCEND_SIM_SAME(gelu, aclnnGeluV2);
ASCEND_SIM_SAME(swiglu, aclnnSwiGlu);
ASCEND_SIM_SAME(dynamic_quant, aclnnDynamicQuant);
ASCEND_SIM_SAME(gating_softmax_v2, aclnnMoeGatingTopKSoftmaxV2);
ASCEND_SIM_SAME(gating, aclnnMoeGatingTopK);
ASCEND_SIM_SAME(init_routing_v2, aclnnMoeInitRoutingV2);
ASCEND_SIM_SAME(init_routing_v3, aclnnMoeInitRoutingV3);
ASCEND_SIM_SAME(finalize_routing, aclnnMoeFinalizeRoutingV2);
ASCEND_SIM_SAME(grouped_matmul_v4, aclnnGroupedMatmulV4);
ASCEND_SIM_SAME(grouped_matmul_v5, aclnnGroupedMatmulV5);

// Values.
static_assert(int{cann::kRepeatInitialize} == kRepeatInitialize && int{cann::kBadAlloc} == kBadAlloc);
static_assert(static_cast<int>(cann::DataType::kFloat32) == kFloat);
static_assert(static_cast<int>(cann::DataType::kFloat16) == kFloat16);
static_assert(static_cast<int>(cann::DataType::kBFloat16) == kBf16);
static_assert(static_cast<int>(cann::DataType::kInt8) == kInt8);
static_assert(static_cast<int>(cann::DataType::kInt32) == kInt32);
static_assert(static_cast<int>(cann::DataType::kInt64) == kInt64);
static_assert(static_cast<int>(cann::DataType::kBool) == kBool);
static_assert(static_cast<int>(cann::Format::kND) == kND);
static_assert(static_cast<int>(cann::Format::kFractalNZ) == kFractalNz);
static_assert(static_cast<int>(cann::MemcpyKind::kHostToDevice) == kHostToDevice);
static_assert(static_cast<int>(cann::MemcpyKind::kDeviceToHost) == kDeviceToHost);
static_assert(static_cast<int>(cann::MemcpyKind::kDeviceToDevice) == kDeviceToDevice);
static_assert(static_cast<int>(cann::CubeMath::kKeepType) == kKeepDtype);
static_assert(static_cast<int>(cann::CubeMath::kAllowLower) == kAllowDownPrecision);
static_assert(static_cast<int>(cann::CubeMath::kFloat16) == kUseFp16);
static_assert(static_cast<int>(cann::CubeMath::kHFloat32) == kUseHf32);

// Every name the backend looks for is compared above: a new one must be added here.
TEST(Abi, EveryNameOfTheBackendIsCompared) {
  size_t names = 0;
  const auto count = [&](const char*, auto) { ++names; };
  cann::Runtime{}.each(count);
  EXPECT_EQ(names, 18U);
  names = 0;
  cann::Arguments{}.each(count);
  EXPECT_EQ(names, 10U);
  names = 0;
  cann::Operators{}.each([&](const auto&) { ++names; });
  EXPECT_EQ(names, 21U);
}

}  // namespace
}  // namespace ascend_sim
