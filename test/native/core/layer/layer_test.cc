#include "core/layer/layer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "core/error.h"
#include "core/weights/float16.h"
#include "fakes/host_device.h"
#include "fakes/small_layer.h"

namespace moe::test {
namespace {

// Counts what a layer asks of its device.
class CountingDevice : public HostDevice {
 public:
  void* allocate(size_t bytes) override {
    ++allocations;
    ++held;
    return HostDevice::allocate(bytes);
  }
  void deallocate(void* memory) noexcept override {
    --held;
    HostDevice::deallocate(memory);
  }
  void run(const PreparedExperts& experts, Matrix hidden, const Plan& plan, Matrix out,
           const std::stop_token& stop) override {
    ++expert_runs;
    HostDevice::run(experts, hidden, plan, out, stop);
  }

  void upload(void* device, const void* host, size_t bytes) override {
    ++copies;
    HostDevice::upload(device, host, bytes);
  }
  void download(void* host, const void* device, size_t bytes) override {
    ++copies;
    HostDevice::download(host, device, bytes);
  }

  int allocations = 0, held = 0, expert_runs = 0, copies = 0;
};

constexpr auto ignore_progress = [](int64_t, int64_t) {};

double dot(const WeightMatrix& matrix, int64_t row, const double* in) {
  double sum = 0.0;
  for (int64_t i = 0; i < matrix.in_features; ++i)
    sum += read_float(matrix.data, matrix.dtype, row * matrix.out_stride + i * matrix.in_stride) * in[i];
  return sum;
}

double swiglu_expert(const ExpertWeights& expert, const double* in, int64_t output) {
  double inner[SmallLayer::kWidth];
  for (int64_t i = 0; i < SmallLayer::kWidth; ++i) {
    const double gate = dot(expert.gate, i, in);
    inner[i] = gate / (1.0 + std::exp(-gate)) * dot(expert.up, i, in);
  }
  return dot(expert.down, output, inner);
}

TEST(Layer, AddsWeightedExpertsAndTheGatedSharedExpert) {
  const SmallLayer small;
  HostDevice backend;
  const std::vector<float> output = small.forward(backend);
  const double in[] = {1.0, -0.5};  // the first token
  std::multimap<double, int, std::greater<>> by_score;
  for (int e = 0; e < SmallLayer::kExperts; ++e) by_score.emplace(std::exp(dot(small.weights.router, e, in)), e);
  const auto first = by_score.begin(), second = std::next(first);
  const double shared_gate = 1.0 / (1.0 + std::exp(-dot(small.weights.shared_router, 0, in)));
  for (int64_t i = 0; i < SmallLayer::kHidden; ++i) {
    const double expected = (first->first * swiglu_expert(small.weights.experts[first->second], in, i) +
                             second->first * swiglu_expert(small.weights.experts[second->second], in, i)) /
                                (first->first + second->first) +
                            shared_gate * swiglu_expert(*small.weights.shared, in, i);
    EXPECT_NEAR(output[i], expected, 1e-5);
  }
}

TEST(Layer, AllocatesNothingOnceItHasSeenTheLargestBatch) {
  const SmallLayer small;
  CountingDevice backend;
  const Layer layer(backend, small.spec, small.weights, ignore_progress, {});
  {
    Workspace workspace(backend);
    const std::vector<float> hidden(2 * 40, 0.5f);
    std::vector<float> output(hidden.size());
    ForwardOutput out;
    out.output = output.data();
    layer.forward(workspace, {hidden.data(), DType::kFloat32, 40}, out, {});
    const int allocations = backend.allocations;
    EXPECT_GT(allocations, 0);
    for (const int64_t tokens : {1, 39, 0, 40})
      layer.forward(workspace, {hidden.data(), DType::kFloat32, tokens}, out, {});
    EXPECT_EQ(backend.allocations, allocations);
  }
  EXPECT_EQ(backend.held, 0) << "a workspace gives back what it took";
}

TEST(Layer, OnlyRoutesWhenNoOutputIsAskedFor) {
  const SmallLayer small;
  CountingDevice backend;
  const Layer layer(backend, small.spec, small.weights, ignore_progress, {});
  Workspace workspace(backend);
  const std::vector<float> hidden{1, 2, 3, 4};
  std::vector<int32_t> expert_ids(4, -7);
  std::vector<float> weights(4);
  std::vector<uint32_t> load(4, 7);
  RoutingTotals totals{};
  ForwardOutput out;
  out.expert_ids = expert_ids.data();
  out.weights = weights.data();
  out.expert_load = load.data();
  out.totals = &totals;
  layer.forward(workspace, {hidden.data(), DType::kFloat32, 2}, out, {});
  EXPECT_EQ(backend.expert_runs, 0);
  EXPECT_EQ(totals.capacity, -1);
  EXPECT_EQ(load[0] + load[1] + load[2] + load[3], 4u);
  for (const int32_t expert : expert_ids) EXPECT_TRUE(expert >= 0 && expert < 4) << expert;
  EXPECT_NEAR(weights[0] + weights[1], 1.0, 1e-6);
}

TEST(Layer, TakesSixteenBitBatches) {
  const SmallLayer small;
  HostDevice backend;
  const Layer layer(backend, small.spec, small.weights, ignore_progress, {});
  Workspace workspace(backend);
  const std::vector<float> hidden{1.0f, -0.5f, 0.25f, 2.0f, -1.0f, -1.0f};  // exact in all three types
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    std::vector<uint16_t> narrow;
    for (const float value : hidden)
      narrow.push_back(dtype == DType::kBFloat16 ? to_bfloat16(value) : to_float16(value));
    std::vector<float> output(hidden.size());
    ForwardOutput out;
    out.output = output.data();
    layer.forward(workspace, {narrow.data(), dtype, 3}, out, {});
    EXPECT_EQ(output, small.forward(backend));
  }
}

TEST(Layer, KeepsNaNInTheTokenItCameFrom) {
  const SmallLayer small;
  HostDevice backend;
  const Layer layer(backend, small.spec, small.weights, ignore_progress, {});
  Workspace workspace(backend);
  const std::vector<float> hidden{1.0f, -0.5f, NAN, 2.0f, -1.0f, -1.0f}, clean = small.forward(backend);
  std::vector<float> output(hidden.size());
  ForwardOutput out;
  out.output = output.data();
  layer.forward(workspace, {hidden.data(), DType::kFloat32, 3}, out, {});
  for (const size_t i : {0u, 1u, 4u, 5u}) EXPECT_EQ(output[i], clean[i]);
  for (const size_t i : {2u, 3u}) EXPECT_TRUE(std::isnan(output[i]));
}

TEST(Layer, ReportsProgressAndStopsOnRequest) {
  const SmallLayer small;
  HostDevice backend;
  std::vector<int64_t> seen;
  const auto record = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 5) << "four experts and the always-on one";
    seen.push_back(done);
  };
  Layer(backend, small.spec, small.weights, record, {});
  EXPECT_EQ(seen, (std::vector<int64_t>{1, 2, 3, 4, 5}));

  std::stop_source stop;
  stop.request_stop();
  try {
    Layer(backend, small.spec, small.weights, ignore_progress, stop.get_token());
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kAborted);
  }
}

