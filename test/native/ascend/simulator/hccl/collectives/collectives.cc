// Collectives on streams. Reductions add in the order of ranks.
#include <algorithm>
#include <cstring>

#include "../../nnop/float16.h"
#include "../../runtime/context.h"
#include "../../runtime/memory.h"
#include "../../runtime/profile.h"
#include "../communicator.h"

namespace ascend_sim {
namespace {

size_t size_of(int type) {
  switch (type) {
    case kHcclInt8:
    case kHcclUint8:
      return 1;
    case kHcclInt16:
    case kHcclFp16:
    case kHcclUint16:
    case kHcclBfp16:
      return 2;
    case kHcclInt32:
    case kHcclFp32:
    case kHcclUint32:
      return 4;
    case kHcclInt64:
    case kHcclUint64:
    case kHcclFp64:
      return 8;
    default:
      throw Fault{kHcclPara,
                  "there is no HCCL data type " + std::to_string(type) + ": its numbers are not those of aclDataType"};
  }
}

void check_type(int type) {
  size_of(type);
  require(soc() != Soc::k310P || type != kHcclBfp16, kHcclNotSupport, "a 310P has no bfloat16");
}

void check_reduction(int type, int op) {
  check_type(type);
  require(op >= kHcclSum && op <= kHcclMin, kHcclPara, "there is no reduction " + std::to_string(op));
  const bool known = type == kHcclInt8 || type == kHcclInt16 || type == kHcclInt32 || type == kHcclInt64 ||
                     type == kHcclFp16 || type == kHcclFp32 || type == kHcclBfp16;
  require(known, kHcclNotSupport, "data type " + std::to_string(type) + " is not reduced");
}

template <class T>
T reduced(T a, T b, int op) {
  switch (op) {
    case kHcclSum:
      return static_cast<T>(a + b);
    case kHcclProd:
      return static_cast<T>(a * b);
    case kHcclMax:
      return std::max(a, b);
    default:
      return std::min(a, b);
  }
}

template <class T>
void reduce_as(std::byte* into, const std::byte* from, size_t count, int op) {
  for (size_t i = 0; i < count; ++i) {
    T a;
    T b;
    std::memcpy(&a, into + i * sizeof(T), sizeof(T));
    std::memcpy(&b, from + i * sizeof(T), sizeof(T));
    a = reduced(a, b, op);
    std::memcpy(into + i * sizeof(T), &a, sizeof(T));
  }
}

template <class From, class To>
void reduce_16(std::byte* into, const std::byte* from, size_t count, int op, From decode, To encode) {
  for (size_t i = 0; i < count; ++i) {
    uint16_t a;
    uint16_t b;
    std::memcpy(&a, into + 2 * i, 2);
    std::memcpy(&b, from + 2 * i, 2);
    a = encode(reduced(decode(a), decode(b), op));
    std::memcpy(into + 2 * i, &a, 2);
  }
}

void reduce(std::byte* into, const std::byte* from, size_t count, int type, int op) {
  switch (type) {
    case kHcclInt8:
      return reduce_as<int8_t>(into, from, count, op);
    case kHcclInt16:
      return reduce_as<int16_t>(into, from, count, op);
    case kHcclInt32:
      return reduce_as<int32_t>(into, from, count, op);
    case kHcclInt64:
      return reduce_as<int64_t>(into, from, count, op);
    case kHcclFp32:
      return reduce_as<float>(into, from, count, op);
    case kHcclFp16:
      return reduce_16(into, from, count, op, from_float16, to_float16);
    default:
      return reduce_16(into, from, count, op, from_bfloat16, to_bfloat16);
  }
}

// The pieces of one buffer, one per rank, in bytes.
struct Layout {
  std::vector<size_t> offsets, sizes;
  size_t end() const {
    size_t last = 0;
    for (size_t i = 0; i < sizes.size(); ++i)
      if (sizes[i] > 0) last = std::max(last, offsets[i] + sizes[i]);
    return last;
  }
};

Layout equal_pieces(uint32_t ranks, size_t bytes, bool same) {
  Layout layout;
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    layout.offsets.push_back(same ? 0 : rank * bytes);
    layout.sizes.push_back(bytes);
  }
  return layout;
}

Layout given_pieces(uint32_t ranks, const void* counts, const void* offsets, int type, const char* what) {
  require(counts != nullptr && offsets != nullptr, kHcclPtr, std::string(what) + " counts or displacements are null");
  for (const void* array : {counts, offsets})
    require(place_of(array) != Place::kDevice, kHcclPara,
            std::string(what) + " counts and displacements are host arrays of uint64");
  Layout layout;
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    layout.sizes.push_back(static_cast<const uint64_t*>(counts)[rank] * size_of(type));
    layout.offsets.push_back(static_cast<const uint64_t*>(offsets)[rank] * size_of(type));
  }
  return layout;
}

