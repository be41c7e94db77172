// The slice of CANN's C interface that the simulator offers, declared on its own: the backend's declarations in
// native/ascend are written apart from these, and abi_test.cc compares the two.
// Sizes are in bytes, strides and offsets in elements, enumerations are plain ints.
#pragma once
#include <cstddef>
#include <cstdint>

#define ASCEND_SIM_EXPORT __attribute__((visibility("default")))

namespace ascend_sim {

enum DataType : int {
  kUndefinedType = -1,
  kFloat = 0,
  kFloat16 = 1,
  kInt8 = 2,
  kInt32 = 3,
  kUint8 = 4,
  kInt16 = 6,
  kUint16 = 7,
  kUint32 = 8,
  kInt64 = 9,
  kUint64 = 10,
  kDouble = 11,
  kBool = 12,
  kBf16 = 27,
  kInt4 = 29,
};

enum Format : int { kUndefinedFormat = -1, kNCHW = 0, kNHWC = 1, kND = 2, kFractalNz = 29 };

// Return values of acl* (aclError), aclnn* (aclnnStatus) and Hccl* (HcclResult).
enum Code : int {
  kSuccess = 0,
  kInvalidParam = 100000,
  kUninitialized = 100001,
  kRepeatInitialize = 100002,
  kRepeatFinalize = 100037,
  kRtParamInvalid = 107000,
  kRtContextNull = 107002,
  kRtStreamContext = 107003,
  kRtDmaAddress = 107017,
  kBadAlloc = 200000,
  kApiNotSupport = 200001,
  kRtFeatureNotSupport = 207000,
  kFailure = 500001,
  kRtStreamError = 507034,
  kRtDeviceLost = 507057,
  kNullptr = 161001,
  kInvalid = 161002,
  kRuntimeError = 361001,
  kTiling = 561002,
  kFindKernel = 561003,
  kExecutor = 561103,
};

enum CopyKind : int { kHostToHost = 0, kHostToDevice = 1, kDeviceToHost = 2, kDeviceToDevice = 3, kDefaultKind = 4 };
enum EventFlag : uint32_t { kEventSync = 0x1, kEventTimeLine = 0x8 };
enum CubeMath : int8_t { kKeepDtype = 0, kAllowDownPrecision = 1, kUseFp16 = 2, kUseHf32 = 3, kUseFp32Add = 4 };

enum HcclType : int {
  kHcclInt8 = 0,
  kHcclInt16 = 1,
  kHcclInt32 = 2,
  kHcclFp16 = 3,
  kHcclFp32 = 4,
  kHcclInt64 = 5,
  kHcclUint64 = 6,
  kHcclUint8 = 7,
  kHcclUint16 = 8,
  kHcclUint32 = 9,
  kHcclFp64 = 10,
  kHcclBfp16 = 11,
};
enum HcclOp : int { kHcclSum = 0, kHcclProd = 1, kHcclMax = 2, kHcclMin = 3 };
enum HcclCode : int { kHcclPara = 1, kHcclPtr = 2, kHcclInternal = 4, kHcclNotSupport = 5, kHcclTimeout = 9 };

}  // namespace ascend_sim

using aclError = int;
using aclnnStatus = int32_t;
using aclrtStream = void*;
using aclrtEvent = void*;
using aclrtContext = void*;
struct aclOpExecutor;
struct aclTensor;
struct aclTensorList;
struct aclScalar;
struct aclScalarList;
struct aclIntArray;
struct aclFloatArray;
struct aclBoolArray;
using HcclComm = void*;
using HcclResult = int;
struct HcclRootInfo {
  char internal[4108];
};

#pragma GCC visibility push(default)
extern "C" {

// ---- runtime
aclError aclInit(const char* config_path);
aclError aclFinalize();
const char* aclGetRecentErrMsg();
size_t aclDataTypeSize(int type);
const char* aclrtGetSocName();
aclError aclrtGetVersion(int32_t* major, int32_t* minor, int32_t* patch);
aclError aclGetDeviceCapability(uint32_t device, int info, int64_t* value);
aclError aclrtCtxGetSysParamOpt(int option, int64_t* value);
aclError aclrtSetSysParamOpt(int option, int64_t value);

aclError aclrtSetDevice(int32_t device);
aclError aclrtGetDevice(int32_t* device);
aclError aclrtGetDeviceCount(uint32_t* count);
aclError aclrtResetDevice(int32_t device);
aclError aclrtResetDeviceForce(int32_t device);
aclError aclrtCreateContext(aclrtContext* context, int32_t device);
aclError aclrtDestroyContext(aclrtContext context);
aclError aclrtSetCurrentContext(aclrtContext context);
aclError aclrtGetCurrentContext(aclrtContext* context);
aclError aclrtSynchronizeDevice();
aclError aclrtDeviceCanAccessPeer(int32_t* can, int32_t device, int32_t peer);
aclError aclrtDeviceEnablePeerAccess(int32_t peer, uint32_t flags);

aclError aclrtCreateStream(aclrtStream* stream);
aclError aclrtCreateStreamWithConfig(aclrtStream* stream, uint32_t priority, uint32_t flag);
aclError aclrtDestroyStream(aclrtStream stream);
aclError aclrtDestroyStreamForce(aclrtStream stream);
aclError aclrtSynchronizeStream(aclrtStream stream);
aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t milliseconds);
aclError aclrtStreamQuery(aclrtStream stream, int* status);
aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event);

