// Which device families there are, whether they can run here, and opening one.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/plugin.h"
#include "core/transport.h"

namespace moe {

struct FamilyStatus {
  std::string name;
  std::string reason;               // why it cannot run here; empty when it can
  std::vector<DeviceInfo> devices;  // empty when it cannot
};

class Registry {
 public:
  // `built_in` is always there; `plugin_folder` is where libmoe_<name>.so of the others is looked for.
  Registry(const Plugin& built_in, std::string plugin_folder);

  // Adds a folder to look in after those before it, unless it is known. Any thread may call it.
  void add_plugin_folder(const std::string& folder);

  // Gives the path of libmoe_<name>.so in the first folder that has it; it is empty where none has.
  std::string plugin_path(const std::string& name) const;

  // Lists every family the project knows, in the order 'auto' tries them: ascend, cuda, cpu.
  std::vector<FamilyStatus> list();

  // Throws kDeviceUnavailable with the reason, never falls back to another family.
  std::unique_ptr<Device> open(const std::string& name, int index);

  // Throws kDeviceUnavailable with the reason where there is no such library.
  std::unique_ptr<Transport> open_transport(const std::string& name, const TransportOptions& options);

 private:
  // Gives null and a reason where the plugin cannot be used.
  const Plugin* find(const std::string& name, std::string& reason);
  // Gives what the plugin's entry function, of this name, returns.
  template <class AnyPlugin>
  const AnyPlugin* load(const std::string& name, const char* entry, std::string& reason);
  std::string not_installed(const std::string& name) const;

  const Plugin& built_in_;
  mutable std::mutex mutex_;  // of the folders
  std::vector<std::string> plugin_folders_;
};

}  // namespace moe
