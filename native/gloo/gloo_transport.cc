#include "gloo/gloo_transport.h"

#include <gloo/transport/pair.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <string>

#include "core/host/start_thread.h"
#include "gloo/gloo_collective.h"
#include "gloo/gloo_error.h"

namespace moe::gloo_tcp {
namespace {

// gloo waits this many timeouts for a connection.
constexpr int kConnectTimeouts = 5;

[[noreturn]] void refuse_contact(int rank) {
  throw Error(ErrorCode::kPeerLost,
              "Expected rank " + std::to_string(rank) + " to say where it is reached, got other bytes");
}

// Pairs have an address each, one for every peer; a contact is all of them, each behind its length in two bytes.
std::vector<char> address_for(const std::vector<uint8_t>& contact, int peer, int rank) {
  size_t at = 0;
  for (int index = 0;; ++index) {
    if (contact.size() - at < 2) refuse_contact(rank);
    const size_t length = contact[at] | contact[at + 1] << 8;
    at += 2;
    if (contact.size() - at < length) refuse_contact(rank);
    const auto begin = contact.begin() + static_cast<std::ptrdiff_t>(at);
    if (index == peer) return {begin, begin + static_cast<std::ptrdiff_t>(length)};
    at += length;
  }
}

}  // namespace

GlooTransport::GlooTransport(const TransportOptions& options) : options_(options) {
  try {
    device_ = ::gloo::transport::tcp::CreateDevice(::gloo::transport::tcp::attr(options.address.c_str()));
    context_ = device_->createContext(options.rank, options.size);
    context_->setTimeout(std::max(options.timeout / kConnectTimeouts, std::chrono::milliseconds(1)));
    for (int peer = 0; peer < options.size; ++peer)
      if (peer != options.rank) context_->createPair(peer);
  } catch (const std::system_error& error) {
    throw no_thread("the group's thread", error);
  } catch (const std::exception& error) {
    throw Error(ErrorCode::kConfig, "Expected `address` to be one of this machine, got `" + options.address +
                                        "`: " + without_place(error.what()));
  }
}

std::vector<uint8_t> GlooTransport::contact() const {
  std::vector<uint8_t> contact;
  for (int peer = 0; peer < options_.size; ++peer) {
    const std::vector<char> address =
        peer == options_.rank ? std::vector<char>() : context_->getPair(peer)->address().bytes();
    contact.push_back(address.size() & 0xff);
    contact.push_back(address.size() >> 8);
    contact.insert(contact.end(), address.begin(), address.end());
  }
  return contact;
}

std::unique_ptr<Collective> GlooTransport::connect(std::span<const std::vector<uint8_t>> contacts) {
  for (int peer = 0; peer < options_.size; ++peer) {
    if (peer == options_.rank) continue;
    const std::vector<char> address = address_for(contacts[peer], options_.rank, peer);
    try {
      context_->getPair(peer)->connect(address);
    } catch (const std::exception& error) {
      throw to_error(error, "Could not connect to rank " + std::to_string(peer));
    }
  }
  return std::make_unique<GlooCollective>(std::move(device_), std::move(context_), options_);
}

}  // namespace moe::gloo_tcp
