// One MoE layer in ggml, as the npm package @node-llama-cpp/* ships it, behind a line protocol (see bench/README.md).
//
// usage: ggml_moe LIBRARY_FOLDER hidden intermediate experts top_k f32|f16|bf16|q8_0|q4_0|q4_K|q6_K|iq4_xs|mxfp4
// threads
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "ggml.h"

namespace {

struct InitParams {
  size_t mem_size;
  void* mem_buffer;
  bool no_alloc;
};

struct ThreadpoolParams {
  bool cpu_mask[512];
  int threads;
  int priority;
  uint32_t poll;
  bool strict_cpu;
  bool paused;
};

// Numbers of enum ggml_type, and whether llama.cpp runs the type from repacked weights.
struct Type {
  int id;
  bool repacked;
};
const std::map<std::string, Type> kTypes = {{"f32", {0, false}},   {"f16", {1, false}},     {"bf16", {30, false}},
                                            {"q8_0", {8, false}},  {"q4_0", {2, true}},     {"q4_K", {12, true}},
                                            {"q6_K", {14, false}}, {"iq4_xs", {23, false}}, {"mxfp4", {39, false}}};
constexpr int kFloat32 = 0;

// The values every contestant computes with: the same as in src/cli/bench/synthetic.ts. Integers from -128 to 127 times
// a power of two are exact in every float type.
constexpr uint32_t kPeriod = 1000003;
constexpr uint32_t kStride = 166667;  // tensors begin this far apart in the sequence
enum Seed : uint32_t { kHidden, kRouter, kGate, kUp, kDown };
constexpr float kHiddenScale = 0x1p-7f, kRouterScale = 0x1p-10f, kWeightScale = 0x1p-11f;

float noise(uint32_t index) {
  uint32_t x = index * 0x9E3779B1u;
  x = (x ^ (x >> 15)) * 0x85EBCA77u;
  x = (x ^ (x >> 13)) * 0xC2B2AE3Du;
  x ^= x >> 16;
  return static_cast<float>(static_cast<int>(x >> 24) - 128);
}

std::vector<float> values(Seed seed, size_t count, float scale) {
  std::vector<float> result(count);
  const size_t period = std::min<size_t>(count, kPeriod);
  for (size_t i = 0; i < period; ++i) result[i] = noise((seed * kStride + i) % kPeriod) * scale;
  for (size_t i = period; i < count; ++i) result[i] = result[i - kPeriod];
  return result;
}

struct Shape {
  int64_t hidden, intermediate, experts, top_k;
};

class Layer {
 public:
  Layer(const std::string& folder, Shape shape, Type type, int threads) : ggml_(folder), shape_(shape), type_(type) {
    ggml_.call<void>("ggml_backend_load_all_from_path", folder.c_str());
    Handle device = ggml_.call("ggml_backend_dev_by_type", 0);
    if (!device) throw std::runtime_error("ggml found no CPU backend in " + folder);
    backend_ = ggml_.call("ggml_backend_dev_init", device, static_cast<const char*>(nullptr));
    Handle registry = ggml_.call("ggml_backend_dev_backend_reg", device);
    keep_threads(registry, threads);
    plain_ = ggml_.call("ggml_backend_dev_buffer_type", device);
    load_weights(type.repacked ? repacked(device, registry) : plain_);
  }

  // Runs the layer once on the first `tokens` tokens. The graph is built when `tokens` changes.
  double run(int64_t tokens) {
    if (tokens != tokens_) build(tokens);
    const auto start = std::chrono::steady_clock::now();
    if (ggml_.call<int>("ggml_backend_graph_compute", backend_, graph_) != 0)
      throw std::runtime_error("ggml_backend_graph_compute failed");
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }

  std::vector<float> output_row(int64_t token) const {
    std::vector<float> row(shape_.hidden);
    const size_t bytes = row.size() * sizeof(float);
    ggml_.call<void>("ggml_backend_tensor_get", output_, static_cast<void*>(row.data()), token * bytes, bytes);
    return row;
  }

 private:
  Handle address(Handle registry, const char* name) const {
    return ggml_.call("ggml_backend_reg_get_proc_address", registry, name);
  }

