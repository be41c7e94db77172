#include "cuda/stages.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "cuda/check.h"
#include "cuda/info.h"
#include "cuda/collective.h"

namespace moe::cuda {
namespace {

// Up to so many tokens a batch is bound by the start of its kernels, and its like will come again: it is kept as a
// graph. Larger ones run for so long that the host sleeps meanwhile.
constexpr int64_t kGraphTokens = 256;

const CudaLayer& as_cuda(const PreparedLayer& layer) { return static_cast<const CudaLayer&>(layer); }

void expect_not_stopped(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "The call was aborted");
}

int used_device(int index) {
  use_device(index);
  return index;
}

}  // namespace

CudaDevice::Stream::Stream() {
  check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
}
CudaDevice::Stream::~Stream() { cudaStreamDestroy(handle); }

CudaDevice::Event::Event() {
  check(cudaEventCreateWithFlags(&handle, cudaEventDisableTiming | cudaEventBlockingSync), "cudaEventCreateWithFlags");
}
CudaDevice::Event::~Event() { cudaEventDestroy(handle); }

CudaDevice::CudaDevice(int index) : index_(used_device(index)) {}

CudaDevice::~CudaDevice() {
  cudaSetDevice(index_);
  cudaStreamSynchronize(stream_.handle);
}

template <class Body>
auto CudaDevice::guarded(const Body& body) {
  try {
    check(cudaSetDevice(index_), "cudaSetDevice");
    return body();
  } catch (...) {
    queue_.clear();
    staging_.clear();
    experts_.forget_tiles();
    throw;
  }
}

void* CudaDevice::allocate(size_t bytes) {
  return guarded([&] { return allocate_device(bytes); });
}

void CudaDevice::deallocate(void* memory) noexcept {
  try {
    guarded([&] { start(); });  // work that uses the memory may be waiting
  } catch (const Error&) {
    // Every later call says what is wrong with the device.
  }
  free_device(memory);
}

void CudaDevice::upload(void* device, const void* host, size_t bytes) {
  guarded([&] {
    start();
    experts_.forget_tiles();
    staging_.upload(device, host, bytes);
  });
}

void CudaDevice::download(void* host, const void* device, size_t bytes) {
  guarded([&] {
    start();
    staging_.download(host, device, bytes);
  });
}

std::unique_ptr<PreparedLayer> CudaDevice::prepare(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                                    const std::stop_token& stop) {
  return guarded([&] {
    auto layer = std::make_unique<CudaLayer>(spec, host, staging_, progress, stop);
    staging_.finish();
    return layer;
  });
}

void CudaDevice::route(const PreparedLayer& layer, Matrix hidden, const Routing& out) {
  guarded([&] {
    const CudaLayer& cuda = as_cuda(layer);
    most_tokens_ = std::max(most_tokens_, hidden.rows);
    if (hidden.rows > 0) return routing_.run(cuda, hidden, out);
    const MoEConfig& config = cuda.spec.moe;
    const bool v1 = config.routing_policy == RoutingPolicy::kTopkRouterV1;
    const RoutingTotals totals{0.0, 0.0, 0,
                               config.expert_num == 1 ? kDropless
                               : v1                   ? capacity_v1(config, 0)
                                                      : capacity_v2(config, 0)};
    const std::vector<uint32_t> load(config.expert_num, 0);
    staging_.upload(out.totals, &totals, sizeof totals);
    staging_.upload(out.expert_load, load.data(), load.size() * sizeof load[0]);
  });
}

void CudaDevice::plan(const int32_t* experts, int32_t num_experts, const DispatchPlan& out) {
  guarded([&] {
    if (out.slots > 0) return experts_.plan(experts, num_experts, out);
    const std::vector<int32_t> offsets(num_experts + 1, 0);
    staging_.upload(out.expert_offsets, offsets.data(), offsets.size() * sizeof offsets[0]);
  });
}

void CudaDevice::run_experts(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix out,
                              const std::stop_token& stop) {
  guarded([&] {
    expect_not_stopped(stop);
    most_tokens_ = std::max(most_tokens_, hidden.rows);
    const CudaLayer& cuda = as_cuda(layer);
    if (plan.slots > 0)
      experts_.run(cuda.spec, cuda.experts, hidden, {plan.expert_offsets, plan.slot_of_row, plan.slots, plan.fan_out},
                   out.data);
  });
}

void CudaDevice::run_shared(const PreparedLayer& layer, Matrix hidden, Matrix out, const std::stop_token& stop) {
  guarded([&] {
    expect_not_stopped(stop);
    if (hidden.rows == 0) return;
    const CudaLayer& cuda = as_cuda(layer);
    experts_.run(cuda.spec, *cuda.shared, hidden, {nullptr, nullptr, hidden.rows, 1}, out.data);
    if (cuda.shared_router.bytes() == 0) return;
    const float* const logits = routing_.shared_logits(cuda, hidden);
    queue_.add(kernels::moe_scale_rows, {static_cast<unsigned>(hidden.rows), 256},
               ScaleTask{out.data, logits, out.rows, out.cols});
  });
}

void CudaDevice::combine(const PreparedLayer&, Matrix rows, const Routing& routing, const DispatchPlan& plan,
                          Matrix shared, Matrix out) {
  guarded([&] {
    if (out.rows == 0) return;
    const int width = combine_width(static_cast<int>(out.cols));
    const auto across = static_cast<unsigned>((width + kCombineThreads - 1) / kCombineThreads);
    queue_.add(kernels::moe_combine, {{static_cast<unsigned>(out.rows), across}, kCombineThreads},
               CombineTask{rows.data, plan.row_of_slot, routing.weights, shared.data, out.data, out.rows,
                           static_cast<int32_t>(out.cols), plan.fan_out});
  });
}

std::unique_ptr<Collective> CudaDevice::connect(Collective& host) {
  return guarded([&] {
    return NcclCollective::connect(
        stream_.handle, [this] { start(); }, host);
  });
}

void CudaDevice::start() { queue_.start(most_tokens_ <= kGraphTokens); }

void CudaDevice::synchronize() {
  guarded([&] {
    start();
    if (most_tokens_ > kGraphTokens) {
      check(cudaEventRecord(finished_.handle, stream_.handle), "cudaEventRecord");
      check(cudaEventSynchronize(finished_.handle), "cudaEventSynchronize");
    }
    most_tokens_ = 0;
    staging_.finish();
    check(cudaStreamSynchronize(stream_.handle), "cudaStreamSynchronize");
  });
}

}  // namespace moe::cuda
