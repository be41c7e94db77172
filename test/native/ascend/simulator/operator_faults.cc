// Operators given arguments they do not take.
#include "fault_table.h"

namespace ascend_sim {
namespace {

// A product of rows in groups: x [6, K] float type, weight [3, K, N], groups of 1, 3 and 2 rows.
struct Grouped {
  int type = kBf16;
  int bias_type = kFloat;
  int list_type = kInt64;
  std::vector<double> list = {1, 3, 2};
  int64_t list_kind = 1;
  bool biased = false;
  int64_t act_type = 0;
  bool transposed_in_shape = false;  // [E, N, K] handed in as it is, without strides
};

int run_grouped(Lab& lab, const Grouped& g) {
  constexpr int64_t m = 6, k = 32, n = 16, e = 3;
  Array x(lab, {m, k}, g.type, noise(m * k, 1));
  Array w(lab, {e, k, n}, g.type, noise(e * k * n, 2));
  Array w_transposed(lab, {e, n, k}, g.type, noise(e * k * n, 2));
  Array bias(lab, {e, n}, g.bias_type, noise(e * n, 3));
  Array list(lab, {e}, g.list_type, g.list);
  Array y(lab, {m, n}, g.type);
  aclTensorList* const xs = x.listed();
  aclTensorList* const ws = (g.transposed_in_shape ? w_transposed : w).listed();
  aclTensorList* const bs = g.biased ? bias.listed() : nullptr;
  aclTensorList* const ys = y.listed();
  const int code =
      ASCEND_SIM_RUN(lab, aclnnGroupedMatmulV4, xs, ws, bs, nullptr, nullptr, nullptr, nullptr, nullptr, list.tensor,
                     nullptr, nullptr, nullptr, int64_t{2}, int64_t{0}, g.list_kind, g.act_type, ys, nullptr, nullptr);
  for (aclTensorList* lists : {xs, ws, bs, ys}) aclDestroyTensorList(lists);
  return code;
}

void sums_instead_of_counts(Lab& lab, bool wrong) {
  Grouped g;
  if (wrong) g.list = {1, 4, 6};
  run_grouped(lab, g);
}

void counts_instead_of_sums(Lab& lab, bool wrong) {
  Grouped g;
  g.list_kind = 0;
  if (!wrong) g.list = {1, 4, 6};
  run_grouped(lab, g);
}

void int32_group_list(Lab& lab, bool wrong) {
  Grouped g;
  if (wrong) g.list_type = kInt32;
  run_grouped(lab, g);
}

void bfloat16_bias(Lab& lab, bool wrong) {
  Grouped g;
  g.biased = true;
  if (wrong) g.bias_type = kBf16;
  run_grouped(lab, g);
}

void activation_in_a_float_product(Lab& lab, bool wrong) {
  Grouped g;
  if (wrong) g.act_type = 5;
  run_grouped(lab, g);
}

void transposition_by_shape(Lab& lab, bool wrong) {
  Grouped g;
  g.transposed_in_shape = wrong;
  run_grouped(lab, g);
}

void row_major_weight_on_310p(Lab& lab, bool wrong) {
  constexpr int64_t m = 4, k = 32, n = 16;
  Array x(lab, {m, k}, kFloat16, noise(m * k, 1));
  Array list(lab, {2}, kInt64, {2, 2});
  Array y(lab, {m, n}, kFloat16);
  void* const memory = lab.upload(noise(2 * k * n, 2), kFloat16);
  const int64_t dims[] = {2, k, n};
  const int64_t fractal[] = {2, 1, 2, 16, 16};
  const aclTensor* const weight = wrong
                                      ? tensor_at(memory, {2, k, n}, kFloat16)
                                      : aclCreateTensor(dims, 3, kFloat16, nullptr, 0, kFractalNz, fractal, 5, memory);
  aclTensorList* const xs = x.listed();
  aclTensorList* const ws = aclCreateTensorList(&weight, 1);
  aclTensorList* const ys = y.listed();
  ASCEND_SIM_RUN(lab, aclnnGroupedMatmulV4, xs, ws, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, list.tensor,
                 nullptr, nullptr, nullptr, int64_t{2}, int64_t{0}, int64_t{1}, int64_t{0}, ys, nullptr, nullptr);
  for (aclTensorList* lists : {xs, ws, ys}) aclDestroyTensorList(lists);
}

// Five tokens with two choices among three experts, routed, and combined with equal weights.
void combine(Lab& lab, int64_t drop_pad_mode, bool pad) {
  constexpr int64_t n = 5, k = 2, h = 32, e = 3;
  Array x(lab, {n, h}, kFloat, noise(n * h, 1));
  Array ids(lab, {n, k}, kInt32, {0, 1, 2, 0, 1, 2, 0, 2, 1, 0});
  Array rows(lab, pad ? std::vector<int64_t>{e, 2, h} : std::vector<int64_t>{n * k, h}, kFloat);
  Array index(lab, {n * k}, kInt32);
  Array counts(lab, {e}, kInt32);
  expect(ASCEND_SIM_RUN(lab, aclnnMoeInitRoutingV2, x.tensor, ids.tensor, int64_t{0}, int64_t{pad ? 2 : 0}, e,
                        int64_t{pad ? 1 : 0}, int64_t{pad ? 0 : 2}, false, rows.tensor, index.tensor,
                        pad ? nullptr : counts.tensor, nullptr));
  Array scales(lab, {n, k}, kFloat, std::vector<double>(n * k, 0.5));
  Array out(lab, {n, h}, kFloat);
  ASCEND_SIM_RUN(lab, aclnnMoeFinalizeRoutingV2, rows.tensor, index.tensor, nullptr, nullptr, nullptr, scales.tensor,
                 nullptr, drop_pad_mode, out.tensor);
}

void dropped_rows_in_a_dropless_combine(Lab& lab, bool wrong) {
  if (!wrong) return combine(lab, 3, true);
  constexpr int64_t n = 2, k = 1, h = 32;
  Array rows(lab, {n * k, h}, kFloat, noise(n * h, 1));
  Array index(lab, {n * k}, kInt32, {0, -1});
  Array scales(lab, {n, k}, kFloat, {1, 1});
  Array out(lab, {n, h}, kFloat);
  ASCEND_SIM_RUN(lab, aclnnMoeFinalizeRoutingV2, rows.tensor, index.tensor, nullptr, nullptr, nullptr, scales.tensor,
                 nullptr, int64_t{2}, out.tensor);
}

void column_order(Lab& lab, bool wrong) { combine(lab, wrong ? 0 : 2, false); }

// Running sums of V2, cast, read as what they are or as counts.
void sums_of_routing_read_as_counts(Lab& lab, bool wrong) {
  constexpr int64_t n = 4, h = 32, e = 3, out = 16;
  Array x(lab, {n, h}, kFloat, noise(n * h, 1));
  Array ids(lab, {n, 1}, kInt32, {0, 0, 0, 0});  // sums 4, 4, 4: as counts they would be too many only later
  Array rows(lab, {n, h}, kFloat);
  Array index(lab, {n}, kInt32);
  Array sums(lab, {e}, kInt32);
  Array list(lab, {e}, kInt64);
  expect(ASCEND_SIM_RUN(lab, aclnnMoeInitRoutingV2, x.tensor, ids.tensor, int64_t{0}, int64_t{0}, e, int64_t{0},
                        int64_t{1}, false, rows.tensor, index.tensor, sums.tensor, nullptr));
  expect(ASCEND_SIM_RUN(lab, aclnnCast, sums.tensor, int{kInt64}, list.tensor));
  Array w(lab, {e, h, out}, kFloat, noise(e * h * out, 2));
  Array y(lab, {n, out}, kFloat);
  aclTensorList* const xs = rows.listed();
  aclTensorList* const ws = w.listed();
  aclTensorList* const ys = y.listed();
  ASCEND_SIM_RUN(lab, aclnnGroupedMatmulV5, xs, ws, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, list.tensor,
                 nullptr, nullptr, nullptr, int64_t{2}, int64_t{0}, int64_t{wrong ? 1 : 0}, int64_t{0}, nullptr, ys,
                 nullptr, nullptr);
  for (aclTensorList* lists : {xs, ws, ys}) aclDestroyTensorList(lists);
}

void padded_rows_in_a_dropless_combine(Lab& lab, bool wrong) { combine(lab, wrong ? 2 : 3, true); }

void expert_out_of_range(Lab& lab, bool wrong) {
  constexpr int64_t n = 2, k = 1, h = 32;
  Array x(lab, {n, h}, kFloat, noise(n * h, 1));
  Array ids(lab, {n, k}, kInt32, {0, wrong ? 3.0 : 2.0});
  Array rows(lab, {n * k, h}, kFloat);
  Array index(lab, {n * k}, kInt32);
  Array counts(lab, {3}, kInt32);
  ASCEND_SIM_RUN(lab, aclnnMoeInitRoutingV2, x.tensor, ids.tensor, int64_t{0}, int64_t{0}, int64_t{3}, int64_t{0},
                 int64_t{2}, false, rows.tensor, index.tensor, counts.tensor, nullptr);
}

struct V3 {
  bool ranged = true;
  bool finite = true;
};

void route_v3(Lab& lab, const V3& v3) {
  constexpr int64_t n = 2, k = 1, h = 32, e = 3;
  std::vector<double> values = noise(n * h, 1);
  if (!v3.finite) values[h] = NAN;
  Array x(lab, {n, h}, kBf16, values);
  Array ids(lab, {n, k}, kInt32, {0, 2});
  Array rows(lab, {n * k, h}, kBf16);
  Array index(lab, {n * k}, kInt32);
  Array counts(lab, {e}, kInt64);
  Array scale(lab, {n * k}, kFloat);
  const int64_t all[] = {0, e};
  aclIntArray* const range = v3.ranged ? aclCreateIntArray(all, 2) : nullptr;
  ASCEND_SIM_RUN(lab, aclnnMoeInitRoutingV3, x.tensor, ids.tensor, nullptr, nullptr, n * k, int64_t{0}, e, int64_t{0},
                 int64_t{1}, true, int64_t{-1}, range, int64_t{0}, rows.tensor, index.tensor, counts.tensor,
                 scale.tensor);
  aclDestroyIntArray(range);
}

void range_of_active_experts_missing(Lab& lab, bool wrong) { route_v3(lab, {.ranged = !wrong}); }
void rows_that_are_not_finite(Lab& lab, bool wrong) { route_v3(lab, {.finite = !wrong}); }

void bfloat16_on_310p(Lab& lab, bool wrong) {
  Array x(lab, {2, 64}, wrong ? kBf16 : kFloat16, noise(128, 1));
  Array y(lab, {2, 32}, wrong ? kBf16 : kFloat16);
  ASCEND_SIM_RUN(lab, aclnnSwiGlu, x.tensor, int64_t{-1}, y.tensor);
}

void gate(Lab& lab, int64_t tokens, int64_t experts) {
  Array x(lab, {tokens, experts}, kFloat16, noise(tokens * experts, 1));
  Array y(lab, {tokens, 2}, kFloat16);
  Array ids(lab, {tokens, 2}, kInt32);
  Array rows(lab, {tokens, 2}, kInt32);
  ASCEND_SIM_RUN(lab, aclnnMoeGatingTopKSoftmax, x.tensor, nullptr, int64_t{2}, y.tensor, ids.tensor, rows.tensor);
}

void gate_of_too_many_rows_on_310p(Lab& lab, bool wrong) { gate(lab, wrong ? 1025 : 1024, 16); }
void gate_of_odd_experts_on_310p(Lab& lab, bool wrong) { gate(lab, 4, wrong ? 24 : 32); }

void operator_of_another_chip(Lab& lab, bool wrong) {
  if (!wrong) return gate(lab, 4, 16);
  Array x(lab, {2, 16}, kFloat16, noise(32, 1));
  Array y(lab, {2, 2}, kFloat16);
  Array ids(lab, {2, 2}, kInt32);
  ASCEND_SIM_RUN(lab, aclnnMoeGatingTopKSoftmaxV2, x.tensor, nullptr, int64_t{2}, int64_t{0}, false, y.tensor,
                 ids.tensor, nullptr);
}

void output_of_another_shape(Lab& lab, bool wrong) {
  Array x(lab, {2, 8}, kFloat, noise(16, 1));
  Array y(lab, wrong ? std::vector<int64_t>{2, 8} : std::vector<int64_t>{2, 4}, kFloat);
  ASCEND_SIM_RUN(lab, aclnnSwiGlu, x.tensor, int64_t{-1}, y.tensor);
}

void output_missing(Lab& lab, bool wrong) {
  Array x(lab, {2, 8}, kFloat, noise(16, 1));
  Array y(lab, {2, 4}, kFloat);
  ASCEND_SIM_RUN(lab, aclnnSwiGlu, x.tensor, int64_t{-1}, wrong ? nullptr : y.tensor);
}

void probabilities_of_another_type(Lab& lab, bool wrong) {
  Array rows(lab, {4, 32}, kBf16, noise(128, 1));
  Array index(lab, {4}, kInt32, {3, 1, 0, 2});
  Array probs(lab, {2, 2}, wrong ? kFloat : kBf16, noise(4, 2));
  Array out(lab, {2, 32}, kBf16);
  ASCEND_SIM_RUN(lab, aclnnMoeTokenUnpermute, rows.tensor, index.tensor, probs.tensor, false, nullptr, out.tensor);
}

void float32_product_on_310p(Lab& lab, bool wrong) {
  Array a(lab, {2, 32}, kFloat, noise(64, 1));
  Array b(lab, {32, 4}, kFloat, noise(128, 2));
  Array y(lab, {2, 4}, kFloat);
  ASCEND_SIM_RUN(lab, aclnnMatmul, a.tensor, b.tensor, y.tensor,
                 static_cast<int8_t>(wrong ? kKeepDtype : kAllowDownPrecision));
}

}  // namespace

std::vector<SeededFault> operator_faults() {
  const char* const p310 = "Ascend310P3";
  return {
      {"SumsInsteadOfCounts", "were running sums given?", sums_instead_of_counts},
      {"CountsInsteadOfSums", "were counts given?", counts_instead_of_sums},
      {"Int32GroupList", "groupList must be of int64", int32_group_list},
      {"BFloat16Bias", "bias of bfloat16 x must be float32", bfloat16_bias},
      {"ActivationInAFloatProduct", "actType must be 0", activation_in_a_float_product},
      {"TranspositionByShape", "a weight must be [K, N]", transposition_by_shape},
      {"RowMajorWeightOn310P", "weight must be FRACTAL_NZ", row_major_weight_on_310p, p310},
      {"DroppedRowsInADroplessCombine", "expandedRowIdx -1", dropped_rows_in_a_dropless_combine},
      {"ColumnOrder", "was written in row order and is read in column order", column_order},
      {"SumsOfRoutingReadAsCounts", "was written as running sums and is read as counts",
       sums_of_routing_read_as_counts},
      {"PaddedRowsInADroplessCombine", "expandedX must have shape", padded_rows_in_a_dropless_combine},
      {"ExpertOutOfRange", "expertIdx 3 is not in [0, 3)", expert_out_of_range},
      {"RangeOfActiveExpertsMissing", "activeExpertRange is null", range_of_active_experts_missing},
      {"RowsThatAreNotFinite", "x is not finite", rows_that_are_not_finite},
      {"BFloat16On310P", "which a 310P does not have", bfloat16_on_310p, p310},
      {"GateOfTooManyRowsOn310P", "more than 1024 rows", gate_of_too_many_rows_on_310p, p310},
      {"GateOfOddExpertsOn310P", "E must be a multiple of 16", gate_of_odd_experts_on_310p, p310},
      {"OperatorOfAnotherChip", "does not exist on 310P", operator_of_another_chip, p310},
      {"OutputOfAnotherShape", "out must have shape [2, 4]", output_of_another_shape},
      {"OutputMissing", "out is null", output_missing},
      {"ProbabilitiesOfAnotherType", "probs must be of bfloat16", probabilities_of_another_type},
      {"Float32ProductOn310P", "cannot multiply float32", float32_product_on_310p, p310},
  };
}

}  // namespace ascend_sim
