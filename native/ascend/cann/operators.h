// The operators that a layer is made of. Exported by libopapi.so or, from CANN 8.5 on, by libopapi_*.so.
//
// Each is two functions: aclnn<Name>GetWorkspaceSize checks the arguments and makes an executor, aclnn<Name> puts it on
// a stream, once, and frees it. The types below are the arguments of the first; T tokens, K choices, H hidden, E
// experts, M rows.
#pragma once
#include <cstdint>

#include "ascend/cann/types.h"

namespace moe::ascend::cann {

template <class... Arguments>
struct Operator {
  const char* name;   // of the second function
  const char* since;  // the oldest release of CANN known to have it
  Status (*prepare)(Arguments..., uint64_t* workspace_bytes, Executor** executor) = nullptr;
  Status (*run)(void* workspace, uint64_t workspace_bytes, Executor* executor, Stream stream) = nullptr;

  explicit operator bool() const { return prepare && run; }
};

// The index an operator keeps for a slot: where its row went.
enum class RowIndex : int64_t { kGather = 0, kScatter = 1 };
enum class ExpertCounts : int64_t { kRunningSum = 0, kCount = 1 };
// FinalizeRoutingV2: slots numbered token * K + choice, every row kept.
constexpr int64_t kRowOrderDropless = 2;
// GroupedMatmul: rows are split into groups, one output tensor, no activation inside.
constexpr int64_t kSplitRows = 0, kOneOutput = 2, kNoActivation = 0;

struct Operators {
  using In = const Tensor*;
  using Out = const Tensor*;
  using List = const TensorList*;

  // out = a . b
  Operator<In, In, Tensor*, CubeMath> matmul{"aclnnMatmul", "8.1"};
  Operator<In, DataType, Tensor*> cast{"aclnnCast", "8.1"};
  // Rows of dimension `dim`.
  Operator<In, int64_t, In, Tensor*> index_select{"aclnnIndexSelect", "8.1"};
  Operator<In, In, const Scalar*, Tensor*> add{"aclnnAdd", "8.1"};               // a + alpha * b
  Operator<In, const Scalar*, const Scalar*, Tensor*> adds{"aclnnAdds", "8.1"};  // a + alpha * scalar
  Operator<In, In, Tensor*> mul{"aclnnMul", "8.1"};
  Operator<In, const Scalar*, Tensor*> muls{"aclnnMuls", "8.1"};
  Operator<In, const Scalar*, const Scalar*, Tensor*> clamp{"aclnnClamp", "8.1"};  // lowest, highest
  Operator<In, Tensor*> sigmoid{"aclnnSigmoid", "8.1"};
  Operator<In, Tensor*> silu{"aclnnSilu", "8.1"};
  Operator<In, Tensor*> relu{"aclnnRelu", "8.1"};
  Operator<In, int64_t, Tensor*> gelu{"aclnnGeluV2", "8.1"};  // 0: by erf, 1: by tanh
  Operator<In, int64_t, Out> swiglu{"aclnnSwiGlu", "8.1"};    // silu(first half) * second half, along a dimension
  Operator<In, In, Out, Out> dynamic_quant{"aclnnDynamicQuant", "8.1"};  // x, smooth -> int8, scale per row

  // x, finished, K, renormalize, keep all probabilities -> weights, experts, all probabilities.
  Operator<In, In, int64_t, int64_t, bool, Out, Out, Out> gating_softmax_v2{"aclnnMoeGatingTopKSoftmaxV2", "8.1"};
  // x, bias, K, groups kept, groups, how groups score (0 the best, 1 the sum of two), renormalize, 0 softmax or 1
  // sigmoid, keep all scores, scale, epsilon -> weights, experts, all scores.
  Operator<In, In, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, bool, double, double, Out, Out, Out> gating{
      "aclnnMoeGatingTopK", "8.5"};

  // x, experts, active rows (0: all), capacity, E, pad to capacity, counts (0 none, 1 running sum, 2 count), counts
  // before capacity -> rows [T * K, H], row of each slot, counts int32 [E], counts before capacity.
  Operator<In, In, int64_t, int64_t, int64_t, int64_t, int64_t, bool, Out, Out, Out, Out> init_routing_v2{
      "aclnnMoeInitRoutingV2", "8.1"};
  // x, experts, scale, offset, active rows, capacity, E, pad to capacity, kind of counts, counts wanted, quantisation
  // (-1 none, 1 dynamic), range of experts, kind of row index -> rows, row index, counts int64 [E], scale per row.
  Operator<In, In, In, In, int64_t, int64_t, int64_t, int64_t, ExpertCounts, bool, int64_t, const IntArray*, RowIndex,
           Out, Out, Out, Out>
      init_routing_v3{"aclnnMoeInitRoutingV3", "8.5"};
  // rows, row of each slot, x1, x2, bias, weights [T, K], experts, order of slots and padding -> [T, H].
  Operator<In, In, In, In, In, In, In, int64_t, Out> finalize_routing{"aclnnMoeFinalizeRoutingV2", "8.1"};

  // x, weight, bias, scale, offset, antiquant scale, antiquant offset, scale per token, groups (int64), activation
  // input, its scale, its offset, split, what is split, kind of groups, activation -> out, activation features, dynamic
  // scales.
  Operator<List, List, List, List, List, List, List, List, In, List, List, List, int64_t, int64_t, ExpertCounts,
           int64_t, TensorList*, TensorList*, TensorList*>
      grouped_matmul_v4{"aclnnGroupedMatmulV4", "8.1"};
  // As V4, with a tuning hint before the outputs.
  Operator<List, List, List, List, List, List, List, List, In, List, List, List, int64_t, int64_t, ExpertCounts,
           int64_t, IntArray*, TensorList*, TensorList*, TensorList*>
      grouped_matmul_v5{"aclnnGroupedMatmulV5", "8.5"};

  // Calls visit(operator) for each.
  template <class Visitor>
  void each(Visitor visit) {
    visit(matmul);
    visit(cast);
    visit(index_select);
    visit(add);
    visit(adds);
    visit(mul);
    visit(muls);
    visit(clamp);
    visit(sigmoid);
    visit(silu);
    visit(relu);
    visit(gelu);
    visit(swiglu);
    visit(dynamic_quant);
    visit(gating_softmax_v2);
    visit(gating);
    visit(init_routing_v2);
    visit(init_routing_v3);
    visit(finalize_routing);
    visit(grouped_matmul_v4);
    visit(grouped_matmul_v5);
  }
};

}  // namespace moe::ascend::cann
