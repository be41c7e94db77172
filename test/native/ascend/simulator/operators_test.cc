// Operators against results worked out here, by index conventions and formulas, on sizes small enough to read.
#include <algorithm>

#include "lab.h"

namespace ascend_sim {
namespace {

using Values = std::vector<double>;

void expect_near(const Values& got, const Values& expected, double tolerance = 1e-6) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_TRUE(std::fabs(got[i] - expected[i]) <= tolerance) << i << ": " << got[i] << " for " << expected[i];
}

// Every test ends without a broken rule.
class Operators : public testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(joined(broken_rules()), ""); }
  Lab lab;
};

TEST_F(Operators, ElementsBroadcast) {
  Array a(lab, {2, 3}, kFloat, {1, 2, 3, 4, 5, 6});
  Array row(lab, {3}, kFloat, {10, 20, 30});
  Array column(lab, {2, 1}, kFloat, {2, 3});
  Array out(lab, {2, 3}, kFloat);
  float two = 2;
  aclScalar* const alpha = aclCreateScalar(&two, kFloat);
  expect(ASCEND_SIM_RUN(lab, aclnnAdd, a.tensor, row.tensor, alpha, out.tensor));
  expect_near(out.values(), {21, 42, 63, 24, 45, 66});
  expect(ASCEND_SIM_RUN(lab, aclnnMul, a.tensor, column.tensor, out.tensor));
  expect_near(out.values(), {2, 4, 6, 12, 15, 18});
  expect(ASCEND_SIM_RUN(lab, aclnnClamp, a.tensor, alpha, nullptr, out.tensor));
  expect_near(out.values(), {2, 2, 3, 4, 5, 6});
  expect(aclDestroyScalar(alpha));
}

TEST_F(Operators, SwiGluTakesHalvesOfTheLastDimension) {
  Array x(lab, {2, 4}, kFloat, {1, 2, 3, 4, -1, 0, 5, 6});
  Array y(lab, {2, 2}, kFloat);
  expect(ASCEND_SIM_RUN(lab, aclnnSwiGlu, x.tensor, int64_t{-1}, y.tensor));
  const auto silu = [](double v) { return v / (1 + std::exp(-v)); };
  expect_near(y.values(), {silu(1) * 3, silu(2) * 4, silu(-1) * 5, 0});
}

TEST_F(Operators, AStridedHalfIsReadThroughItsStrides) {
  Array x(lab, {2, 4}, kFloat, {0, 0, 3, -4, 0, 0, -5, 6});
  Array y(lab, {2, 2}, kFloat);
  const int64_t dims[] = {2, 2};
  const int64_t strides[] = {4, 1};
  const int64_t storage = 8;
  aclTensor* const right = aclCreateTensor(dims, 2, kFloat, strides, 2, kND, &storage, 1, x.memory);
  expect(ASCEND_SIM_RUN(lab, aclnnRelu, right, y.tensor));
  expect_near(y.values(), {3, 0, 0, 6});
  expect(aclDestroyTensor(right));
}

TEST_F(Operators, CastRoundsToTheNearestEven) {
  Array x(lab, {4}, kFloat, {1.00390625, 1.01171875, 3.0e38, -0.1});
  Array y(lab, {4}, kBf16);
  expect(ASCEND_SIM_RUN(lab, aclnnCast, x.tensor, int{kBf16}, y.tensor));
  const Values got = y.values();
  EXPECT_EQ(got[0], 1.0);
  EXPECT_EQ(got[1], 1.015625);
  EXPECT_NEAR(got[3], -0.1, 0.0005);
}

TEST_F(Operators, MatmulReadsATransposedMatrixByItsStrides) {
  Array a(lab, {1, 2}, kFloat, {1, 10});
  Array b(lab, {3, 2}, kFloat, {1, 2, 3, 4, 5, 6});  // [N, K]
  Array y(lab, {1, 3}, kFloat);
  aclTensor* const transposed = tensor_at(b.memory, {2, 3}, kFloat, {1, 2});
  expect(ASCEND_SIM_RUN(lab, aclnnMatmul, a.tensor, transposed, y.tensor, static_cast<int8_t>(kKeepDtype)));
  expect_near(y.values(), {21, 43, 65});
  expect(aclDestroyTensor(transposed));
}

