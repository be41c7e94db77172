// What the parts of a decoder hold: to be counted, and to be written down where a device can.
#pragma once
#include <string>
#include <vector>

#include "core/decoder/device_floats.h"
#include "core/layer/layer.h"

namespace moe {

struct Inventory {
  size_t bytes = 0;
  std::vector<PackedPart> parts;  // valid for as long as what they are of; some may be missing where a device has none

  void add(const DeviceFloats& floats) {
    bytes += floats.bytes();
    if (floats.bytes() > 0) parts.push_back({floats.name(), floats.data(), floats.bytes()});
  }
  // May be null.
  void add(const Prepared* prepared, const std::string& prefix = "") {
    if (!prepared) return;
    bytes += prepared->weight_bytes();
    add_parts(prepared->packed_parts(), prefix);
  }
  void add(const Layer& layer, const std::string& prefix) {
    bytes += layer.weight_bytes();
    add_parts(layer.packed().parts, prefix);
  }

 private:
  void add_parts(std::vector<PackedPart> of_one, const std::string& prefix) {
    for (PackedPart& part : of_one) parts.push_back({prefix + part.name, part.data, part.bytes});
  }
};

}  // namespace moe
