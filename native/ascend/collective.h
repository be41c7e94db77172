// The all-to-all by HCCL, between NPUs, on the stream of the backend.
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "ascend/cann/collectives.h"
#include "ascend/npu.h"
#include "core/collective.h"

namespace moe::ascend {

class HcclCollective final : public Collective {
 public:
  // Every rank of `host` calls it at once. Null, on every rank, where a rank has no HCCL. Throws as `wait` does.
  static std::unique_ptr<Collective> connect(Npu& device, Collective& host);

  ~HcclCollective() override;

  // At most one transfer to and from each rank; the two buffers do not overlap.
  uint64_t start(const void* send, std::span<const Transfer> sends, void* receive,
                 std::span<const Transfer> receives) override;
  // Waits for the stream. HCCL_EXEC_TIMEOUT bounds it, not `timeout`: HCCL has no time limit for a single call.
  void wait(uint64_t exchange) override;
  void abort() noexcept override {}  // a peer that waits hears of it when its own time is up

 private:
  // What HCCL reads until an exchange has run.
  struct Counts {
    std::vector<uint64_t> send_counts, send_offsets, receive_counts, receive_offsets;
  };

  HcclCollective(Npu& device, const cann::Collectives& functions, const Collective& host);
  void check(cann::CollectiveStatus status, const char* call) const;

  Npu& device_;
  const cann::Collectives& functions_;
  cann::Communicator communicator_ = nullptr;
  DeviceScratch nothing_{device_};  // a buffer of no rows has no memory of its own, and HCCL wants some
  uint64_t last_ = 0;
  std::map<uint64_t, std::unique_ptr<Counts>> under_way_;
};

}  // namespace moe::ascend
