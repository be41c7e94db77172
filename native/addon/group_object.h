// The native half of ExpertGroup.
#pragma once
#include <memory>

#include "addon/environment.h"
#include "addon/napi_setup.h"
#include "core/ranks/expert_group.h"
#include "core/transport.h"

namespace moe {

// A rank, before and after it has met its peers.
struct LiveGroup {
  GroupShape shape;
  std::unique_ptr<Transport> transport;  // until it has met them
  std::shared_ptr<ExpertGroup> group;    // from then on
  std::shared_ptr<DeviceLane> lane;      // where it meets them: a thread of its own, for that takes as long as they do
};

class GroupObject final : public Napi::ObjectWrap<GroupObject> {
 public:
  static Napi::Function define(Napi::Env env);
  // The group behind a JavaScript value, null where it is undefined. Throws kShape for anything else, kClosed for a
  // group that has not met or was closed.
  static std::shared_ptr<ExpertGroup> from(Napi::Value value);

  // Takes { rank, size, modelParallel, led, timeoutMs, transport, address }.
  explicit GroupObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value contact(const Napi::CallbackInfo& info);
  Napi::Value connect(const Napi::CallbackInfo& info);
  Napi::Value measure(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  template <class Work, class ToJs = Undefined>
  Napi::Promise run(const Napi::CallbackInfo& info, Work work, ToJs to_js = {});

  std::shared_ptr<LiveGroup> live_;
};

}  // namespace moe
