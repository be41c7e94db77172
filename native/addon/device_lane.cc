#include "addon/device_lane.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <map>

#include "cpu/device.h"

namespace moe {
namespace {

// Holds what must die on the lane until it does.
class ReleaseJob final : public Job {
 public:
  explicit ReleaseJob(std::shared_ptr<void> resource) : resource_(std::move(resource)) {}
  void run() override {}
  void ended() override { delete this; }
  void withdraw(ErrorCode) override { delete this; }

 private:
  std::shared_ptr<void> resource_;
};

std::string addon_folder() {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void*>(&addon_folder), &info) || !info.dli_fname) return ".";
  const std::string path = info.dli_fname;
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

// Gives MOE_PLUGIN_PATH, which is empty when it is not set.
std::string forced_plugin_folder() {
  const char* const forced = std::getenv("MOE_PLUGIN_PATH");
  return forced ? forced : "";
}

std::string first_plugin_folder() {
  const std::string forced = forced_plugin_folder();
  return forced.empty() ? addon_folder() : forced;
}

}  // namespace

DeviceLane::~DeviceLane() {
  if (device_) release(std::shared_ptr<Opened>(std::move(device_)));
}

DeviceLane::Opened& DeviceLane::device() {
  if (!device_) device_ = std::make_unique<Opened>(registry().open(name_, index_));
  return *device_;
}

Device& DeviceLane::backend() { return *device().backend; }
Workspace& DeviceLane::workspace() { return device().workspace; }

void DeviceLane::release(std::shared_ptr<void> resource) {
  lane_.submit(*new ReleaseJob(std::move(resource)), SIZE_MAX);
}

Registry& registry() {
  static Registry instance(cpu::plugin(), first_plugin_folder());
  return instance;
}

void add_plugin_folder(const std::string& folder) {
  if (forced_plugin_folder().empty()) registry().add_plugin_folder(folder);
}

std::shared_ptr<DeviceLane> device_lane(const std::string& name, int index) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, int>, std::weak_ptr<DeviceLane>> open;
  const std::lock_guard lock(mutex);
  auto& entry = open[{name, index}];
  auto lane = entry.lock();
  if (!lane) entry = lane = std::make_shared<DeviceLane>(name, index);
  return lane;
}

}  // namespace moe
