#include "cuda/runtime/device.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <shared_mutex>
#include <sstream>

#include "cuda/runtime/profile.h"
#include "cuda/runtime/stream.h"

namespace moe::emulator {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

thread_local cudaError_t last_error = cudaSuccess;

cudaError_t error_of(ptx::FaultKind kind) {
  if (kind == ptx::FaultKind::kOutOfBounds) return cudaErrorIllegalAddress;
  if (kind == ptx::FaultKind::kMisaligned) return cudaErrorMisalignedAddress;
  return cudaErrorLaunchFailure;
}

}  // namespace

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t take_last_error() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

Device& Device::instance() {
  static Device device(settings_of_environment());
  return device;
}

Device::Device(Settings settings)
    : settings_(std::move(settings)), memory_(settings_.memory_bytes), machine_(memory_, ptx::Limits{}) {
  machine_.limits().shared_bytes = settings_.architecture >= 90   ? 227 * 1024
                                   : settings_.architecture == 75 ? 64 * 1024
                                   : settings_.architecture == 80 ? 163 * 1024
                                                                  : 99 * 1024;
  if (settings_.block_order == "backward") machine_.limits().order = ptx::BlockOrder::kBackward;
  if (settings_.block_order == "shuffled") machine_.limits().order = ptx::BlockOrder::kShuffled;
  std::vector<std::filesystem::path> files;
  if (std::filesystem::is_directory(settings_.ptx_folder))
    for (const auto& entry : std::filesystem::directory_iterator(settings_.ptx_folder))
      if (entry.path().extension() == ".ptx") files.push_back(entry.path());
  std::ranges::sort(files);
  std::vector<std::string> texts;
  for (const auto& file : files) texts.push_back(text_of(file));
  replace_modules(texts);
}

void Device::replace_modules(const std::vector<std::string>& texts) {
  modules_.clear();
  totals_.clear();
  for (const std::string& text : texts) {
    modules_.push_back(std::make_unique<ptx::Module>(text));
    module_allocations_ += modules_.back()->variables().size();
    modules_.back()->load(memory_);
  }
  first_allocation_ = memory_.mark();
}

Device::~Device() {
  if (!settings_.report_file.empty()) {
    std::ofstream file(settings_.report_file, std::ios::app);
    for (const std::string& line : report()) file << line << "\n";
  }
  if (!settings_.profile_file.empty()) std::ofstream(settings_.profile_file) << profile();
}

void Device::add_kernel(const void* stub, const char* name) {
  const std::lock_guard lock(mutex_);
  kernels_[stub] = {name};
}

KernelState* Device::kernel_of(const void* stub) {
  const std::lock_guard lock(mutex_);
  const auto found = kernels_.find(stub);
  return found == kernels_.end() ? nullptr : &found->second;
}

const ptx::Kernel& Device::code_of(const std::string& name) {
  for (const auto& module : modules_)
    if (module->has(name)) return module->kernel(name);
  throw ptx::Unsupported("no PTX in " + settings_.ptx_folder + " has the kernel " + name);
}

void Device::run(const std::string& name, const ptx::Launch& launch) {
  if (settings_.lost_after > 0 && ++launches_ > settings_.lost_after) {
    lose(cudaErrorLaunchFailure, "the device is lost because a test asked for it");
    return;
  }
  for (const auto& module : modules_)
    if (module->has(name)) {
      const ptx::Counters counters = machine_.run(*module, module->kernel(name), launch);
      const std::lock_guard lock(mutex_);
      Total& total = totals_[name];
      ++total.launches;
      total.counters.add(counters);
      return;
    }
}

cudaError_t Device::intercept(const char* function) {
  if (lost_ != cudaSuccess) return lost_;
  const std::lock_guard lock(mutex_);
  const auto failing = settings_.failing.find(function);
  if (failing == settings_.failing.end()) return cudaSuccess;
  return ++calls_[function] == failing->second.call ? static_cast<cudaError_t>(failing->second.code) : cudaSuccess;
}

