#include "../grouped_matmul.h"

#include "../activations.h"
#include "../group_list.h"

namespace ascend_sim {
namespace {

constexpr int64_t kMaxLastDim = 65536;

enum class Kind { kPlain, kWeightOnly, kInt8 };  // x and weight of one type; int8 weight; both int8

struct Shapes {
  int64_t m, k, n, groups;
  bool stacked;  // one [E, K, N] weight instead of E matrices
};

// A list of one tensor for all groups, or one per group.
void check_per_group(const Op& op, const std::vector<Argument>& list, const Shapes& s, const char* what) {
  if (list.empty()) return;
  op.require(list.size() == (s.stacked ? 1U : static_cast<size_t>(s.groups)),
             std::string(what) + " must be one tensor for a stacked weight, else one per weight");
  for (const Argument& tensor : list) op.shape(tensor, s.stacked ? Shape{s.groups, s.n} : Shape{s.n});
}

Shapes check_shapes(const Op& op, const Argument& x, const std::vector<Argument>& weight) {
  op.require(x->rank() == 2, "x must be [M, K], got " + text(x->shape));
  op.require(x->contiguous(), "x cannot be transposed when rows are split");
  op.not_empty(x);
  Shapes s{};
  s.stacked = weight.size() == 1 && weight[0]->rank() == 3;
  s.groups = s.stacked ? weight[0]->dim(0) : static_cast<int64_t>(weight.size());
  s.m = x->dim(0);
  s.k = x->dim(1);
  s.n = weight[0]->dim(-1);
  op.require(s.stacked ? s.groups <= 1024 : s.groups <= 128,
             s.stacked ? "at most 1024 groups in a stacked weight" : "at most 128 weights in a list");
  op.require(s.k < kMaxLastDim && s.n < kMaxLastDim, "the last dimensions must be below 65536");
  for (const Argument& w : weight) {
    op.not_empty(w);
    op.require(w->shape == (s.stacked ? Shape{s.groups, s.k, s.n} : Shape{s.k, s.n}),
               "a weight must be [K, N] with K " + std::to_string(s.k) + ", got " + text(w->shape));
    op.require(w->format == kFractalNz || w->contiguous() || w->transposed(),
               "a weight is either contiguous or transposed by its strides");
    op.require(w->transposed() == weight[0]->transposed(), "all weights must be transposed or none");
  }
  return s;
}

Kind check_types(const Op& op, const Argument& x, const std::vector<Argument>& weight) {
  const int type = weight[0]->type;
  for (const Argument& w : weight) op.same_type(w, weight[0]);
  if (soc() == Soc::k310P) {
    require(x->type == kFloat16 && type == kFloat16, kInvalid, "on a 310P x and weight must be float16");
    for (const Argument& w : weight) op.require(w->format == kFractalNz, "on a 310P weight must be FRACTAL_NZ");
  }
  if (x->type == type && type != kInt8) {
    op.require(type != kFloat || weight[0]->rank() == 3, "float32 weights must be one [E, K, N] tensor");
    op.require(type != kFloat || weight[0]->format == kND, "float32 weights must be of format ND");
    return Kind::kPlain;
  }
  require(type == kInt8, kInvalid,
          "x of " + type_name(x->type) + " and weight of " + type_name(type) + " do not go together");
  if (x->type != kInt8) {
    require(x->type != kFloat, kInvalid, "int8 weights take float16 or bfloat16 x");
    return Kind::kWeightOnly;
  }
  op.require(weight.size() == 1 && weight[0]->rank() == 3, "int8 x takes one [E, K, N] weight");
  return Kind::kInt8;
}

void check_bias(const std::vector<Argument>& bias, Kind kind, int x_type) {
  for (const Argument& tensor : bias) {
    const int expected = kind == Kind::kInt8 ? kInt32 : x_type == kFloat16 ? kFloat16 : kFloat;
    require(tensor->type == expected, kInvalid,
            "bias of " + type_name(x_type) + " x must be " + type_name(expected) + ", got " + type_name(tensor->type));
  }
}

double activated(double value, int64_t act_type) {
  switch (act_type) {
    case 1:
      return relu(value);
    case 2:
      return gelu_tanh(value);
    case 5:
      return silu(value);
    default:
      return value;
  }
}

}  // namespace

void describe_grouped_matmul(Op& op, const GroupedMatmul& call) {
  const auto xs = op.in_list("x", call.x, {kFloat, kFloat16, kBf16, kInt8});
  const auto weight = op.in_list("weight", call.weight, {kFloat, kFloat16, kBf16, kInt8});
  require(!xs.empty(), kNullptr, "x is null or empty");
  require(!weight.empty(), kNullptr, "weight is null or empty");
  const auto bias = op.in_list("bias", call.bias, {kFloat, kFloat16, kBf16, kInt32});
  const auto scale = op.in_list("scale", call.scale, {kFloat, kBf16, kUint64});
  const auto anti_scale = op.in_list("antiquantScale", call.antiquant_scale, {kFloat16, kBf16});
  const auto anti_offset = op.in_list("antiquantOffset", call.antiquant_offset, {kFloat16, kBf16});
  const auto token_scale = op.in_list("perTokenScale", call.per_token_scale, {kFloat});
  const auto outs = op.out_list("out", call.out, {kFloat, kFloat16, kBf16, kInt32, kInt8});
  op.absent("offset", call.offset, "it is reserved");
  op.absent("activationInput", call.activation_input, "it is reserved");
  op.absent("activationQuantScale", call.activation_scale, "it is reserved");
  op.absent("activationQuantOffset", call.activation_offset, "it is reserved");
  op.absent("activationFeatureOut", call.activation_out, "it is reserved");
  op.absent("dynQuantScaleOut", call.dynamic_scale_out, "it is reserved");
  op.require(call.group_type == 0, "only groupType 0 (rows) is simulated, got " + std::to_string(call.group_type));
  op.require(call.split_item == 2 || call.split_item == 3, "one output needs splitItem 2 or 3");
  op.require(xs.size() == 1 && outs.size() == 1, "groupType 0 with one output takes one x and one out");
  const Argument x = xs[0];
  const Argument out = outs[0];
  const Kind kind = check_types(op, x, weight);
  const Shapes s = check_shapes(op, x, weight);
  op.nd(x);
  op.nd(out);
  op.shape(out, {s.m, s.n});
  check_per_group(op, bias, s, "bias");
  check_per_group(op, scale, s, "scale");
  check_per_group(op, anti_scale, s, "antiquantScale");
  check_per_group(op, anti_offset, s, "antiquantOffset");
  check_bias(bias, kind, x->type);

  require(call.group_list != nullptr, kNullptr, "groupList is null");
  const Argument list = op.in("groupList", call.group_list, {kInt64});
  op.require(call.group_list_type >= kGroupSums && call.group_list_type <= kGroupPairs,
             "groupListType must be 0, 1 or 2");
  op.shape(list, call.group_list_type == kGroupPairs ? Shape{s.groups, 2} : Shape{s.groups});

  require(kind == Kind::kInt8 || (call.scale == nullptr && call.per_token_scale == nullptr), kInvalid,
          "scale and perTokenScale belong to int8 x");
  op.require(kind == Kind::kInt8 || call.act_type == 0, "actType must be 0 unless x and weight are int8");
  op.require(call.act_type == 0 || call.act_type == 1 || call.act_type == 2 || call.act_type == 5,
             "actType " + std::to_string(call.act_type) + " is not simulated");
  if (kind == Kind::kPlain || kind == Kind::kWeightOnly) op.same_type(out, x);
  require((kind == Kind::kWeightOnly) == !anti_scale.empty() && anti_scale.size() == anti_offset.size(), kInvalid,
          "int8 weights with float x take antiquantScale and antiquantOffset, others neither");
  for (const auto& tensors : {anti_scale, anti_offset})
    for (const Argument& tensor : tensors) op.same_type(tensor, x);
  if (kind == Kind::kInt8) {
    for (const Argument& tensor : token_scale) op.shape(tensor, {s.m});
    const bool scaled = out->type != kInt32;
    require(scaled == !scale.empty(), kInvalid, "scale is given unless out is int32");
    require(out->type != kInt8 && out->type != kFloat, kInvalid,
            "out of " + type_name(out->type) + " is not simulated");
    if (out->type == kBf16) require(scale[0]->type == kBf16, kInvalid, "scale must be bfloat16 for a bfloat16 out");
    if (out->type == kFloat16)
      require(scale[0]->type == kFloat && !token_scale.empty(), kInvalid,
              "a float16 out takes a float32 scale and perTokenScale");
    require(scaled || token_scale.empty(), kInvalid, "an int32 out takes no perTokenScale");
  }
  op.workspace(16384 + 64 * s.groups);

  op.run([=](const Frame& frame) {
    const auto values = frame.numbers(x);
    const auto per_group = [&](const std::vector<Argument>& tensors) {
      std::vector<double> all;
      for (const Argument& tensor : tensors) {
        const auto part = frame.numbers(tensor);
        all.insert(all.end(), part.begin(), part.end());
      }
      return all;
    };
    auto w = per_group(weight);
    const auto b = per_group(bias);
    const auto column_scale = per_group(scale);
    const auto row_scale = per_group(token_scale);
    if (kind == Kind::kWeightOnly) {  // weights are widened to x's type before they are multiplied
      const auto factor = per_group(anti_scale);
      const auto shift = per_group(anti_offset);
      for (size_t i = 0; i < w.size(); ++i) {
        const int64_t column = static_cast<int64_t>(i) / (s.k * s.n) * s.n + static_cast<int64_t>(i) % s.n;
        w[i] = rounded((w[i] + shift[column]) * factor[column], x->type);
      }
    }
    const auto groups = row_groups(frame, list, call.group_list_type, s.groups, s.m);
    std::vector<double> result(s.m * s.n, 0);
    for (const auto& [group, begin, end] : groups)
      for (int64_t r = begin; r < end; ++r) {
        double* const row = result.data() + r * s.n;
        for (int64_t i = 0; i < s.k; ++i)
          for (int64_t o = 0; o < s.n; ++o) row[o] += values[r * s.k + i] * w[(group * s.k + i) * s.n + o];
        for (int64_t o = 0; o < s.n; ++o) {
          if (!b.empty()) row[o] += b[group * s.n + o];
          if (!column_scale.empty()) row[o] *= column_scale[group * s.n + o];
          if (!row_scale.empty()) row[o] *= row_scale[r];
          row[o] = activated(row[o], call.act_type);
        }
      }
    frame.store_rows(out, result, groups.empty() ? 0 : groups.back().end);
  });
}

}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnGroupedMatmulV3GetWorkspaceSize(const aclTensorList* x, const aclTensorList* weight,
                                                 const aclTensorList* bias, const aclTensorList* scale,
                                                 const aclTensorList* offset, const aclTensorList* antiquant_scale,
                                                 const aclTensorList* antiquant_offset, const aclTensor* group_list,
                                                 int64_t split_item, int64_t group_type, const aclTensorList* y,
                                                 uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnGroupedMatmulV3", size, executor, [&](Op& op) {
    describe_grouped_matmul(
        op, {x, weight, bias, scale, offset, antiquant_scale, antiquant_offset, nullptr, group_list, nullptr, nullptr,
             nullptr, split_item, group_type, kGroupSums, 0, y, nullptr, nullptr});
  });
}
ASCEND_SIM_PHASE_2(aclnnGroupedMatmulV3)

aclnnStatus aclnnGroupedMatmulV4GetWorkspaceSize(
    const aclTensorList* x, const aclTensorList* weight, const aclTensorList* bias, const aclTensorList* scale,
    const aclTensorList* offset, const aclTensorList* antiquant_scale, const aclTensorList* antiquant_offset,
    const aclTensorList* per_token_scale, const aclTensor* group_list, const aclTensorList* activation_input,
    const aclTensorList* activation_scale, const aclTensorList* activation_offset, int64_t split_item,
    int64_t group_type, int64_t group_list_type, int64_t act_type, aclTensorList* out, aclTensorList* activation_out,
    aclTensorList* dynamic_scale_out, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnGroupedMatmulV4", size, executor, [&](Op& op) {
    describe_grouped_matmul(op, {x, weight, bias, scale, offset, antiquant_scale, antiquant_offset, per_token_scale,
                                 group_list, activation_input, activation_scale, activation_offset, split_item,
                                 group_type, group_list_type, act_type, out, activation_out, dynamic_scale_out});
  });
}
ASCEND_SIM_PHASE_2(aclnnGroupedMatmulV4)

}  // extern "C"