TEST_F(Operators, Hf32KeepsElevenBits) {
  Array a(lab, {1, 1}, kFloat, {1 + std::ldexp(1, -12) * 0.75});
  Array b(lab, {1, 1}, kFloat, {1});
  Array y(lab, {1, 1}, kFloat);
  expect(ASCEND_SIM_RUN(lab, aclnnMatmul, a.tensor, b.tensor, y.tensor, static_cast<int8_t>(kUseHf32)));
  EXPECT_EQ(y.values()[0], 1);
}

TEST_F(Operators, GatingSoftmaxIsRenormalizedOrNot) {
  Array x(lab, {1, 4}, kFloat, {0, std::log(2.0), std::log(5.0), 0});
  Array y(lab, {1, 2}, kFloat);
  Array ids(lab, {1, 2}, kInt32);
  Array all(lab, {1, 4}, kFloat);
  expect(ASCEND_SIM_RUN(lab, aclnnMoeGatingTopKSoftmaxV2, x.tensor, nullptr, int64_t{2}, int64_t{0}, true, y.tensor,
                        ids.tensor, all.tensor));
  expect_near(y.values(), {5.0 / 9, 2.0 / 9});
  expect_near(all.values(), {1.0 / 9, 2.0 / 9, 5.0 / 9, 1.0 / 9});
  EXPECT_EQ(ids.values(), (Values{2, 1}));
  expect(ASCEND_SIM_RUN(lab, aclnnMoeGatingTopKSoftmaxV2, x.tensor, nullptr, int64_t{2}, int64_t{1}, false, y.tensor,
                        ids.tensor, nullptr));
  expect_near(y.values(), {5.0 / 7, 2.0 / 7});
}

TEST_F(Operators, SoftmaxRowsAreNumberedByColumn) {
  Array x(lab, {2, 16}, kFloat, noise(32, 3));
  Array y(lab, {2, 3}, kFloat);
  Array ids(lab, {2, 3}, kInt32);
  Array rows(lab, {2, 3}, kInt32);
  expect(
      ASCEND_SIM_RUN(lab, aclnnMoeGatingTopKSoftmax, x.tensor, nullptr, int64_t{3}, y.tensor, ids.tensor, rows.tensor));
  EXPECT_EQ(rows.values(), (Values{0, 2, 4, 1, 3, 5}));
}

TEST_F(Operators, GatingByGroupsChoosesWithTheBiasAndWeighsWithoutIt) {
  // Groups of three: {0, 1, 2} and {3, 4, 5}. The bias lifts expert 5, and with it the second group's best pair.
  const Values logits = {1, 0.5, -1, 0, 0.2, -3};
  Array x(lab, {1, 6}, kFloat, logits);
  Array bias(lab, {6}, kFloat, {0, 0, 0, 0, 0, 2});
  Array y(lab, {1, 2}, kFloat);
  Array ids(lab, {1, 2}, kInt32);
  Array norm(lab, {1, 6}, kFloat);
  expect(ASCEND_SIM_RUN(lab, aclnnMoeGatingTopK, x.tensor, bias.tensor, int64_t{2}, int64_t{1}, int64_t{2}, int64_t{1},
                        int64_t{0}, int64_t{1}, false, 2.5, 0.0, y.tensor, ids.tensor, norm.tensor));
  const auto score = [&](int e) { return 1 / (1 + std::exp(-logits[e])); };
  EXPECT_EQ(ids.values(), (Values{5, 4}));
  const double sum = score(5) + score(4);
  expect_near(y.values(), {2.5 * score(5) / sum, 2.5 * score(4) / sum});
}

// Three tokens of width 2, two choices: (1, 0), (0, 2), (1, 2).
struct Routed {
  explicit Routed(Lab& lab)
      : x(lab, {3, 2}, kFloat, {10, 11, 20, 21, 30, 31}), ids(lab, {3, 2}, kInt32, {1, 0, 0, 2, 1, 2}) {}
  Array x, ids;
};

TEST_F(Operators, InitRoutingV2SortsSlotsByExpert) {
  Routed r(lab);
  Array rows(lab, {6, 2}, kFloat);
  Array index(lab, {6}, kInt32);
  Array counts(lab, {3}, kInt32);
  for (const int64_t flag : {1, 2}) {
    expect(ASCEND_SIM_RUN(lab, aclnnMoeInitRoutingV2, r.x.tensor, r.ids.tensor, int64_t{0}, int64_t{0}, int64_t{3},
                          int64_t{0}, flag, false, rows.tensor, index.tensor, counts.tensor, nullptr));
    EXPECT_EQ(index.values(), (Values{2, 0, 1, 4, 3, 5}));
    EXPECT_EQ(counts.values(), flag == 1 ? (Values{2, 4, 6}) : (Values{2, 2, 2}));
    expect_near(rows.values(), {10, 11, 20, 21, 10, 11, 30, 31, 20, 21, 30, 31});
  }
}

