#include "ascend/collective.h"

#include <algorithm>
#include <string>

#include "ascend/library_set.h"
#include "core/error.h"
#include "core/ranks/gather_from_all.h"

namespace moe::ascend {
namespace {

// Null where HCCL, or one of its functions, is not there. Opened once.
const cann::Collectives* hccl() {
  static const std::unique_ptr<cann::Collectives> functions = []() -> std::unique_ptr<cann::Collectives> {
    LibrarySet libraries(SearchPath::from_environment());
    if (!libraries.open("libhccl.so")) return nullptr;
    libraries.open("libhcomm.so");
    auto table = std::make_unique<cann::Collectives>();
    return libraries.find_all(*table).empty() ? std::move(table) : nullptr;
  }();
  return functions.get();
}

struct Offer {
  bool has_hccl = false;
  cann::RootInfo root{};  // rank 0's
};

}  // namespace

std::unique_ptr<Collective> HcclCollective::connect(Npu& device, Collective& host) {
  const cann::Collectives* const functions = hccl();
  Offer mine;
  mine.has_hccl = functions && (host.rank() != 0 || functions->root_info(&mine.root) == 0);
  const std::vector<Offer> all = gather_from_all(host, mine);
  if (!std::ranges::all_of(all, [](const Offer& offer) { return offer.has_hccl; })) return nullptr;
  std::unique_ptr<HcclCollective> collective(new HcclCollective(device, *functions, host));
  collective->check(functions->init(static_cast<uint32_t>(host.size()), &all[0].root,
                                    static_cast<uint32_t>(host.rank()), &collective->communicator_),
                    "HcclCommInitRootInfo");
  return collective;
}

HcclCollective::HcclCollective(Npu& device, const cann::Collectives& functions, const Collective& host)
    : Collective(host.rank(), host.size(), host.timeout()), device_(device), functions_(functions) {}

HcclCollective::~HcclCollective() {
  device_.bind();
  if (communicator_) functions_.destroy(communicator_);
}

void HcclCollective::check(cann::CollectiveStatus status, const char* call) const {
  if (status == 0) return;
  const char* const text = functions_.error_string(status);
  throw Error(status == cann::kCollectiveTimeout ? ErrorCode::kTimeout : ErrorCode::kPeerLost,
              std::string(call) + " failed with " + std::to_string(status) + (text ? std::string(": ") + text : ""));
}

uint64_t HcclCollective::start(const void* send, std::span<const Transfer> sends, void* receive,
                               std::span<const Transfer> receives) {
  device_.bind();
  auto counts = std::make_unique<Counts>();
  const auto fill = [this](std::span<const Transfer> transfers, std::vector<uint64_t>& bytes,
                           std::vector<uint64_t>& offsets) {
    bytes.assign(size(), 0);
    offsets.assign(size(), 0);
    for (const Transfer& transfer : transfers) {
      if (bytes[transfer.rank] != 0) throw Error(ErrorCode::kInternal, "Expected one transfer for each rank");
      bytes[transfer.rank] = transfer.bytes;
      offsets[transfer.rank] = transfer.offset;
    }
  };
  fill(sends, counts->send_counts, counts->send_offsets);
  fill(receives, counts->receive_counts, counts->receive_offsets);
  constexpr size_t kSome = 64;
  char* const some = nothing_.reserve<char>(2 * kSome);
  const void* const from = sends.empty() ? some : send;
  void* const to = receives.empty() ? some + kSome : receive;
  check(functions_.all_to_all_v(from, counts->send_counts.data(), counts->send_offsets.data(), cann::kCollectiveInt8,
                                to, counts->receive_counts.data(), counts->receive_offsets.data(),
                                cann::kCollectiveInt8, communicator_, device_.stream()),
        "HcclAlltoAllV");
  device_.mark_busy();
  under_way_[++last_] = std::move(counts);
  return last_;
}

void HcclCollective::wait(uint64_t number) {
  device_.bind();
  try {
    device_.wait();
  } catch (const Error& error) {
    cann::CollectiveStatus status = 0;
    functions_.async_error(communicator_, &status);
    throw Error(status == cann::kCollectiveTimeout ? ErrorCode::kTimeout : ErrorCode::kPeerLost,
                std::string("The exchange between NPUs failed: ") + error.what());
  }
  under_way_.erase(number);
}

}  // namespace moe::ascend