  // Threads that stay, as llama.cpp keeps them. Without them ggml starts new ones in each call, and a kernel that
  // starts them on the core of the thread that waits for them, spinning, makes a call take a whole time slice.
  void keep_threads(Handle registry, int threads) const {
    Ggml::as<void(Handle, int)>(address(registry, "ggml_backend_set_n_threads"))(backend_, threads);
    auto params = ggml_.call<ThreadpoolParams>("ggml_threadpool_params_default", threads);
    Handle pool = Ggml::as<Handle(ThreadpoolParams*)>(address(registry, "ggml_threadpool_new"))(&params);
    if (!pool) throw std::runtime_error("ggml could not start its threads");
    Ggml::as<void(Handle, Handle)>(address(registry, "ggml_backend_cpu_set_threadpool"))(backend_, pool);
  }

  // The buffer type that rearranges quantised weights for this CPU's kernels, where there is one.
  Handle repacked(Handle device, Handle registry) const {
    void* function = address(registry, "ggml_backend_dev_get_extra_bufts");
    if (!function) return plain_;
    for (Handle* type = Ggml::as<Handle*(Handle)>(function)(device); type && *type; ++type) {
      const char* name = ggml_.call<const char*>("ggml_backend_buft_name", *type);
      if (std::strstr(name, "REPACK")) return *type;
    }
    return plain_;
  }

  void load_weights(Handle buffer_type) {
    const auto [hidden, intermediate, experts, top_k] = shape_;
    Handle expert_context = context(1 << 20), router_context = context(1 << 20);
    gate_ = tensor(expert_context, type_.id, {hidden, intermediate, experts});
    up_ = tensor(expert_context, type_.id, {hidden, intermediate, experts});
    down_ = tensor(expert_context, type_.id, {intermediate, hidden, experts});
    router_ = tensor(router_context, kFloat32, {hidden, experts, 1});
    allocate(expert_context, buffer_type);
    allocate(router_context, plain_);
    fill(gate_, type_.id, values(kGate, experts * intermediate * hidden, kWeightScale), hidden);
    fill(up_, type_.id, values(kUp, experts * intermediate * hidden, kWeightScale), hidden);
    fill(down_, type_.id, values(kDown, experts * intermediate * hidden, kWeightScale), intermediate);
    fill(router_, kFloat32, values(kRouter, experts * hidden, kRouterScale), hidden);
  }

  void build(int64_t tokens) {
    const auto [hidden, intermediate, experts, top_k] = shape_;
    if (buffer_) ggml_.call<void>("ggml_backend_buffer_free", buffer_);
    if (context_) ggml_.call<void>("ggml_free", context_);
    Handle c = context_ = context(16 << 20);
    Handle x = tensor(c, kFloat32, {hidden, tokens, 1});
    Handle probabilities = op("ggml_soft_max", op("ggml_mul_mat", router_, x));
    Handle chosen = ggml_.call("ggml_argsort_top_k", c, probabilities, static_cast<int>(top_k));
    Handle weights = op("ggml_get_rows", reshape(probabilities, {1, experts, tokens}), chosen);
    weights = ggml_.call("ggml_reshape_2d", c, weights, top_k, tokens);
    weights = reshape(op("ggml_div", weights, op("ggml_sum_rows", weights)), {1, top_k, tokens});

    Handle rows = reshape(x, {hidden, 1, tokens});
    Handle gate = op("ggml_mul_mat_id", gate_, rows, chosen), up = op("ggml_mul_mat_id", up_, rows, chosen);
    Handle results = op("ggml_mul_mat_id", down_, op("ggml_swiglu_split", gate, up), chosen);
    results = op("ggml_mul", results, weights);  // [tokens, top_k, hidden]
    output_ = nullptr;
    for (int64_t choice = 0; choice < top_k; ++choice) {
      const size_t row_bytes = hidden * sizeof(float);
      Handle part = ggml_.call("ggml_view_2d", c, results, hidden, tokens, top_k * row_bytes, choice * row_bytes);
      output_ = output_ ? op("ggml_add", output_, part) : part;
    }
    if (top_k == 1) output_ = op("ggml_cont", output_);
    graph_ = ggml_.call("ggml_new_graph", c);
    ggml_.call<void>("ggml_build_forward_expand", graph_, output_);
    buffer_ = allocate(c, plain_);
    fill(x, kFloat32, values(kHidden, tokens * hidden, kHiddenScale), hidden);
    tokens_ = tokens;
  }