TEST_F(Operators, InitRoutingV2PadsAndDrops) {
  Routed r(lab);
  Array rows(lab, {3, 1, 2}, kFloat);
  Array index(lab, {6}, kInt32);
  Array before(lab, {3}, kInt32);
  expect(ASCEND_SIM_RUN(lab, aclnnMoeInitRoutingV2, r.x.tensor, r.ids.tensor, int64_t{0}, int64_t{1}, int64_t{3},
                        int64_t{1}, int64_t{0}, true, rows.tensor, index.tensor, nullptr, before.tensor));
  EXPECT_EQ(index.values(), (Values{1, 0, -1, 2, -1, -1}));
  EXPECT_EQ(before.values(), (Values{2, 2, 2}));
  expect_near(rows.values(), {10, 11, 10, 11, 20, 21});
}

TEST_F(Operators, InitRoutingV3KeepsARangeAndLeavesTheRestUnwritten) {
  Routed r(lab);
  Array rows(lab, {6, 2}, kFloat);
  Array index(lab, {6}, kInt32);
  Array counts(lab, {2}, kInt64);
  Array scale(lab, {6}, kFloat);
  const int64_t last_two[] = {1, 3};
  aclIntArray* const range = aclCreateIntArray(last_two, 2);
  expect(ASCEND_SIM_RUN(lab, aclnnMoeInitRoutingV3, r.x.tensor, r.ids.tensor, nullptr, nullptr, int64_t{6}, int64_t{0},
                        int64_t{3}, int64_t{0}, int64_t{1}, true, int64_t{-1}, range, int64_t{0}, rows.tensor,
                        index.tensor, counts.tensor, scale.tensor));
  EXPECT_EQ(index.values(), (Values{0, -1, -1, 2, 1, 3}));
  EXPECT_EQ(counts.values(), (Values{2, 2}));
  const Values got = rows.values();
  expect_near(Values(got.begin(), got.begin() + 8), {10, 11, 30, 31, 20, 21, 30, 31});
  EXPECT_TRUE(std::isnan(got[8]) && std::isnan(got[11]));
  expect(aclDestroyIntArray(range));
}

TEST_F(Operators, FinalizeRoutingUndoesInitRouting) {
  Array rows(lab, {4, 1}, kFloat, {1, 10, 100, 1000});
  Array index(lab, {4}, kInt32, {3, 0, 1, 2});
  Array scales(lab, {2, 2}, kFloat, {1, 2, 3, 4});
  Array shared(lab, {2, 1}, kFloat, {0.5, 0.25});
  Array out(lab, {2, 1}, kFloat);
  expect(ASCEND_SIM_RUN(lab, aclnnMoeFinalizeRoutingV2, rows.tensor, index.tensor, shared.tensor, nullptr, nullptr,
                        scales.tensor, nullptr, int64_t{2}, out.tensor));
  expect_near(out.values(), {1000 + 2 * 1 + 0.5, 3 * 10 + 4 * 100 + 0.25}, 1e-3);
  expect(ASCEND_SIM_RUN(lab, aclnnMoeFinalizeRoutingV2, rows.tensor, index.tensor, nullptr, nullptr, nullptr,
                        scales.tensor, nullptr, int64_t{0}, out.tensor));
  expect_near(out.values(), {1 * 1000 + 2 * 10, 3 * 1 + 4 * 100}, 1e-3);  // the index read column by column
}

// Grouped products: x [M, K], weight [E, K, N] of one type, rows of expert e times its matrix.
struct Product {
  int64_t m = 5, k = 32, n = 16, e = 3;
  Values x, w;
  Values counts = {2, 0, 2};  // the last row belongs to nobody
  Product() : x(noise(m * k, 5)), w(noise(e * k * n, 6)) {}

  Values expected(int type) const {
    Values result;
    const int64_t owner[] = {0, 0, 2, 2};
    const auto round = [&](double v) {
      return type == kFloat16 ? from_float16(to_float16(v)) : from_bfloat16(to_bfloat16(v));
    };
    for (int64_t r = 0; r < 4; ++r)
      for (int64_t o = 0; o < n; ++o) {
        double sum = 0;
        for (int64_t i = 0; i < k; ++i) sum += round(x[r * k + i]) * round(w[(owner[r] * k + i) * n + o]);
        result.push_back(sum);
      }
    return result;
  }
};