TEST(Layer, RefusesPackedWeightsWhereTheDeviceTakesNone) {
  const SmallLayer small;
  HostDevice backend;
  LayerWeights packed;
  packed.packed.emplace();
  packed.packed->layout = "of another device";
  try {
    Layer(backend, small.spec, packed, ignore_progress, {});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCheckpoint);
  }
}

TEST(Layer, RefusesMoreChoicesThanAnIndexCanCount) {
  const SmallLayer small;
  HostDevice backend;
  const Layer layer(backend, small.spec, small.weights, ignore_progress, {});
  Workspace workspace(backend);
  const float nothing = 0.0f;
  try {
    layer.forward(workspace, {&nothing, DType::kFloat32, int64_t{1} << 30}, {}, {});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kShape);
  }
}

// As one of a model's layers: what comes before it and after it is on the device, too.
TEST(Layer, RunsFromDeviceMemoryToDeviceMemory) {
  const SmallLayer small;
  CountingDevice backend;
  const std::vector<float> expected = small.forward(backend);
  const Layer layer(backend, small.spec, small.weights, ignore_progress, {});
  Workspace workspace(backend);
  const std::vector<float> hidden{1.0f, -0.5f, 0.25f, 2.0f, -1.0f, -1.0f};
  DeviceBuffer in(backend), out(backend);
  const Matrix from = float_matrix(in.reserve<float>(6), 3, 2), to = float_matrix(out.reserve<float>(6), 3, 2);
  backend.upload(from.data, hidden.data(), from.bytes());
  backend.copies = 0;
  const std::unique_ptr<Routing> routing = layer.run(workspace, from, to, {});
  EXPECT_EQ(backend.copies, 0) << "nothing goes by way of the host";
  EXPECT_EQ(std::vector<float>(to.floats(), to.floats() + 6), expected);
  EXPECT_EQ(routing->tokens, 3);
  EXPECT_EQ(routing->arrays.expert_load[0] + routing->arrays.expert_load[1] + routing->arrays.expert_load[2] +
                routing->arrays.expert_load[3],
            6u);
  EXPECT_THROW(layer.run(workspace, {from.data, DType::kBFloat16, 3, 2}, to, {}), Error);
}

// A device whose memory is the host's.
class SharedMemoryDevice final : public CountingDevice {
 public:
  SharedMemoryDevice() { own_.host_memory = true; }
  const Capabilities& capabilities() const override { return own_; }

 private:
  Capabilities own_ = HostDevice::capabilities();
};

TEST(Layer, CopiesNothingWhereMemoryIsTheHosts) {
  const SmallLayer small;
  HostDevice apart;
  SharedMemoryDevice backend;
  const std::vector<float> expected = small.forward(apart);
  backend.copies = 0;
  EXPECT_EQ(small.forward(backend), expected);
  EXPECT_EQ(backend.copies, 0);
}

}  // namespace
}  // namespace moe::test