  template <typename... Operands>
  Handle op(const char* name, Operands... operands) const {
    return ggml_.call(name, context_, operands...);
  }

  Handle reshape(Handle tensor, std::vector<int64_t> size) const {
    return ggml_.call("ggml_reshape_3d", context_, tensor, size[0], size[1], size[2]);
  }

  Handle context(size_t bytes) const { return ggml_.call("ggml_init", InitParams{bytes, nullptr, true}); }

  Handle tensor(Handle context, int type, std::vector<int64_t> size) const {
    return ggml_.call("ggml_new_tensor_3d", context, type, size[0], size[1], size[2]);
  }

  Handle allocate(Handle context, Handle buffer_type) const {
    Handle buffer = ggml_.call("ggml_backend_alloc_ctx_tensors_from_buft", context, buffer_type);
    if (!buffer) throw std::runtime_error("ggml could not allocate memory");
    return buffer;
  }

  void fill(Handle tensor, int type, const std::vector<float>& from, int64_t columns) const {
    const void* data = from.data();
    size_t bytes = from.size() * sizeof(float);
    std::vector<char> quantised;
    if (type != kFloat32) {
      bytes = ggml_.call<size_t>("ggml_nbytes", tensor);
      quantised.resize(bytes);
      ggml_.call<size_t>("ggml_quantize_chunk", type, from.data(), static_cast<void*>(quantised.data()), int64_t{0},
                         static_cast<int64_t>(from.size()) / columns, columns, static_cast<const float*>(nullptr));
      data = quantised.data();
    }
    ggml_.call<void>("ggml_backend_tensor_set", tensor, data, size_t{0}, bytes);
  }

  Ggml ggml_;
  Shape shape_;
  Type type_;
  Handle backend_ = nullptr, plain_ = nullptr;
  Handle gate_ = nullptr, up_ = nullptr, down_ = nullptr, router_ = nullptr;
  Handle context_ = nullptr, buffer_ = nullptr, graph_ = nullptr, output_ = nullptr;
  int64_t tokens_ = 0;
};

void print(const char* name, const std::vector<double>& numbers) {
  std::printf("{\"%s\":[", name);
  for (size_t i = 0; i < numbers.size(); ++i) std::printf("%s%.9g", i ? "," : "", numbers[i]);
  std::printf("]}\n");
  std::fflush(stdout);
}

std::vector<double> time_calls(Layer& layer, int64_t tokens, double seconds) {
  std::vector<double> times;
  for (double total = 0; times.empty() || total < seconds * 1e3; total += times.back())
    times.push_back(layer.run(tokens));
  return times;
}

// Output rows of the first and of the last token, one after the other.
std::vector<double> checked_rows(Layer& layer, int64_t tokens) {
  layer.run(tokens);
  std::vector<double> rows;
  for (int64_t token : {int64_t{0}, tokens - 1})
    for (float value : layer.output_row(token)) rows.push_back(value);
  return rows;
}

void serve(Layer& layer) {
  std::printf("{\"ready\":true}\n");
  std::fflush(stdout);
  std::string command;
  int64_t tokens = 0;
  double seconds = 0;
  while (std::cin >> command >> tokens >> seconds) {
    if (command == "time")
      print("milliseconds", time_calls(layer, tokens, seconds));
    else if (command == "rows")
      print("rows", checked_rows(layer, tokens));
    else
      throw std::runtime_error("unknown command " + command);
  }
}

}  // namespace

int main(int count, char** arguments) try {
  if (count != 8) throw std::runtime_error("expected 7 arguments");
  const auto type = kTypes.find(arguments[6]);
  if (type == kTypes.end()) throw std::runtime_error(std::string("unknown type ") + arguments[6]);
  const Shape shape{std::atoll(arguments[2]), std::atoll(arguments[3]), std::atoll(arguments[4]),
                    std::atoll(arguments[5])};
  Layer layer(arguments[1], shape, type->second, std::atoi(arguments[7]));
  serve(layer);
} catch (const std::exception& error) {
  std::fprintf(stderr, "ggml_moe: %s\n", error.what());
  return 1;
}
