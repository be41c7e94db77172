#include "cuda/collective.h"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/ranks/gather_from_all.h"

namespace moe::cuda {
namespace {

using Clock = std::chrono::steady_clock;

// It passes between two looks at what has not ended.
constexpr std::chrono::microseconds kPause(20);

struct Offer {
  bool has_nccl = false;
  NcclUniqueId id{};  // rank 0's
};

}  // namespace

std::unique_ptr<Collective> NcclCollective::connect(cudaStream_t compute, std::function<void()> start_work,
                                                    Collective& host) {
  const Nccl* const functions = nccl();
  Offer mine;
  mine.has_nccl = functions && (host.rank() != 0 || functions->get_unique_id(&mine.id) == kNcclSuccess);
  const std::vector<Offer> all = gather_from_all(host, mine);
  if (!std::ranges::all_of(all, [](const Offer& offer) { return offer.has_nccl; })) return nullptr;
  std::unique_ptr<NcclCollective> collective(new NcclCollective(*functions, compute, std::move(start_work), host));
  NcclConfig config;
  collective->check(functions->init(&collective->communicator_, host.size(), all[0].id, host.rank(), &config),
                    "ncclCommInitRankConfig");
  collective->settle("ncclCommInitRankConfig");
  return collective;
}

NcclCollective::NcclCollective(const Nccl& nccl, cudaStream_t compute, std::function<void()> start_work,
                               Collective& host)
    : Collective(host.rank(), host.size(), host.timeout()),
      nccl_(nccl),
      compute_(compute),
      start_work_(std::move(start_work)) {}

NcclCollective::~NcclCollective() {
  if (communicator_) nccl_.destroy(communicator_);
}

void NcclCollective::check(int status, const char* call) const {
  if (status == kNcclSuccess || status == kNcclInProgress) return;
  const char* const text = nccl_.error_string(status);
  throw Error(ErrorCode::kPeerLost,
              std::string(call) + " failed with " + std::to_string(status) + (text ? std::string(": ") + text : ""));
}

void NcclCollective::expect_no_error() {
  if (!communicator_) throw Error(ErrorCode::kPeerLost, "The exchange between GPUs was aborted");
  int status = kNcclSuccess;
  check(nccl_.async_error(communicator_, &status), "ncclCommGetAsyncError");
  check(status, "The exchange between GPUs");
}

void NcclCollective::settle(const char* call) {
  const Clock::time_point deadline = Clock::now() + timeout();
  int status = kNcclInProgress;
  while (status == kNcclInProgress) {
    check(nccl_.async_error(communicator_, &status), "ncclCommGetAsyncError");
    if (status != kNcclInProgress) break;
    if (Clock::now() > deadline)
      throw Error(ErrorCode::kTimeout,
                  std::string(call) + " did not end within " + std::to_string(timeout().count()) + " ms");
    std::this_thread::sleep_for(kPause);
  }
  check(status, call);
}

uint64_t NcclCollective::start(const void* send, std::span<const Transfer> sends, void* receive,
                               std::span<const Transfer> receives) {
  expect_no_error();
  start_work_();
  cuda::check(cudaEventRecord(ready_.get(), compute_), "cudaEventRecord");
  cuda::check(cudaStreamWaitEvent(stream_.get(), ready_.get(), 0), "cudaStreamWaitEvent");
  check(nccl_.group_start(), "ncclGroupStart");
  for (const Transfer& to : sends)
    check(nccl_.send(static_cast<const char*>(send) + to.offset, to.bytes, kNcclInt8, to.rank, communicator_,
                     stream_.get()),
          "ncclSend");
  for (const Transfer& from : receives)
    check(nccl_.receive(static_cast<char*>(receive) + from.offset, from.bytes, kNcclInt8, from.rank, communicator_,
                        stream_.get()),
          "ncclRecv");
  if (const int status = nccl_.group_end(); status == kNcclInProgress)
    settle("ncclGroupEnd");
  else
    check(status, "ncclGroupEnd");
  auto& ended = under_way_[++last_] = std::make_unique<Event>();
  cuda::check(cudaEventRecord(ended->get(), stream_.get()), "cudaEventRecord");
  return last_;
}

void NcclCollective::wait(uint64_t exchange) {
  const auto place = under_way_.find(exchange);
  if (place == under_way_.end()) throw Error(ErrorCode::kInternal, "Expected an exchange that is under way");
  const Clock::time_point deadline = Clock::now() + timeout();
  for (;;) {
    const cudaError_t status = cudaEventQuery(place->second->get());
    if (status == cudaSuccess) break;
    if (status != cudaErrorNotReady) cuda::check(status, "cudaEventQuery");
    expect_no_error();
    if (Clock::now() > deadline)
      throw Error(ErrorCode::kTimeout, "The exchange between GPUs did not end within " +
                                           std::to_string(timeout().count()) + " ms: a rank does not answer");
    std::this_thread::sleep_for(kPause);
  }
  under_way_.erase(place);
}

void NcclCollective::abort() noexcept {
  if (NcclCommunicator* const communicator = std::exchange(communicator_, nullptr)) nccl_.abort(communicator);
}

}  // namespace moe::cuda
