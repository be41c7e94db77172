#include "cuda/ptx/machine.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>

#include "cuda/ptx/block.h"

namespace moe::ptx {
namespace {

[[noreturn]] void refuse(const Kernel& kernel, const std::string& why) {
  throw Fault(FaultKind::kBadLaunch, std::string(name_of(FaultKind::kBadLaunch)) + ": " + kernel.name + ": " + why);
}

void check(const Kernel& kernel, const Launch& launch, const Limits& limits) {
  const uint64_t threads = launch.block.count();
  if (threads == 0 || threads > kernel.max_threads || threads > 1024)
    refuse(kernel, "a block of " + std::to_string(threads) + " threads, where 1 to " +
                       std::to_string(std::min(kernel.max_threads, 1024u)) + " are allowed");
  if (launch.grid.count() == 0 || launch.grid.x > 0x7fffffff || launch.grid.y > 65535 || launch.grid.z > 65535)
    refuse(kernel, "a grid of " + std::to_string(launch.grid.x) + " x " + std::to_string(launch.grid.y) + " x " +
                       std::to_string(launch.grid.z) + " blocks");
  if (kernel.shared_bytes + launch.shared_bytes > limits.shared_bytes)
    refuse(kernel, std::to_string(kernel.shared_bytes + launch.shared_bytes) + " bytes of shared memory, where " +
                       std::to_string(limits.shared_bytes) + " are there");
  if (launch.parameters.size() != kernel.parameter_bytes) refuse(kernel, "arguments of another size");
}

std::vector<uint32_t> order_of(uint64_t blocks, BlockOrder order) {
  std::vector<uint32_t> numbers(blocks);
  std::iota(numbers.begin(), numbers.end(), 0u);
  if (order == BlockOrder::kBackward) std::ranges::reverse(numbers);
  if (order == BlockOrder::kShuffled) std::ranges::shuffle(numbers, std::mt19937(1));
  return numbers;
}

}  // namespace

void Counters::add(const Counters& other) {
  executed.resize(std::max(executed.size(), other.executed.size()));
  for (size_t i = 0; i < other.executed.size(); ++i) executed[i] += other.executed[i];
  shared_phases += other.shared_phases;
  least_shared_phases += other.least_shared_phases;
  matrix_phases += other.matrix_phases;
  least_matrix_phases += other.least_matrix_phases;
  copy_phases += other.copy_phases;
  least_copy_phases += other.least_copy_phases;
  sectors += other.sectors;
  least_sectors += other.least_sectors;
  blocks += other.blocks;
}

Counters Machine::run(const Module& module, const Kernel& kernel, const Launch& launch) {
  check(kernel, launch, limits_);
  const std::vector<uint32_t> numbers = order_of(launch.grid.count(), limits_.order);
  const uint32_t launch_number = ++launches_;
  std::atomic<size_t> next{0};
  std::mutex mutex;
  Counters total;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      Block block(kernel, launch, memory_, limits_, launch_number);
      for (size_t i = next++; i < numbers.size(); i = next++) block.run(numbers[i]);
      const std::lock_guard lock(mutex);
      total.add(block.counters);
    } catch (...) {
      next = numbers.size();
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  std::vector<std::jthread> helpers;
  const size_t threads = std::min<size_t>(limits_.threads, numbers.size());
  for (size_t i = 1; i < threads; ++i) helpers.emplace_back(work);
  work();
  helpers.clear();
  if (!failure) return total;
  try {
    std::rethrow_exception(failure);
  } catch (const Fault& fault) {
    std::string text = kernel.name + ": " + fault.what();
    const size_t at = text.rfind("line ");
    if (at != std::string::npos) {
      text += ": " + module.line(std::atoi(text.c_str() + at + 5));
    }
    throw Fault(fault.kind(), text);
  }
}

std::vector<uint8_t> pack_parameters(const Kernel& kernel, std::span<const void* const> arguments) {
  if (arguments.size() != kernel.parameters.size())
    refuse(kernel, std::to_string(arguments.size()) + " arguments for " + std::to_string(kernel.parameters.size()) +
                       " parameters");
  std::vector<uint8_t> packed(kernel.parameter_bytes);
  for (size_t i = 0; i < arguments.size(); ++i)
    std::memcpy(packed.data() + kernel.parameters[i].offset, arguments[i], kernel.parameters[i].bytes);
  return packed;
}

}  // namespace moe::ptx