aclError aclrtCreateEvent(aclrtEvent* event);
aclError aclrtCreateEventWithFlag(aclrtEvent* event, uint32_t flag);
aclError aclrtCreateEventExWithFlag(aclrtEvent* event, uint32_t flag);
aclError aclrtDestroyEvent(aclrtEvent event);
aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream);
aclError aclrtResetEvent(aclrtEvent event, aclrtStream stream);
aclError aclrtSynchronizeEvent(aclrtEvent event);
aclError aclrtQueryEventStatus(aclrtEvent event, int* status);
aclError aclrtEventElapsedTime(float* milliseconds, aclrtEvent start, aclrtEvent end);

aclError aclrtMalloc(void** memory, size_t size, int policy);
aclError aclrtMallocAlign32(void** memory, size_t size, int policy);
aclError aclrtFree(void* memory);
aclError aclrtMallocHost(void** memory, size_t size);
aclError aclrtFreeHost(void* memory);
aclError aclrtMemcpy(void* to, size_t to_size, const void* from, size_t count, int kind);
aclError aclrtMemcpyAsync(void* to, size_t to_size, const void* from, size_t count, int kind, aclrtStream stream);
aclError aclrtMemcpy2d(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                       int kind);
aclError aclrtMemcpy2dAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                            int kind, aclrtStream stream);
aclError aclrtMemset(void* memory, size_t size, int32_t value, size_t count);
aclError aclrtMemsetAsync(void* memory, size_t size, int32_t value, size_t count, aclrtStream stream);
aclError aclrtGetMemInfo(int attribute, size_t* free, size_t* total);

// ---- tensors and executors
aclTensor* aclCreateTensor(const int64_t* view_dims, uint64_t view_rank, int type, const int64_t* strides,
                           int64_t offset, int format, const int64_t* storage_dims, uint64_t storage_rank,
                           void* address);
aclTensorList* aclCreateTensorList(const aclTensor* const* tensors, uint64_t size);
aclScalar* aclCreateScalar(void* value, int type);
aclIntArray* aclCreateIntArray(const int64_t* values, uint64_t size);
aclFloatArray* aclCreateFloatArray(const float* values, uint64_t size);
aclBoolArray* aclCreateBoolArray(const bool* values, uint64_t size);
aclnnStatus aclDestroyTensor(const aclTensor* tensor);
aclnnStatus aclDestroyTensorList(const aclTensorList* list);
aclnnStatus aclDestroyScalar(const aclScalar* scalar);
aclnnStatus aclDestroyIntArray(const aclIntArray* array);
aclnnStatus aclDestroyFloatArray(const aclFloatArray* array);
aclnnStatus aclDestroyBoolArray(const aclBoolArray* array);
aclnnStatus aclGetViewShape(const aclTensor* tensor, int64_t** dims, uint64_t* rank);
aclnnStatus aclGetStorageShape(const aclTensor* tensor, int64_t** dims, uint64_t* rank);
aclnnStatus aclGetViewStrides(const aclTensor* tensor, int64_t** strides, uint64_t* rank);
aclnnStatus aclGetViewOffset(const aclTensor* tensor, int64_t* offset);
aclnnStatus aclGetFormat(const aclTensor* tensor, int* format);
aclnnStatus aclGetDataType(const aclTensor* tensor, int* type);
aclnnStatus aclGetTensorListSize(const aclTensorList* list, uint64_t* size);
aclnnStatus aclGetIntArraySize(const aclIntArray* array, uint64_t* size);
aclnnStatus aclGetRawTensorAddr(const aclTensor* tensor, void** address);
aclnnStatus aclSetRawTensorAddr(aclTensor* tensor, void* address);
aclnnStatus aclSetAclOpExecutorRepeatable(aclOpExecutor* executor);
aclnnStatus aclDestroyAclOpExecutor(aclOpExecutor* executor);
aclnnStatus aclSetTensorAddr(aclOpExecutor* executor, size_t index, aclTensor* tensor, void* address);
aclnnStatus aclSetInputTensorAddr(aclOpExecutor* executor, size_t index, aclTensor* tensor, void* address);
aclnnStatus aclSetOutputTensorAddr(aclOpExecutor* executor, size_t index, aclTensor* tensor, void* address);
aclnnStatus aclnnInit(const char* config_path);
aclnnStatus aclnnFinalize();

