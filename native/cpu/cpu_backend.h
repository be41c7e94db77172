// The built-in device: always there, always right, and fast.
#pragma once
#include "core/plugin.h"

namespace moe::cpu {

const Plugin& plugin();

}  // namespace moe::cpu