struct Buffer {
  const void* address;
  Layout layout;
  const char* what;
  bool write;
};

std::vector<Access> accesses_of(const Communicator& comm, const std::vector<Buffer>& buffers, bool may_overlap) {
  std::vector<Access> accesses;
  for (const Buffer& buffer : buffers) {
    const size_t size = buffer.layout.end();
    if (size == 0) continue;
    require(buffer.address != nullptr, kHcclPtr, std::string(buffer.what) + " is null");
    const auto block = block_of(buffer.address, size, buffer.what);
    require(block->device == comm.device, kHcclPara, std::string(buffer.what) + " lies on another device");
    const auto begin = reinterpret_cast<uintptr_t>(buffer.address);
    accesses.push_back({begin, begin + size, buffer.write, buffer.what});
  }
  if (accesses.size() == 2) {
    const bool same = accesses[0].begin == accesses[1].begin;
    require((same && may_overlap) || accesses[0].end <= accesses[1].begin || accesses[1].end <= accesses[0].begin,
            kHcclPara, "the send and receive buffers overlap");
  }
  return accesses;
}

std::shared_ptr<Communicator> comm_of(HcclComm handle) {
  auto comm = find<Communicator>(handle, kHcclPara);
  require(current_context()->device == comm->device, kHcclPara,
          "the communicator is of device " + std::to_string(comm->device) + ", not of this thread's");
  return comm;
}

// Queues work that talks to peers.
void queue(const std::shared_ptr<Communicator>& comm, int32_t kind, aclrtStream handle, std::vector<Access> accesses,
           std::function<void()> work) {
  const auto stream = stream_here(handle);
  require(stream->device == comm->device, kHcclPara, "the stream is of another device than the communicator");
  ++comm->queued;
  try {
    enqueue(*stream, name_of(kind), std::move(accesses), [comm, work = std::move(work)] {
      struct Done {
        Communicator& comm;
        ~Done() { --comm.queued; }
      } const done{*comm};
      work();
    });
  } catch (...) {
    --comm->queued;
    throw;
  }
}

std::vector<Piece> pieces_of(const Span& span, const Layout& layout) {
  std::vector<Piece> pieces;
  for (size_t rank = 0; rank < layout.sizes.size(); ++rank)
    pieces.push_back({span.bytes + layout.offsets[rank], layout.sizes[rank]});
  return pieces;
}

Span span_of(const Buffer& buffer) {
  return buffer.layout.end() == 0 ? Span{} : resolve(buffer.address, buffer.layout.end(), buffer.what);
}

