// A layer in use: whoever holds it last has its weights freed on the thread of its device.
#pragma once
#include <memory>

#include "addon/device_lane.h"
#include "core/layer/layer.h"

namespace moe {

struct LiveLayer {
  explicit LiveLayer(std::shared_ptr<DeviceLane> lane) : device(std::move(lane)) {}
  ~LiveLayer() {
    if (layer) device->release(std::move(layer));
  }
  LiveLayer(const LiveLayer&) = delete;

  std::shared_ptr<DeviceLane> device;
  std::shared_ptr<Layer> layer;
  LayerSpec spec;
  size_t max_waiting = 0;
};

}  // namespace moe