// ---- operators: each is two functions; the arguments given here are those of the first
#define ASCEND_SIM_OPERATOR(name, ...)                                                                 \
  aclnnStatus name##GetWorkspaceSize(__VA_ARGS__, uint64_t* workspace_size, aclOpExecutor** executor); \
  aclnnStatus name(void* workspace, uint64_t workspace_size, aclOpExecutor* executor, aclrtStream stream);

// math
ASCEND_SIM_OPERATOR(aclnnAdd, const aclTensor* self, const aclTensor* other, const aclScalar* alpha, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnAdds, const aclTensor* self, const aclScalar* other, const aclScalar* alpha, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnMul, const aclTensor* self, const aclTensor* other, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnMuls, const aclTensor* self, const aclScalar* other, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnClamp, const aclTensor* self, const aclScalar* min, const aclScalar* max, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnCast, const aclTensor* self, int type, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnTopk, const aclTensor* self, int64_t k, int64_t dim, bool largest, bool sorted,
                    aclTensor* values, aclTensor* indices)
ASCEND_SIM_OPERATOR(aclnnIndexSelect, const aclTensor* self, int64_t dim, const aclTensor* index, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnPermute, const aclTensor* self, const aclIntArray* dims, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnCumsum, const aclTensor* self, int64_t dim, int type, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnHistc, const aclTensor* self, int64_t bins, const aclScalar* min, const aclScalar* max,
                    aclTensor* out)
aclnnStatus aclnnNpuFormatCastCalculateSizeAndFormat(const aclTensor* source, int format, int additional_type,
                                                     int64_t** shape, uint64_t* rank, int* actual_format);
ASCEND_SIM_OPERATOR(aclnnNpuFormatCast, const aclTensor* source, aclTensor* target)
aclnnStatus aclnnCalculateMatmulWeightSizeV2(const aclIntArray* shape, int type, uint64_t* elements);
ASCEND_SIM_OPERATOR(aclnnTransMatmulWeight, aclTensor* weight)

// nn
ASCEND_SIM_OPERATOR(aclnnMatmul, const aclTensor* self, const aclTensor* other, aclTensor* out, int8_t cube_math)
ASCEND_SIM_OPERATOR(aclnnMm, const aclTensor* self, const aclTensor* other, aclTensor* out, int8_t cube_math)
ASCEND_SIM_OPERATOR(aclnnBatchMatMul, const aclTensor* self, const aclTensor* other, aclTensor* out, int8_t cube_math)
ASCEND_SIM_OPERATOR(aclnnSigmoid, const aclTensor* self, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnSilu, const aclTensor* self, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnRelu, const aclTensor* self, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnGelu, const aclTensor* self, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnGeluV2, const aclTensor* x, int64_t approximate, aclTensor* y)
ASCEND_SIM_OPERATOR(aclnnSoftmax, const aclTensor* self, int64_t dim, aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnSwiGlu, const aclTensor* x, int64_t dim, const aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnDynamicQuant, const aclTensor* x, const aclTensor* smooth, const aclTensor* y,
                    const aclTensor* scale)
ASCEND_SIM_OPERATOR(aclnnDequantSwigluQuant, const aclTensor* x, const aclTensor* weight_scale,
                    const aclTensor* activation_scale, const aclTensor* bias, const aclTensor* quant_scale,
                    const aclTensor* quant_offset, const aclTensor* group_index, bool activate_left, char* quant_mode,
                    const aclTensor* y, const aclTensor* scale)
ASCEND_SIM_OPERATOR(aclnnSwiGluQuant, const aclTensor* x, const aclTensor* smooth, const aclTensor* offsets,
                    const aclTensor* group_index, bool activate_left, char* quant_mode, const aclTensor* y,
                    const aclTensor* scale)

// transformer: gating
ASCEND_SIM_OPERATOR(aclnnMoeGatingTopKSoftmax, const aclTensor* x, const aclTensor* finished, int64_t k,
                    const aclTensor* y, const aclTensor* experts, const aclTensor* rows)
