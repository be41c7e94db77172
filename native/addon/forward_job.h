// One call of a layer, with the arrays of JavaScript.
#pragma once
#include <memory>

#include "addon/environment.h"
#include "addon/live_layer.h"

namespace moe {

// Reads and checks the call's arrays, which stay borrowed as long as the job lives. `owner` is the layer's object.
std::shared_ptr<EnvironmentJob> forward_job(std::shared_ptr<LiveLayer> live, Napi::Object owner, Napi::Object call);

}  // namespace moe
