#pragma once
#include "addon/napi_setup.h"

namespace moe {

// (threads, seconds) -> Promise<{ threads, gflops, gigabytesPerSecond }>, measured on the CPU's lane, so that no layer
// competes.
Napi::Value measure_machine_peak_async(const Napi::CallbackInfo& info);

}  // namespace moe
