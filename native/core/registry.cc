#include "core/registry.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstring>

#include "core/error.h"

namespace moe {
namespace {

constexpr const char* kFamilies[] = {"ascend", "cuda", "cpu"};

}  // namespace

Registry::Registry(const Plugin& built_in, std::string plugin_folder)
    : built_in_(built_in), plugin_folder_(std::move(plugin_folder)) {}

const Plugin* Registry::find(const std::string& name, std::string& reason) {
  const Plugin* plugin = &built_in_;
  if (name != built_in_.name) {
    const std::string path = plugin_folder_ + "/libmoe_" + name + ".so";
    if (access(path.c_str(), F_OK) != 0) {
      reason = "its plugin is not installed: there is no " + path;
      return nullptr;
    }
    void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: its code may be on a stack
    if (!library) {
      reason = std::string("the plugin could not be opened: ") + dlerror();
      return nullptr;
    }
    const auto entry = reinterpret_cast<decltype(&moe_plugin)>(dlsym(library, "moe_plugin"));
    if (!entry) {
      reason = path + " is not a node-moe plugin: it has no symbol moe_plugin";
      return nullptr;
    }
    plugin = entry();
    if (std::strcmp(plugin->build_id, kBuildId) != 0) {
      reason = path + " was built as " + plugin->build_id + ", the addon as " + kBuildId + ": install the same version";
      return nullptr;
    }
  }
  reason = plugin->why_unavailable();
  return reason.empty() ? plugin : nullptr;
}

std::vector<BackendStatus> Registry::list() {
  std::vector<BackendStatus> statuses;
  for (const char* name : kFamilies) {
    BackendStatus status{name, "", {}};
    if (const Plugin* plugin = find(name, status.reason)) status.devices = plugin->devices();
    statuses.push_back(std::move(status));
  }
  return statuses;
}

std::unique_ptr<Backend> Registry::open(const std::string& name, int index) {
  std::string reason;
  const Plugin* const plugin = find(name, reason);
  if (!plugin) throw Error(ErrorCode::kDeviceUnavailable, "Device `" + name + "` cannot be used: " + reason);
  const auto count = static_cast<int>(plugin->devices().size());
  if (index < 0 || index >= count)
    throw Error(ErrorCode::kDeviceUnavailable, "Device `" + name + ":" + std::to_string(index) +
                                                   "` does not exist: there are " + std::to_string(count));
  return plugin->open(index);
}

}  // namespace moe
