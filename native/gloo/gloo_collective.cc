#include "gloo/gloo_collective.h"

#include <gloo/transport/pair.h>

#include <algorithm>
#include <string>

#include "core/error.h"
#include "gloo/gloo_error.h"

namespace moe::gloo_tcp {
namespace {

using Clock = std::chrono::steady_clock;

std::string names_of(std::vector<int> ranks) {
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  std::string text = ranks.size() == 1 ? "rank" : "ranks";
  for (const int rank : ranks) text += (rank == ranks.front() ? " " : ", ") + std::to_string(rank);
  return text;
}

}  // namespace

GlooCollective::GlooCollective(std::shared_ptr<::gloo::transport::Device> device,
                               std::shared_ptr<::gloo::transport::Context> context, const TransportOptions& options)
    : Collective(options.rank, options.size, options.timeout),
      device_(std::move(device)),
      context_(std::move(context)) {}

GlooCollective::~GlooCollective() { GlooCollective::abort(); }

uint64_t GlooCollective::start(const void* send, std::span<const Transfer> sends, void* receive,
                               std::span<const Transfer> receives) {
  const uint64_t number = ++last_;
  Exchange& exchange = exchanges_[number];
  try {
    if (!receives.empty()) exchange.received = context_->createUnboundBuffer(receive, end_of(receives));
    for (const Transfer& from : receives) {
      exchange.received->recv(from.rank, number, from.offset, from.bytes);
      exchange.awaited.push_back(from.rank);
    }
    if (!sends.empty()) exchange.sent = context_->createUnboundBuffer(const_cast<void*>(send), end_of(sends));
    for (const Transfer& to : sends) {
      exchange.sent->send(to.rank, number, to.offset, to.bytes);
      ++exchange.unsent;
    }
  } catch (const std::exception& error) {
    exchanges_.erase(number);
    throw to_error(error, "Lost a rank of the group");
  }
  return number;
}

void GlooCollective::wait(uint64_t number, std::chrono::milliseconds timeout) {
  const auto place = exchanges_.find(number);
  if (place == exchanges_.end()) throw Error(ErrorCode::kInternal, "Expected an exchange that is under way");
  try {
    finish(place->second, timeout);
  } catch (const std::exception& error) {
    const std::vector<int> awaited = place->second.awaited;
    exchanges_.erase(place);
    throw to_error(error, awaited.empty() ? "Could not send to the group" : "Nothing came from " + names_of(awaited));
  }
  exchanges_.erase(place);
}

void GlooCollective::finish(Exchange& exchange, std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  const auto left = [deadline] {
    return std::max(std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()),
                    std::chrono::milliseconds(1));
  };
  while (!exchange.awaited.empty()) {
    int from = -1;
    exchange.received->waitRecv(&from, left());
    const auto place = std::find(exchange.awaited.begin(), exchange.awaited.end(), from);
    exchange.awaited.erase(place == exchange.awaited.end() ? exchange.awaited.begin() : place);
  }
  for (; exchange.unsent > 0; --exchange.unsent) exchange.sent->waitSend(left());
}

void GlooCollective::abort() noexcept {
  for (int peer = 0; peer < size(); ++peer) try {
      if (peer != rank()) context_->getPair(peer)->close();
    } catch (...) {  // closed already
    }
  exchanges_.clear();
}

}  // namespace moe::gloo_tcp