ASCEND_SIM_OPERATOR(aclnnMoeGatingTopKSoftmaxV2, const aclTensor* x, const aclTensor* finished, int64_t k,
                    int64_t renorm, bool keep_softmax, const aclTensor* y, const aclTensor* experts,
                    const aclTensor* softmax)
ASCEND_SIM_OPERATOR(aclnnMoeGatingTopK, const aclTensor* x, const aclTensor* bias, int64_t k, int64_t groups_kept,
                    int64_t groups, int64_t group_select_mode, int64_t renorm, int64_t norm_type, bool keep_norm,
                    double scaling_factor, double eps, const aclTensor* y, const aclTensor* experts,
                    const aclTensor* norm)

// transformer: rows to their experts and back
ASCEND_SIM_OPERATOR(aclnnMoeInitRouting, const aclTensor* x, const aclTensor* row_index, const aclTensor* experts,
                    int64_t active, const aclTensor* expanded, const aclTensor* expanded_row_index,
                    const aclTensor* expanded_experts)
ASCEND_SIM_OPERATOR(aclnnMoeInitRoutingV2, const aclTensor* x, const aclTensor* experts, int64_t active,
                    int64_t capacity, int64_t expert_num, int64_t drop_pad_mode, int64_t count_flag,
                    bool before_capacity_flag, const aclTensor* expanded, const aclTensor* row_index,
                    const aclTensor* counts, const aclTensor* counts_before_capacity)
ASCEND_SIM_OPERATOR(aclnnMoeInitRoutingQuantV2, const aclTensor* x, const aclTensor* experts, const aclTensor* scale,
                    const aclTensor* offset, int64_t active, int64_t capacity, int64_t expert_num,
                    int64_t drop_pad_mode, int64_t count_flag, bool before_capacity_flag, int64_t quant_mode,
                    const aclTensor* expanded, const aclTensor* row_index, const aclTensor* counts,
                    const aclTensor* counts_before_capacity, const aclTensor* dynamic_scale)
ASCEND_SIM_OPERATOR(aclnnMoeInitRoutingV3, const aclTensor* x, const aclTensor* experts, const aclTensor* scale,
                    const aclTensor* offset, int64_t active, int64_t capacity, int64_t expert_num,
                    int64_t drop_pad_mode, int64_t count_type, bool count_flag, int64_t quant_mode,
                    const aclIntArray* expert_range, int64_t row_index_type, const aclTensor* expanded,
                    const aclTensor* row_index, const aclTensor* counts, const aclTensor* expanded_scale)
ASCEND_SIM_OPERATOR(aclnnMoeComputeExpertTokens, const aclTensor* sorted_experts, int64_t expert_num,
                    const aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnMoeFinalizeRouting, const aclTensor* expanded, const aclTensor* x1, const aclTensor* x2,
                    const aclTensor* bias, const aclTensor* scales, const aclTensor* row_index,
                    const aclTensor* experts, const aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnMoeFinalizeRoutingV2, const aclTensor* expanded, const aclTensor* row_index,
                    const aclTensor* x1, const aclTensor* x2, const aclTensor* bias, const aclTensor* scales,
                    const aclTensor* experts, int64_t drop_pad_mode, const aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnMoeTokenPermute, const aclTensor* tokens, const aclTensor* indices, int64_t out_tokens,
                    bool padded, const aclTensor* permuted, const aclTensor* sorted_indices)
ASCEND_SIM_OPERATOR(aclnnMoeTokenUnpermute, const aclTensor* permuted, const aclTensor* sorted_indices,
                    const aclTensor* probs, bool padded, const aclIntArray* restore_shape, const aclTensor* out)
ASCEND_SIM_OPERATOR(aclnnMoeReRouting, const aclTensor* tokens, const aclTensor* counts_per_rank,
                    const aclTensor* scales, int64_t count_type, int64_t index_type, const aclTensor* permuted,
                    const aclTensor* permuted_scales, const aclTensor* index, const aclTensor* counts)

// transformer: grouped matrix products
ASCEND_SIM_OPERATOR(aclnnGroupedMatmulV3, const aclTensorList* x, const aclTensorList* weight,
                    const aclTensorList* bias, const aclTensorList* scale, const aclTensorList* offset,
                    const aclTensorList* antiquant_scale, const aclTensorList* antiquant_offset,
                    const aclTensor* group_list, int64_t split_item, int64_t group_type, const aclTensorList* y)