void check_product(Lab& lab, const Product& p, const aclTensor* weight, int type) {
  Array x(lab, {p.m, p.k}, type, p.x);
  Array list(lab, {p.e}, kInt64, p.counts);
  Array y(lab, {p.m, p.n}, type);
  aclTensorList* const xs = x.listed();
  aclTensorList* const ws = aclCreateTensorList(&weight, 1);
  aclTensorList* const ys = y.listed();
  expect(ASCEND_SIM_RUN(lab, aclnnGroupedMatmulV5, xs, ws, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                        list.tensor, nullptr, nullptr, nullptr, int64_t{2}, int64_t{0}, int64_t{1}, int64_t{0}, nullptr,
                        ys, nullptr, nullptr));
  for (aclTensorList* lists : {xs, ws, ys}) expect(aclDestroyTensorList(lists));
  const Values got = y.values();
  expect_near(Values(got.begin(), got.begin() + 4 * p.n), p.expected(type), type == kFloat16 ? 0.005 : 0.04);
  for (int64_t o = 0; o < p.n; ++o) EXPECT_TRUE(std::isnan(got[4 * p.n + o]));
}

TEST_F(Operators, GroupedMatmulLeavesRowsOfNoGroupUnwritten) {
  const Product p;
  check_product(lab, p, tensor_at(lab.upload(p.w, kBf16), {p.e, p.k, p.n}, kBf16), kBf16);
}

TEST_F(Operators, GroupedMatmulReadsTransposedWeights) {
  const Product p;
  Values stored(p.w.size());  // [E, N, K]
  for (int64_t e = 0; e < p.e; ++e)
    for (int64_t i = 0; i < p.k; ++i)
      for (int64_t o = 0; o < p.n; ++o) stored[(e * p.n + o) * p.k + i] = p.w[(e * p.k + i) * p.n + o];
  check_product(lab, p, tensor_at(lab.upload(stored, kBf16), {p.e, p.k, p.n}, kBf16, {p.k * p.n, 1, p.k}), kBf16);
}

TEST_F(Operators, FractalWeightsAreReallyPermuted) {
  ascend_sim_set_soc("Ascend310P3");
  const Product p;
  // [E, N / 16, K / 16, 16 rows, 16 columns]
  Values stored;
  for (int64_t e = 0; e < p.e; ++e)
    for (int64_t n1 = 0; n1 < p.n / 16; ++n1)
      for (int64_t k1 = 0; k1 < p.k / 16; ++k1)
        for (int64_t i = 0; i < 16; ++i)
          for (int64_t o = 0; o < 16; ++o) stored.push_back(p.w[(e * p.k + k1 * 16 + i) * p.n + n1 * 16 + o]);
  const int64_t dims[] = {p.e, p.k, p.n};
  const int64_t storage[] = {p.e, p.n / 16, p.k / 16, 16, 16};
  check_product(lab, p,
                aclCreateTensor(dims, 3, kFloat16, nullptr, 0, kFractalNz, storage, 5, lab.upload(stored, kFloat16)),
                kFloat16);
}

TEST_F(Operators, FormatCastAndTransMatmulWeightPermuteAlike) {
  const Values w = noise(32 * 48, 7);
  Array row_major(lab, {32, 48}, kFloat16, w);
  void* const in_place = lab.upload(w, kFloat16);
  int64_t* shape = nullptr;
  uint64_t rank = 0;
  int format = 0;
  expect(aclnnNpuFormatCastCalculateSizeAndFormat(row_major.tensor, kFractalNz, -1, &shape, &rank, &format));
  EXPECT_EQ(std::vector<int64_t>(shape, shape + rank), (std::vector<int64_t>{3, 2, 16, 16}));
  void* const memory = lab.allocate(32 * 48 * 2);
  const int64_t dims[] = {32, 48};
  aclTensor* const fractal = aclCreateTensor(dims, 2, kFloat16, nullptr, 0, format, shape, rank, memory);
  delete[] shape;
  expect(ASCEND_SIM_RUN(lab, aclnnNpuFormatCast, row_major.tensor, fractal));
  aclTensor* const reference = tensor_at(in_place, {32, 48}, kFloat16);
  expect(ASCEND_SIM_RUN(lab, aclnnTransMatmulWeight, reference));
  EXPECT_EQ(lab.download(memory, 32 * 48, kFloat16), lab.download(in_place, 32 * 48, kFloat16));
  EXPECT_NE(lab.download(memory, 32 * 48, kFloat16), row_major.values());
  expect(aclDestroyTensor(fractal));
  expect(aclDestroyTensor(reference));
}

