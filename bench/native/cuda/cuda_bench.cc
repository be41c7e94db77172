// How long a layer takes on a CUDA device: the kernels alone, from input to output in the device's memory, and a whole
// call from host to host. Prints a table, and a JSON line per case for bench/peers/torch_moe.py to stand beside.
//
//   cuda_bench [--shapes bench-small,mixtral-8x7b] [--types bfloat16,int4] [--tokens 1,8,512] [--seconds 0.05]
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/layer/layer.h"
#include "core/weights/float16.h"
#include "cuda/check.h"
#include "cuda/info.h"

namespace moe {
namespace {

struct Shape {
  const char* name;
  int32_t hidden, intermediate, experts, top_k;
};
constexpr Shape kShapes[] = {{"bench-small", 2048, 1024, 16, 4},
                             {"olmoe-1b-7b", 2048, 1024, 64, 8},
                             {"qwen3-30b-a3b", 2048, 768, 128, 8},
                             {"mixtral-8x7b", 4096, 14336, 8, 2}};

struct Type {
  const char* name;
  WeightType type;
  int32_t group;
  double bytes;  // per weight, scales included, as quantised: what must be read
};
constexpr Type kTypes[] = {{"float32", WeightType::kFloat32, 0, 4},
                           {"bfloat16", WeightType::kBFloat16, 0, 2},
                           {"float16", WeightType::kFloat16, 0, 2},
                           {"int8", WeightType::kInt8, 128, 1 + 2.0 / 128},
                           {"int4", WeightType::kInt4, 32, 0.5 + 2.0 / 32}};

struct Options {
  std::vector<std::string> shapes{"bench-small", "olmoe-1b-7b", "qwen3-30b-a3b", "mixtral-8x7b"};
  std::vector<std::string> types{"bfloat16"};
  std::vector<std::string> tokens{"1", "8", "32", "128", "512", "2048", "8192"};
  double seconds = 0.05;  // per measurement
};

// What the device could do at best, dense: by its name, from NVIDIA's data sheets; 0 where it is not known.
struct Peak {
  double teraflops, gigabytes_per_second;
};
Peak peak_of(const std::string& name) {
  const std::pair<const char*, Peak> known[] = {
      {"H200", {989, 4800}}, {"H100 PCIe", {756, 2000}}, {"H100", {989, 3350}},     {"A100-SXM4-80GB", {312, 2039}},
      {"A100", {312, 1555}}, {"L40S", {362, 864}},       {"RTX 4090", {165, 1008}}, {"RTX 3090", {71, 936}}};
  for (const auto& [part, peak] : known)
    if (name.find(part) != std::string::npos) return peak;
  return {0, 0};
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  return parts;
}

template <class T>
const T& named(const T* begin, const T* end, const std::string& name) {
  const T* const found = std::find_if(begin, end, [&](const T& each) { return name == each.name; });
  if (found == end) throw Error(ErrorCode::kConfig, "Unknown name `" + name + "`");
  return *found;
}

// Every expert has the same made-up values on the host; on the device each has its own copy.
struct Weights {
  explicit Weights(const Shape& shape) {
    const int64_t h = shape.hidden, i = shape.intermediate, e = shape.experts;
    std::mt19937 random(1);
    const auto fill = [&](std::vector<uint16_t>& values, int64_t count, double scale) {
      std::uniform_real_distribution<float> uniform(-1, 1);
      std::vector<uint16_t> some(1 << 20);
      for (uint16_t& value : some) value = to_bfloat16(static_cast<float>(scale) * uniform(random));
      values.resize(count);
      for (int64_t k = 0; k < count; k += static_cast<int64_t>(some.size()))
        std::copy_n(some.begin(), std::min<int64_t>(some.size(), count - k), values.begin() + k);
    };
    fill(gate, i * h, std::sqrt(3.0 / h));
    fill(up, i * h, std::sqrt(3.0 / h));
    fill(down, h * i, std::sqrt(3.0 / i));
    fill(router, e * h, std::sqrt(3.0 / h));
    host.router = {router.data(), DType::kBFloat16, e, h, h, 1};
    ExpertWeights expert;
    expert.gate = {gate.data(), DType::kBFloat16, i, h, h, 1};
    expert.up = {up.data(), DType::kBFloat16, i, h, h, 1};
    expert.down = {down.data(), DType::kBFloat16, h, i, i, 1};
    host.experts.assign(e, expert);
  }
  std::vector<uint16_t> gate, up, down, router;
  LayerWeights host;
};

LayerSpec spec_of(const Shape& shape, const Type& type) {
  LayerSpec spec;
  spec.moe.expert_num = shape.experts;
  spec.moe.num_experts_chosen = shape.top_k;
  spec.moe.routing_policy = RoutingPolicy::kTopkRouterV2;
  spec.moe.capacity_factor = -1;
  spec.hidden_size = shape.hidden;
  spec.intermediate_size = shape.intermediate;
  spec.weight_type = type.type;
  spec.weight_group = type.group;
  return spec;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Empties the L2 cache, as other layers do between two calls of one.
class CacheFlush {
 public:
  CacheFlush() { cuda::check(cudaMalloc(&memory_, kBytes), "cudaMalloc"); }
  ~CacheFlush() { cudaFree(memory_); }
  void run(cudaStream_t stream) { cuda::check(cudaMemsetAsync(memory_, 0, kBytes, stream), "cudaMemsetAsync"); }

 private:
  static constexpr size_t kBytes = size_t{256} << 20;
  void* memory_ = nullptr;
};

// Milliseconds of all stages together, device memory to device memory, and of each alone.
struct KernelTimes {
  double all, route, plan, experts, combine;
};

KernelTimes time_kernels(cuda::CudaDevice& backend, const PreparedRouter& router, const PreparedExperts& held,
                         const LayerSpec& spec, const std::vector<float>& hidden, double seconds) {
  const int64_t tokens = static_cast<int64_t>(hidden.size()) / spec.hidden_size, width = spec.hidden_size;
  const int32_t top_k = spec.moe.num_experts_chosen, experts = spec.moe.expert_num;
  const int64_t slots = tokens * top_k;
  Workspace workspace(backend);
  const Matrix in = float_matrix(workspace.hidden.reserve<float>(hidden.size()), tokens, width);
  const Matrix out = float_matrix(workspace.output.reserve<float>(hidden.size()), tokens, width);
  const Matrix rows = float_matrix(workspace.rows.reserve<float>(slots * width), slots, width);
  const RoutingArrays arrays{workspace.experts.reserve<int32_t>(slots), workspace.weights.reserve<float>(slots),
                             workspace.expert_load.reserve<uint32_t>(experts),
                             workspace.totals.reserve<RoutingTotals>(1)};
  backend.upload(in.data, hidden.data(), hidden.size() * sizeof(float));
  backend.synchronize();

  cuda::CudaStages& stages = backend.moe();
  CacheFlush flush;
  cudaEvent_t events[5];
  for (cudaEvent_t& event : events) cuda::check(cudaEventCreate(&event), "cudaEventCreate");
  const auto record = [&](int event) {
    cuda::check(cudaEventRecord(events[event], backend.stream()), "cudaEventRecord");
  };
  const auto elapsed = [&](int from, int to) {
    float milliseconds = 0;
    cuda::check(cudaEventElapsedTime(&milliseconds, events[from], events[to]), "cudaEventElapsedTime");
    return static_cast<double>(milliseconds);
  };
  // The medians of what `between` measured in runs of all stages; `after` is called when a stage has been added.
  const auto measure = [&](const auto& after, const auto& between) {
    std::vector<double> times;
    double total = 0;
    for (int run = 0; run < 3 + 5 || (total < seconds * 1e3 && run < 500); ++run) {
      flush.run(backend.stream());
      record(0);
      const std::unique_ptr<Routing> routing = stages.route(router, {in, nullptr}, arrays);
      after(1);
      const std::unique_ptr<Plan> plan = stages.plan(*routing);
      after(2);
      stages.run(held, in, *plan, rows, {});
      after(3);
      stages.combine(held, rows, *routing, *plan, float_matrix(nullptr, tokens, width), out);
      backend.start();
      record(4);
      backend.synchronize();
      if (run >= 3) times.push_back(between()), total += elapsed(0, 4);
    }
    return median(times);
  };
  KernelTimes times{};
  times.all = measure([](int) {}, [&] { return elapsed(0, 4); });
  const auto stage = [&](int index) {
    return measure(
        [&](int event) {
          backend.start();
          record(event);
        },
        [&] { return elapsed(index, index + 1); });
  };
  times.route = stage(0);
  times.plan = stage(1);
  times.experts = stage(2);
  times.combine = stage(3);
  for (const cudaEvent_t event : events) cudaEventDestroy(event);
  return times;
}

// Milliseconds of whole calls, host memory to host memory; and the number of experts that had rows.
double time_calls(const Layer& layer, Workspace& workspace, const std::vector<float>& hidden, double seconds,
                  int64_t& experts_used) {
  const LayerSpec& spec = layer.spec();
  const int64_t tokens = static_cast<int64_t>(hidden.size()) / spec.hidden_size;
  std::vector<float> output(hidden.size());
  std::vector<uint32_t> load(spec.moe.expert_num);
  std::vector<double> times;
  double total = 0;
  for (int run = 0; run < 3 + 3 || (total < seconds * 1e3 && run < 500); ++run) {
    const auto begin = std::chrono::steady_clock::now();
    layer.forward(workspace, {hidden.data(), DType::kFloat32, tokens},
                  {.output = output.data(), .expert_load = load.data()}, {});
    const double milliseconds =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    if (run >= 3) times.push_back(milliseconds), total += milliseconds;
  }
  for (const float value : output)
    if (!std::isfinite(value)) throw Error(ErrorCode::kInternal, "The output is not finite");
  experts_used = std::count_if(load.begin(), load.end(), [](uint32_t count) { return count > 0; });
  return median(times);
}

void run(const Options& options) {
  if (const std::string reason = cuda::why_unavailable(); !reason.empty())
    throw Error(ErrorCode::kDeviceUnavailable, "No CUDA device: " + reason);
  const DeviceInfo device = cuda::devices().front();
  const Peak peak = peak_of(device.name);
  std::printf("%s, %.0f GiB; %s; peak %.0f TFLOP/s dense bfloat16, %.0f GB/s (data sheet)\n", device.name.c_str(),
              static_cast<double>(device.memory_bytes) / (1 << 30), device.kernels.c_str(), peak.teraflops,
              peak.gigabytes_per_second);
  std::printf(
      "\n| shape | weights | T | kernels ms | TFLOP/s | of peak | weights GB/s | of peak | call ms | route + plan + "
      "experts + combine ms |\n");
  std::printf("|---|---|---|---|---|---|---|---|---|---|\n");
  std::vector<std::string> lines;
  cuda::CudaDevice backend(0);
  for (const std::string& shape_name : options.shapes) {
    const Shape& shape = named(std::begin(kShapes), std::end(kShapes), shape_name);
    const Weights weights(shape);
    for (const std::string& type_name : options.types) {
      const Type& type = named(std::begin(kTypes), std::end(kTypes), type_name);
      const LayerSpec spec = spec_of(shape, type);
      const Layer layer(backend, spec, weights.host, [](int64_t, int64_t) {}, {});
      const auto router = backend.moe().prepare_router(spec, weights.host);
      const auto held = backend.moe().prepare_experts(spec, weights.host, [](int64_t, int64_t) {}, {});
      for (const std::string& tokens_text : options.tokens) {
        const int64_t tokens = std::stoll(tokens_text);
        std::mt19937 random(7);
        std::normal_distribution<float> normal;
        std::vector<float> hidden(tokens * shape.hidden);
        for (float& value : hidden) value = normal(random);
        int64_t used = 0;
        Workspace workspace(backend);
        const double call = time_calls(layer, workspace, hidden, options.seconds, used);
        const KernelTimes times = time_kernels(backend, *router, *held, spec, hidden, options.seconds);
        const double kernels = times.all;
        const double products = 3.0 * shape.hidden * shape.intermediate;
        const double teraflops = 2 * products * tokens * shape.top_k / kernels / 1e9;
        const double rate = products * type.bytes * used / kernels / 1e6;
        const auto percent = [](double part, double whole) { return whole > 0 ? 100 * part / whole : 0.0; };
        std::printf("| %s | %s | %lld | %.4f | %.1f | %.1f %% | %.0f | %.1f %% | %.4f | %.4f + %.4f + %.4f + %.4f |\n",
                    shape.name, type.name, static_cast<long long>(tokens), kernels, teraflops,
                    percent(teraflops, peak.teraflops), rate, percent(rate, peak.gigabytes_per_second), call,
                    times.route, times.plan, times.experts, times.combine);
        std::fflush(stdout);
        char line[512];
        std::snprintf(line, sizeof line,
                      R"({"device": "%s", "shape": "%s", "weights": "%s", "tokens": %lld, "kernels_ms": %.5f, )"
                      R"("call_ms": %.5f, "tflops": %.3f, "gbps": %.1f, "experts_used": %lld})",
                      device.name.c_str(), shape.name, type.name, static_cast<long long>(tokens), kernels, call,
                      teraflops, rate, static_cast<long long>(used));
        lines.emplace_back(line);
      }
    }
  }
  std::printf("\n");
  for (const std::string& line : lines) std::printf("%s\n", line.c_str());
}

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string name = arguments[i], value = arguments[i + 1];
    if (name == "--shapes")
      options.shapes = split(value);
    else if (name == "--types")
      options.types = split(value);
    else if (name == "--tokens")
      options.tokens = split(value);
    else if (name == "--seconds")
      options.seconds = std::stod(value);
    else
      throw Error(ErrorCode::kConfig, "Unknown option `" + name + "`");
  }
  return options;
}

}  // namespace
}  // namespace moe

int main(int count, char** arguments) {
  try {
    moe::run(moe::parse(count, arguments));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
