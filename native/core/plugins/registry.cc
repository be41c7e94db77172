#include "core/plugins/registry.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace moe {
namespace {

constexpr const char* kFamilies[] = {"ascend", "cuda", "cpu"};

#if defined(__aarch64__)
constexpr const char* kPlatform = "linux-arm64";
#else
constexpr const char* kPlatform = "linux-x64";
#endif

std::string file_in(const std::string& folder, const std::string& name) { return folder + "/libmoe_" + name + ".so"; }

}  // namespace

Registry::Registry(const Plugin& built_in, std::string plugin_folder)
    : built_in_(built_in), plugin_folders_{std::move(plugin_folder)} {}

void Registry::add_plugin_folder(const std::string& folder) {
  const std::lock_guard lock(mutex_);
  if (std::ranges::find(plugin_folders_, folder) == plugin_folders_.end()) plugin_folders_.push_back(folder);
}

std::string Registry::plugin_path(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  for (const std::string& folder : plugin_folders_)
    if (std::string path = file_in(folder, name); access(path.c_str(), F_OK) == 0) return path;
  return "";
}

std::string Registry::not_installed(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  std::string text = "its plugin is not installed: there is no ";
  for (const std::string& folder : plugin_folders_)
    text += (folder == plugin_folders_.front() ? "" : ", no ") + file_in(folder, name);
  if (name == "cuda" || name == "gloo") text += "; the npm package node-moe-" + name + "-" + kPlatform + " has it";
  return text;
}

template <class AnyPlugin>
const AnyPlugin* Registry::load(const std::string& name, const char* entry, std::string& reason) {
  const std::string path = plugin_path(name);
  if (path.empty()) {
    reason = not_installed(name);
    return nullptr;
  }
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: its code may be on a stack
  if (!library) {
    reason = std::string("the plugin could not be opened: ") + dlerror();
    return nullptr;
  }
  const auto function = reinterpret_cast<const AnyPlugin* (*)()>(dlsym(library, entry));
  if (!function) {
    reason = path + " is not a node-moe plugin: it has no symbol " + entry;
    return nullptr;
  }
  const AnyPlugin* const plugin = function();
  if (std::strcmp(plugin->build_id, kBuildId) != 0) {
    reason = path + " was built as " + plugin->build_id + ", the addon as " + kBuildId + ": install the same version";
    return nullptr;
  }
  return plugin;
}

const Plugin* Registry::find(const std::string& name, std::string& reason) {
  const Plugin* const plugin = name == built_in_.name ? &built_in_ : load<Plugin>(name, "moe_plugin", reason);
  if (!plugin) return nullptr;
  reason = plugin->why_unavailable();
  return reason.empty() ? plugin : nullptr;
}

std::vector<FamilyStatus> Registry::list() {
  std::vector<FamilyStatus> statuses;
  for (const char* name : kFamilies) {
    FamilyStatus status{name, "", {}};
    if (const Plugin* plugin = find(name, status.reason)) status.devices = plugin->devices();
    statuses.push_back(std::move(status));
  }
  return statuses;
}

std::unique_ptr<Device> Registry::open(const std::string& name, int index) {
  std::string reason;
  const Plugin* const plugin = find(name, reason);
  if (!plugin) throw Error(ErrorCode::kDeviceUnavailable, "Device `" + name + "` cannot be used: " + reason);
  const auto count = static_cast<int>(plugin->devices().size());
  if (index < 0 || index >= count)
    throw Error(ErrorCode::kDeviceUnavailable, "Device `" + name + ":" + std::to_string(index) +
                                                   "` does not exist: there are " + std::to_string(count));
  return plugin->open(index);
}

std::unique_ptr<Transport> Registry::open_transport(const std::string& name, const TransportOptions& options) {
  std::string reason;
  const auto* const plugin = load<TransportPlugin>(name, "moe_transport_plugin", reason);
  if (!plugin) throw Error(ErrorCode::kDeviceUnavailable, "Transport `" + name + "` cannot be used: " + reason);
  return plugin->open(options);
}

}  // namespace moe
