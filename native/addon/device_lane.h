// A device and the thread that owns it. Layers share one per device; the last one gone ends it.
#pragma once
#include <memory>
#include <string>

#include "addon/lane.h"
#include "core/layer/layer.h"
#include "core/plugins/registry.h"

namespace moe {

class DeviceLane {
 public:
  DeviceLane(std::string name, int index) : name_(std::move(name)), index_(index) {}
  ~DeviceLane();

  Lane& lane() { return lane_; }

  // These are called on the lane only. The first call opens the device; throws kDeviceUnavailable.
  Device& backend();
  Workspace& workspace();

  // Drops something that lives on the device, on the lane, after the jobs before it.
  void release(std::shared_ptr<void> resource);

 private:
  struct Opened {
    explicit Opened(std::unique_ptr<Device> opened) : backend(std::move(opened)), workspace(*backend) {}
    std::unique_ptr<Device> backend;
    Workspace workspace;
  };

  Opened& device();

  std::string name_;
  int index_;
  std::unique_ptr<Opened> device_;
  Lane lane_;
};

// The process's lane for a device, made when nobody has it open.
std::shared_ptr<DeviceLane> device_lane(const std::string& name, int index);

// The families this build knows, and the plugins beside the addon and in the folders that were added, or only those in
// MOE_PLUGIN_PATH.
Registry& registry();

// Looks for plugins in this folder, too, unless MOE_PLUGIN_PATH says where.
void add_plugin_folder(const std::string& folder);

}  // namespace moe