// Everything of a rank for another goes straight into the other's buffer.
void move_pieces(const std::shared_ptr<Communicator>& comm, Announcement mine, const Buffer& send,
                 const Buffer& receive, aclrtStream stream) {
  mine.sequence = comm->issued++;
  queue(comm, mine.kind, stream, accesses_of(*comm, {send, receive}, false), [=] {
    const Span from = span_of(send);
    const Span to = span_of(receive);
    const auto out = pieces_of(from, send.layout);
    const auto in = pieces_of(to, receive.layout);
    require(out[comm->rank].size == in[comm->rank].size, kHcclPara,
            "this rank sends itself " + std::to_string(out[comm->rank].size) + " bytes and expects " +
                std::to_string(in[comm->rank].size));
    if (in[comm->rank].size > 0) std::memcpy(in[comm->rank].bytes, out[comm->rank].bytes, in[comm->rank].size);
    comm->exchange(mine, out, in);
  });
}

// Rank r's piece of `send` from everybody, reduced, into `receive`.
void reduce_pieces(const std::shared_ptr<Communicator>& comm, Announcement mine, const Buffer& send,
                   const Buffer& receive, aclrtStream stream) {
  mine.sequence = comm->issued++;
  queue(comm, mine.kind, stream, accesses_of(*comm, {send, receive}, mine.kind == kAllReduce), [=] {
    const Span from = span_of(send);
    const Span to = span_of(receive);
    const auto out = pieces_of(from, send.layout);
    const size_t size = receive.layout.end();
    std::vector<std::vector<std::byte>> parts(comm->size, std::vector<std::byte>(size));
    std::vector<Piece> in;
    for (auto& part : parts) in.push_back({part.data(), size});
    if (size > 0) std::memcpy(parts[comm->rank].data(), out[comm->rank].bytes, size);
    comm->exchange(mine, out, in);
    for (uint32_t rank = 1; rank < comm->size; ++rank)
      reduce(parts[0].data(), parts[rank].data(), size / size_of(mine.type), mine.type, mine.op);
    if (size > 0) std::memcpy(to.bytes, parts[0].data(), size);
  });
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

HcclResult HcclAllReduce(void* send, void* receive, uint64_t count, int type, int op, HcclComm comm,
                         aclrtStream stream) {
  return call("HcclAllReduce", [&] {
    const auto group = comm_of(comm);
    check_reduction(type, op);
    const size_t bytes = count * size_of(type);
    reduce_pieces(group, {0, kAllReduce, type, op},
                  {send, equal_pieces(group->size, bytes, true), "the send buffer", false},
                  {receive, {{0}, {bytes}}, "the receive buffer", true}, stream);
  });
}

HcclResult HcclReduceScatter(void* send, void* receive, uint64_t receive_count, int type, int op, HcclComm comm,
                             aclrtStream stream) {
  return call("HcclReduceScatter", [&] {
    const auto group = comm_of(comm);
    check_reduction(type, op);
    const size_t bytes = receive_count * size_of(type);
    reduce_pieces(group, {0, kReduceScatter, type, op},
                  {send, equal_pieces(group->size, bytes, false), "the send buffer", false},
                  {receive, {{0}, {bytes}}, "the receive buffer", true}, stream);
  });
}

HcclResult HcclAllGather(void* send, void* receive, uint64_t send_count, int type, HcclComm comm, aclrtStream stream) {
  return call("HcclAllGather", [&] {
    const auto group = comm_of(comm);
    check_type(type);
    const size_t bytes = send_count * size_of(type);
    move_pieces(group, {0, kAllGather, type}, {send, equal_pieces(group->size, bytes, true), "the send buffer", false},
                {receive, equal_pieces(group->size, bytes, false), "the receive buffer", true}, stream);
  });
}

HcclResult HcclBroadcast(void* buffer, uint64_t count, int type, uint32_t root, HcclComm comm, aclrtStream stream) {
  return call("HcclBroadcast", [&] {
    const auto group = comm_of(comm);
    check_type(type);
    require(root < group->size, kHcclPara, "there is no rank " + std::to_string(root));
    const size_t bytes = count * size_of(type);
    const bool mine = group->rank == root;
    const Buffer whole{buffer, {{0}, {bytes}}, "the buffer", !mine};
    Announcement announcement{group->issued++, kBroadcast, type, 0, root};
    queue(group, kBroadcast, stream, accesses_of(*group, {whole}, false), [=] {
      const Span span = span_of(whole);
      std::vector<Piece> out(group->size);
      std::vector<Piece> in(group->size);
      if (mine)
        for (Piece& piece : out) piece = {span.bytes, bytes};
      else
        in[root] = {span.bytes, bytes};
      group->exchange(announcement, out, in);
    });
  });
}

HcclResult HcclAlltoAll(const void* send, uint64_t send_count, int send_type, const void* receive,
                        uint64_t receive_count, int receive_type, HcclComm comm, aclrtStream stream) {
  return call("HcclAlltoAll", [&] {
    const auto group = comm_of(comm);
    check_type(send_type);
    check_type(receive_type);
    require(send_type == receive_type, kHcclPara, "the send and receive types differ");
    move_pieces(
        group, {0, kAllToAll, send_type},
        {send, equal_pieces(group->size, send_count * size_of(send_type), false), "the send buffer", false},
        {receive, equal_pieces(group->size, receive_count * size_of(receive_type), false), "the receive buffer", true},
        stream);
  });
}

HcclResult HcclAlltoAllV(const void* send, const void* send_counts, const void* send_offsets, int send_type,
                         const void* receive, const void* receive_counts, const void* receive_offsets, int receive_type,
                         HcclComm comm, aclrtStream stream) {
  return call("HcclAlltoAllV", [&] {
    const auto group = comm_of(comm);
    check_type(send_type);
    check_type(receive_type);
    require(send_type == receive_type, kHcclPara, "the send and receive types differ");
    require(soc() != Soc::k310P || group->size <= 4, kHcclNotSupport, "on a 310P at most 4 ranks");
    move_pieces(
        group, {0, kAllToAllV, send_type},
        {send, given_pieces(group->size, send_counts, send_offsets, send_type, "send"), "the send buffer", false},
        {receive, given_pieces(group->size, receive_counts, receive_offsets, receive_type, "receive"),
         "the receive buffer", true},
        stream);
  });
}

HcclResult HcclBarrier(HcclComm comm, aclrtStream stream) {
  return call("HcclBarrier", [&] {
    const auto group = comm_of(comm);
    Announcement announcement{group->issued++, kBarrier};
    queue(group, kBarrier, stream, {},
          [=] { group->exchange(announcement, std::vector<Piece>(group->size), std::vector<Piece>(group->size)); });
  });
}

HcclResult HcclSend(void* buffer, uint64_t count, int type, uint32_t to, HcclComm comm, aclrtStream stream) {
  return call("HcclSend", [&] {
    const auto group = comm_of(comm);
    check_type(type);
    require(to < group->size && to != group->rank, kHcclPara, "rank " + std::to_string(to) + " is no peer");
    const Buffer whole{buffer, {{0}, {count * size_of(type)}}, "the send buffer", false};
    queue(group, kSend, stream, accesses_of(*group, {whole}, false), [=] {
      const Span span = span_of(whole);
      group->send(to, {0, kSend, type, 0, 0, whole.layout.end()}, {span.bytes, whole.layout.end()});
    });
  });
}

HcclResult HcclRecv(void* buffer, uint64_t count, int type, uint32_t from, HcclComm comm, aclrtStream stream) {
  return call("HcclRecv", [&] {
    const auto group = comm_of(comm);
    check_type(type);
    require(from < group->size && from != group->rank, kHcclPara, "rank " + std::to_string(from) + " is no peer");
    const Buffer whole{buffer, {{0}, {count * size_of(type)}}, "the receive buffer", true};
    queue(group, kReceive, stream, accesses_of(*group, {whole}, false), [=] {
      const Span span = span_of(whole);
      group->receive(from, {0, kReceive, type, 0, 0, whole.layout.end()}, {span.bytes, whole.layout.end()});
    });
  });
}

}  // extern "C"
