// Ranks that are threads, each with a connection of its own, through the plugin as the addon opens it.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <future>
#include <latch>
#include <numeric>

#include "core/error.h"
#include "core/plugins/registry.h"
#include "cpu/device.h"
#include "fakes/thread_ranks.h"

namespace moe::test {
namespace {

using std::chrono::milliseconds;

// Contacts, as some rendezvous would hand them round.
class Contacts {
 public:
  explicit Contacts(int size) : given_(size) {
    for (auto& given : given_) all_.push_back(given.get_future().share());
  }

  std::vector<std::vector<uint8_t>> exchange(int rank, std::vector<uint8_t> mine) {
    given_[rank].set_value(std::move(mine));
    std::vector<std::vector<uint8_t>> contacts;
    for (const auto& contact : std::vector(all_)) contacts.push_back(contact.get());
    return contacts;
  }

 private:
  std::vector<std::promise<std::vector<uint8_t>>> given_;
  std::vector<std::shared_future<std::vector<uint8_t>>> all_;
};

class Gloo : public testing::Test {
 protected:
  Gloo() { std::signal(SIGPIPE, SIG_IGN); }  // as Node does

  std::unique_ptr<Collective> join(Contacts& contacts, int rank, int size, milliseconds timeout = milliseconds(5000)) {
    Registry registry(cpu::plugin(), MOE_GLOO_FOLDER);
    const auto transport = registry.open_transport("gloo", {rank, size, "127.0.0.1", timeout});
    const auto all = contacts.exchange(rank, transport->contact());
    return transport->connect(all);
  }
};

TEST_F(Gloo, MovesUnevenRunsBetweenAnyNumberOfRanks) {
  for (const int size : {1, 2, 3, 8}) {
    Contacts contacts(size);
    ThreadRanks::run(size, [&](int rank) {
      const auto collective = join(contacts, rank, size);
      EXPECT_EQ(collective->rank(), rank);
      EXPECT_EQ(collective->size(), size);
      for (int round = 0; round < 3; ++round) {
        // Rank a sends (a + 2 b) % 5 thousand integers to rank b, each a * size + b.
        const auto count = [](int from, int to) { return static_cast<size_t>((from + 2 * to) % 5) * 1000; };
        std::vector<int32_t> sent, received(size * size_t{4000} + 1, -1);
        std::vector<Transfer> sends, receives;
        for (int peer = 0; peer < size; ++peer) {
          if (peer == rank) continue;
          if (count(rank, peer) > 0) sends.push_back({peer, sent.size() * 4, count(rank, peer) * 4});
          sent.insert(sent.end(), count(rank, peer), rank * size + peer);
          if (count(peer, rank) > 0) receives.push_back({peer, peer * size_t{16000}, count(peer, rank) * 4});
        }
        collective->wait(collective->start(sent.data(), sends, received.data(), receives));
        for (int peer = 0; peer < size; ++peer)
          for (size_t i = 0; i < 4000; ++i)
            ASSERT_EQ(received[peer * 4000 + i], peer != rank && i < count(peer, rank) ? peer * size + rank : -1);
      }
    });
  }
}

TEST_F(Gloo, KeepsSeveralExchangesUnderWay) {
  Contacts contacts(2);
  ThreadRanks::run(2, [&](int rank) {
    const auto collective = join(contacts, rank, 2);
    const int peer = 1 - rank;
    std::vector<std::vector<int>> sent(4), received(4);
    std::vector<uint64_t> exchanges;
    for (int i = 0; i < 4; ++i) {
      sent[i].assign(100000, 10 * rank + i);
      received[i].resize(100000);
      const std::vector<Transfer> transfers{{peer, 0, 200000}, {peer, 200000, 200000}};
      exchanges.push_back(collective->start(sent[i].data(), transfers, received[i].data(), transfers));
    }
    for (int i = 3; i >= 0; --i) {
      collective->wait(exchanges[i]);
      EXPECT_EQ(received[i], std::vector<int>(100000, 10 * peer + i));
    }
    char done = 0, theirs;
    const std::vector<Transfer> one{{peer, 0, 1}};
    collective->wait(collective->start(&done, one, &theirs, one));
  });
}

TEST_F(Gloo, TimesOutWhenAPeerIsSilent) {
  Contacts contacts(2);
  std::promise<void> over;
  ThreadRanks::run(2, [&](int rank) {
    const auto collective = join(contacts, rank, 2, milliseconds(300));
    if (rank == 1) return over.get_future().wait();
    char byte;
    const std::vector<Transfer> from{{1, 0, 1}};
    const auto begin = std::chrono::steady_clock::now();
    try {
      collective->wait(collective->start(nullptr, {}, &byte, from));
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kTimeout) << error.what();
      EXPECT_NE(std::string(error.what()).find("rank 1"), std::string::npos) << error.what();
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(1300));
    EXPECT_THROW(collective->wait(collective->start(nullptr, {}, &byte, from)), Error);
    over.set_value();
  });
}

TEST_F(Gloo, SaysThatAPeerIsGone) {
  Contacts contacts(3);
  std::latch met(3);  // who left before would end the others' joining instead
  ThreadRanks::run(3, [&](int rank) {
    const auto collective = join(contacts, rank, 3);
    met.arrive_and_wait();
    if (rank == 2) return;
    char byte;
    const std::vector<Transfer> from{{2, 0, 1}};
    try {
      collective->wait(collective->start(nullptr, {}, &byte, from));
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kPeerLost) << error.what();
    }
  });
}

TEST_F(Gloo, RefusesAnAddressOfAnotherMachine) {
  Registry registry(cpu::plugin(), MOE_GLOO_FOLDER);
  try {
    registry.open_transport("gloo", {0, 2, "192.0.2.1", milliseconds(100)});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kConfig) << error.what();
    EXPECT_NE(std::string(error.what()).find("192.0.2.1"), std::string::npos) << error.what();
  }
}

TEST(Registry, SaysWhereItLookedForATransport) {
  Registry registry(cpu::plugin(), "/nowhere");
  try {
    registry.open_transport("gloo", {0, 2, "127.0.0.1", milliseconds(100)});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDeviceUnavailable);
    EXPECT_NE(std::string(error.what()).find("/nowhere/libmoe_gloo.so"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace moe::test
