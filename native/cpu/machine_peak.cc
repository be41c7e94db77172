#include "cpu/machine_peak.h"

#include <chrono>
#include <cstring>

#include "core/host/thread_pool.h"
#include "core/host/usable_cpus.h"
#include "cpu/aligned_buffer.h"
#include "cpu/kernels.h"

namespace moe::cpu {
namespace {

constexpr int64_t kBufferBytes = int64_t{512} << 20;  // several times the last-level cache of a socket
constexpr int64_t kPieceFloats = int64_t{1} << 18;
constexpr int64_t kBurnSteps = 20000;  // about 100 microseconds

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// What work() does per second, over all its rounds but the first, which wakes the threads. It returns how much it did.
template <class Work>
double sustained_rate(double seconds, const std::stop_token& stop, Work work) {
  work();
  double amount = 0, elapsed = 0;
  const auto start = std::chrono::steady_clock::now();
  do {
    amount += work();
    elapsed = seconds_since(start);
  } while (elapsed < seconds && !stop.stop_requested());
  return amount / elapsed;
}

}  // namespace

MachinePeak measure_machine_peak(int threads, double seconds, const std::stop_token& stop) {
  const Kernels& kernels = choose_kernels();
  ThreadPool pool(threads > 0 ? threads : usable_cpus());
  ThreadPool::Team team = pool.team();

  const double flops = sustained_rate(seconds, stop, [&] {
    constexpr int64_t kPiecesPerThread = 64;  // enough for a slowed thread to do fewer
    const int64_t pieces = kPiecesPerThread * team.threads();
    team.parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
      float sink[2] = {0.5f, 0.25f};
      for (int64_t piece = begin; piece < end; ++piece) kernels.burn(kBurnSteps, sink);
    });
    return static_cast<double>(pieces * kBurnSteps) * kernels.burn_flops;
  });

  const AlignedBuffer buffer(kBufferBytes);
  std::memset(buffer.data(), 0, buffer.bytes());  // pages that were never written share one page of zeros
  const auto* const floats = reinterpret_cast<const float*>(buffer.data());
  const double bytes = sustained_rate(seconds, stop, [&] {
    constexpr int64_t kPieces = kBufferBytes / sizeof(float) / kPieceFloats;
    team.parallel_for(kPieces, 1, [&](int64_t begin, int64_t end) {
      kernels.read(floats + begin * kPieceFloats, (end - begin) * kPieceFloats);
    });
    return static_cast<double>(kBufferBytes);
  });
  return {.threads = team.threads(), .gflops = flops / 1e9, .gigabytes_per_second = bytes / 1e9};
}

}  // namespace moe::cpu