ASCEND_SIM_OPERATOR(aclnnGroupedMatmulV4, const aclTensorList* x, const aclTensorList* weight,
                    const aclTensorList* bias, const aclTensorList* scale, const aclTensorList* offset,
                    const aclTensorList* antiquant_scale, const aclTensorList* antiquant_offset,
                    const aclTensorList* per_token_scale, const aclTensor* group_list,
                    const aclTensorList* activation_input, const aclTensorList* activation_scale,
                    const aclTensorList* activation_offset, int64_t split_item, int64_t group_type,
                    int64_t group_list_type, int64_t act_type, aclTensorList* out, aclTensorList* activation_out,
                    aclTensorList* dynamic_scale_out)
ASCEND_SIM_OPERATOR(aclnnGroupedMatmulV5, const aclTensorList* x, const aclTensorList* weight,
                    const aclTensorList* bias, const aclTensorList* scale, const aclTensorList* offset,
                    const aclTensorList* antiquant_scale, const aclTensorList* antiquant_offset,
                    const aclTensorList* per_token_scale, const aclTensor* group_list,
                    const aclTensorList* activation_input, const aclTensorList* activation_scale,
                    const aclTensorList* activation_offset, int64_t split_item, int64_t group_type,
                    int64_t group_list_type, int64_t act_type, aclIntArray* tuning, aclTensorList* out,
                    aclTensorList* activation_out, aclTensorList* dynamic_scale_out)
ASCEND_SIM_OPERATOR(aclnnGroupedMatmulSwigluQuant, const aclTensor* x, const aclTensor* weight, const aclTensor* bias,
                    const aclTensor* offset, const aclTensor* weight_scale, const aclTensor* x_scale,
                    const aclTensor* group_list, aclTensor* output, aclTensor* output_scale, aclTensor* output_offset)
ASCEND_SIM_OPERATOR(aclnnGroupedMatmulSwigluQuantWeightNZ, const aclTensor* x, const aclTensor* weight,
                    const aclTensor* bias, const aclTensor* offset, const aclTensor* weight_scale,
                    const aclTensor* x_scale, const aclTensor* group_list, aclTensor* output, aclTensor* output_scale,
                    aclTensor* output_offset)
ASCEND_SIM_OPERATOR(aclnnQuantGroupedMatmulDequant, const aclTensor* x, const aclTensor* weight,
                    const aclTensor* weight_scale, const aclTensor* group_list, const aclTensor* bias,
                    const aclTensor* x_scale, const aclTensor* x_offset, const aclTensor* smooth, char* x_quant_mode,
                    bool transpose_weight, const aclTensor* out)

// ---- HCCL
HcclResult HcclGetRootInfo(HcclRootInfo* root);
HcclResult HcclCommInitRootInfo(uint32_t ranks, const HcclRootInfo* root, uint32_t rank, HcclComm* comm);
HcclResult HcclCommInitAll(uint32_t devices, int32_t* ids, HcclComm* comms);
HcclResult HcclGetCommName(HcclComm comm, char* name);
HcclResult HcclGetRankSize(HcclComm comm, uint32_t* size);
HcclResult HcclGetRankId(HcclComm comm, uint32_t* rank);
HcclResult HcclAllReduce(void* send, void* receive, uint64_t count, int type, int op, HcclComm comm,
                         aclrtStream stream);
HcclResult HcclBroadcast(void* buffer, uint64_t count, int type, uint32_t root, HcclComm comm, aclrtStream stream);
HcclResult HcclReduceScatter(void* send, void* receive, uint64_t receive_count, int type, int op, HcclComm comm,
                             aclrtStream stream);
HcclResult HcclAllGather(void* send, void* receive, uint64_t send_count, int type, HcclComm comm, aclrtStream stream);
HcclResult HcclAlltoAll(const void* send, uint64_t send_count, int send_type, const void* receive,
                        uint64_t receive_count, int receive_type, HcclComm comm, aclrtStream stream);
HcclResult HcclAlltoAllV(const void* send, const void* send_counts, const void* send_offsets, int send_type,
                         const void* receive, const void* receive_counts, const void* receive_offsets, int receive_type,
                         HcclComm comm, aclrtStream stream);
HcclResult HcclSend(void* buffer, uint64_t count, int type, uint32_t to, HcclComm comm, aclrtStream stream);
HcclResult HcclRecv(void* buffer, uint64_t count, int type, uint32_t from, HcclComm comm, aclrtStream stream);
HcclResult HcclBarrier(HcclComm comm, aclrtStream stream);
HcclResult HcclCommDestroy(HcclComm comm);
HcclResult HcclGetCommAsyncError(HcclComm comm, HcclResult* error);
const char* HcclGetErrorString(HcclResult code);

}  // extern "C"
#pragma GCC visibility pop
