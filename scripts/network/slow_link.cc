// A link between two network namespaces with a rate and a delay, for kernels without netem: two TUN devices and this
// process between them. Prints a line when the devices are there, and carries packets until it is killed.
// usage: slow_link DEVICE DEVICE BYTES_PER_SECOND MICROSECONDS
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

// What a router would hold before it drops packets.
constexpr size_t kMostBytesWaiting = size_t{4} << 20;

int open_device(const char* name) {
  const int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  ifreq request{};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (device < 0 || ioctl(device, TUNSETIFF, &request) != 0) {
    std::perror(name);
    std::exit(1);
  }
  return device;
}

// One way: a packet leaves when those before it have, at the rate, and arrives the delay later.
class Direction {
 public:
  Direction(int from, int to, double bytes_per_second, std::chrono::microseconds delay)
      : from_(from), to_(to), seconds_per_byte_(1.0 / bytes_per_second), delay_(delay) {}

  int from() const { return from_; }

  void take() {
    std::array<char, 65536> packet;
    for (ssize_t bytes; (bytes = read(from_, packet.data(), packet.size())) > 0;) {
      if (waiting_bytes_ + bytes > kMostBytesWaiting) continue;
      const std::chrono::duration<double> on_the_wire(static_cast<double>(bytes) * seconds_per_byte_);
      free_at_ = std::max(free_at_, Clock::now()) + std::chrono::duration_cast<Clock::duration>(on_the_wire);
      waiting_.push_back({free_at_ + delay_, {packet.data(), packet.data() + bytes}});
      waiting_bytes_ += bytes;
    }
  }

  void give() {
    while (!waiting_.empty() && waiting_.front().due <= Clock::now()) {
      const std::vector<char>& packet = waiting_.front().bytes;
      waiting_bytes_ -= packet.size();
      if (write(to_, packet.data(), packet.size()) < 0) {  // the device is down: the packet is lost
      }
      waiting_.pop_front();
    }
  }

  Clock::time_point next() const { return waiting_.empty() ? Clock::time_point::max() : waiting_.front().due; }

 private:
  struct Packet {
    Clock::time_point due;
    std::vector<char> bytes;
  };

  int from_, to_;
  double seconds_per_byte_;
  std::chrono::microseconds delay_;
  Clock::time_point free_at_{};
  std::deque<Packet> waiting_;
  size_t waiting_bytes_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const int left = open_device(argv[1]), right = open_device(argv[2]);
  const double rate = std::atof(argv[3]);
  const std::chrono::microseconds delay(std::atol(argv[4]));
  std::array directions{Direction(left, right, rate, delay), Direction(right, left, rate, delay)};
  std::puts("ready");
  std::fflush(stdout);
  for (;;) {
    const Clock::time_point next = std::min(directions[0].next(), directions[1].next());
    timespec wait{1, 0};
    if (next != Clock::time_point::max()) {
      const auto left_over = std::chrono::duration_cast<std::chrono::nanoseconds>(next - Clock::now()).count();
      wait = {0, std::clamp<long>(left_over, 0, 999'999'999)};
    }
    std::array<pollfd, 2> devices{{{directions[0].from(), POLLIN, 0}, {directions[1].from(), POLLIN, 0}}};
    ppoll(devices.data(), devices.size(), &wait, nullptr);
    for (Direction& direction : directions) {
      direction.take();
      direction.give();
    }
  }
}