TEST_F(Operators, DynamicQuantScalesEachRow) {
  Array x(lab, {2, 4}, kFloat16, {1, -127, 64, 0, 0, 0, 0, 0});
  Array y(lab, {2, 4}, kInt8);
  Array scale(lab, {2}, kFloat);
  expect(ASCEND_SIM_RUN(lab, aclnnDynamicQuant, x.tensor, nullptr, y.tensor, scale.tensor));
  EXPECT_EQ(y.values(), (Values{1, -127, 64, 0, 0, 0, 0, 0}));
  expect_near(scale.values(), {1, 0});
}

TEST_F(Operators, Int8ProductsAreScaledByColumnAndRow) {
  const int64_t m = 2, k = 32, n = 16;
  Values xs(m * k), ws(k * n);
  for (int64_t i = 0; i < m * k; ++i) xs[i] = i % 7 - 3;
  for (int64_t i = 0; i < k * n; ++i) ws[i] = i % 5 - 2;
  Array x(lab, {m, k}, kInt8, xs);
  Array w(lab, {1, k, n}, kInt8, ws);
  Array scale(lab, {1, n}, kBf16, Values(n, 0.5));
  Array rows(lab, {m}, kFloat, {1, 2});
  Array list(lab, {1}, kInt64, {2});
  Array y(lab, {m, n}, kBf16);
  aclTensorList* const lists[] = {x.listed(), w.listed(), scale.listed(), rows.listed(), y.listed()};
  expect(ASCEND_SIM_RUN(lab, aclnnGroupedMatmulV4, lists[0], lists[1], nullptr, lists[2], nullptr, nullptr, nullptr,
                        lists[3], list.tensor, nullptr, nullptr, nullptr, int64_t{3}, int64_t{0}, int64_t{0},
                        int64_t{0}, lists[4], nullptr, nullptr));
  for (aclTensorList* each : lists) expect(aclDestroyTensorList(each));
  Values expected;
  for (int64_t r = 0; r < m; ++r)
    for (int64_t o = 0; o < n; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) sum += xs[r * k + i] * ws[i * n + o];
      expected.push_back(from_bfloat16(to_bfloat16(sum * 0.5 * (r + 1))));
    }
  expect_near(y.values(), expected);
}

TEST_F(Operators, PermuteThenUnpermuteGivesTheTokensBack) {
  Routed r(lab);
  Array permuted(lab, {6, 2}, kFloat);
  Array index(lab, {6}, kInt32);
  Array probs(lab, {3, 2}, kFloat, Values(6, 0.5));
  Array out(lab, {3, 2}, kFloat);
  expect(ASCEND_SIM_RUN(lab, aclnnMoeTokenPermute, r.x.tensor, r.ids.tensor, int64_t{0}, false, permuted.tensor,
                        index.tensor));
  expect(ASCEND_SIM_RUN(lab, aclnnMoeTokenUnpermute, permuted.tensor, index.tensor, probs.tensor, false, nullptr,
                        out.tensor));
  expect_near(out.values(), {10, 11, 20, 21, 30, 31});
}

TEST_F(Operators, ReRoutingGathersExpertsFromRanks) {
  Array x(lab, {5, 1}, kBf16, {1, 2, 3, 4, 5});
  Array per_rank(lab, {2, 2}, kInt32, {1, 2, 2, 0});  // rank 0: one of expert 0, two of 1; rank 1: two of 0
  Array out(lab, {5, 1}, kBf16);
  Array scale(lab, {5}, kFloat);
  Array index(lab, {5}, kInt32);
  Array counts(lab, {2}, kInt32);
  expect(ASCEND_SIM_RUN(lab, aclnnMoeReRouting, x.tensor, per_rank.tensor, nullptr, int64_t{1}, int64_t{0}, out.tensor,
                        scale.tensor, index.tensor, counts.tensor));
  EXPECT_EQ(out.values(), (Values{1, 4, 5, 2, 3}));
  EXPECT_EQ(index.values(), (Values{0, 3, 4, 1, 2}));
  EXPECT_EQ(counts.values(), (Values{3, 2}));
}

}  // namespace
}  // namespace ascend_sim