void Device::lose(cudaError_t error, const std::string& message) {
  const std::lock_guard lock(mutex_);
  if (lost_ != cudaSuccess) return;
  reason_ = message;
  messages_.push_back("fault: " + message);
  lost_ = error;  // last: whoever sees it may read the reason
}

void Device::lose(const ptx::Fault& fault) { lose(error_of(fault.kind()), fault.what()); }

cudaError_t Device::misuse(cudaError_t error, const std::string& message) {
  const std::lock_guard lock(mutex_);
  messages_.push_back("misuse: " + message);
  return error;
}

void Device::add_pinned(void* memory, size_t bytes) {
  const std::lock_guard lock(mutex_);
  pinned_[reinterpret_cast<uintptr_t>(memory)] = bytes;
}

bool Device::remove_pinned(void* memory) {
  const std::lock_guard lock(mutex_);
  return pinned_.erase(reinterpret_cast<uintptr_t>(memory)) != 0;
}

bool Device::is_pinned(const void* memory, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto address = reinterpret_cast<uintptr_t>(memory);
  auto after = pinned_.upper_bound(address);
  if (after == pinned_.begin()) return false;
  --after;
  return address + bytes <= after->first + after->second;
}

void Device::count(const char* what, int change) {
  const std::lock_guard lock(mutex_);
  live_[what] += change;
}

void Device::add_stream(Stream* stream) {
  const std::lock_guard lock(mutex_);
  streams_.push_back(stream);
  ++live_["stream"];
}

void Device::remove_stream(Stream* stream) {
  const std::lock_guard alive(streams_alive_);
  const std::lock_guard lock(mutex_);
  std::erase(streams_, stream);
  --live_["stream"];
}

void Device::wait_for_streams() {
  const std::shared_lock alive(streams_alive_);
  std::vector<Stream*> streams;
  {
    const std::lock_guard lock(mutex_);
    streams = streams_;
  }
  for (Stream* stream : streams) stream->wait();
}

std::vector<std::string> Device::report() {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> lines = messages_;
  if (lost_ != cudaSuccess) return lines;  // nothing can be freed any more
  if (const size_t left = memory_.live_allocations() - module_allocations_; left > 0)
    lines.push_back("leak: " + std::to_string(left) + " allocations of device memory");
  if (!pinned_.empty()) lines.push_back("leak: " + std::to_string(pinned_.size()) + " allocations of pinned memory");
  for (const auto& [what, count] : live_)
    if (count != 0) lines.push_back("leak: " + std::to_string(count) + " of " + what);
  return lines;
}

void Device::reset() {
  const std::lock_guard lock(mutex_);
  messages_.clear();
  calls_.clear();
  settings_.failing.clear();
  settings_.lost_after = 0;
  launches_ = 0;
}

void Device::recover() {
  const std::lock_guard lock(mutex_);
  settings_.lost_after = 0;
  memory_.release_since(first_allocation_);
  pinned_.clear();
  live_.clear();
  lost_ = cudaSuccess;
}

void Device::fail(const std::string& function, int call, cudaError_t code) {
  const std::lock_guard lock(mutex_);
  calls_[function] = 0;
  settings_.failing[function] = {call, code};
}

void Device::lose_after(int launches) {
  settings_.lost_after = launches;
  launches_ = 0;
}

ptx::Counters Device::counters(const std::string& kernel) {
  const std::lock_guard lock(mutex_);
  return totals_[kernel].counters;
}

void Device::forget_counters() {
  const std::lock_guard lock(mutex_);
  totals_.clear();
}

std::string Device::profile() {
  std::ostringstream text;
  text << "{";
  std::map<std::string, Total> totals;
  {
    const std::lock_guard lock(mutex_);
    totals = totals_;
  }
  const char* separator = "";
  for (const auto& [name, total] : totals) {
    text << separator << "\n  \"" << name << "\": " << profile_json(code_of(name), total.counters, total.launches);
    separator = ",";
  }
  text << "\n}\n";
  return text.str();
}

}  // namespace moe::emulator
