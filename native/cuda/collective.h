// The all-to-all by NCCL, between GPUs, on a stream of its own.
#pragma once
#include <functional>
#include <map>
#include <memory>

#include "core/collective.h"
#include "cuda/check.h"
#include "cuda/nccl.h"

namespace moe::cuda {

class NcclCollective final : public Collective {
 public:
  // Work that an exchange depends on is put on `compute` by `start_work`, and is in order before it. Every rank of
  // `host` calls this at once. Null, on every rank, where a rank has no NCCL. Throws as `wait` does.
  static std::unique_ptr<Collective> connect(cudaStream_t compute, std::function<void()> start_work, Collective& host);

  ~NcclCollective() override;

  uint64_t start(const void* send, std::span<const Transfer> sends, void* receive,
                 std::span<const Transfer> receives) override;
  // Looks at the exchange and at NCCL's own errors in turn: waiting for the stream would outlast a lost peer.
  void wait(uint64_t exchange) override;
  void abort() noexcept override;

 private:
  NcclCollective(const Nccl& nccl, cudaStream_t compute, std::function<void()> start_work, Collective& host);
  void check(int status, const char* call) const;
  // Waits for a call that NCCL has begun.
  void settle(const char* call);
  void expect_no_error();

  const Nccl& nccl_;
  cudaStream_t compute_;
  std::function<void()> start_work_;
  NcclCommunicator* communicator_ = nullptr;
  OwnStream stream_;
  Event ready_;
  uint64_t last_ = 0;
  std::map<uint64_t, std::unique_ptr<Event>> under_way_;
};

}  // namespace moe::cuda
