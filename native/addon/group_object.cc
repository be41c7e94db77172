#include "addon/group_object.h"

#include <cstring>

#include "addon/arguments.h"
#include "addon/environment.h"
#include "addon/errors.h"

namespace moe {
namespace {

constexpr napi_type_tag kGroupTag = {0x6d6f652d67726f75, 0x70c3a51f0e7d4b92};

std::vector<uint8_t> bytes_of(Napi::Value value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    throw Error(ErrorCode::kShape, "Expected each contact to be a Uint8Array");
  const auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

}  // namespace

// Has the group work on its own thread. The object lives until then.
template <class Work, class ToJs>
Napi::Promise GroupObject::run(const Napi::CallbackInfo& info, Work work, ToJs to_js) {
  return run_on(
      info.Env(), live_->lane,
      [live = live_, owner = Napi::Persistent(Value()), work = std::move(work)](EnvironmentJob&) {
        return work(*live);
      },
      std::move(to_js));
}

Napi::Function GroupObject::define(Napi::Env env) {
  return DefineClass(
      env, "Group",
      {InstanceAccessor<&GroupObject::contact>("contact"), InstanceMethod<&GroupObject::connect>("connect"),
       InstanceMethod<&GroupObject::measure>("measure"), InstanceMethod<&GroupObject::close>("close")});
}

GroupObject::GroupObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<GroupObject>(info) {
  guarded(info.Env(), [&] {
    if (!info[0].IsObject()) throw Error(ErrorCode::kShape, "Expected the group to be described by an object");
    const auto from = info[0].As<Napi::Object>();
    GroupShape shape;
    shape.size = static_cast<int>(read_integer(from, "size", 1, 4096));
    shape.rank = static_cast<int>(read_integer(from, "rank", 0, shape.size - 1));
    shape.model_parallel = static_cast<int>(read_integer(from, "modelParallel", 1, shape.size));
    if (shape.size % shape.model_parallel != 0)
      throw Error(ErrorCode::kShape, "Expected `modelParallel` to be a divisor of `size`");
    shape.led = read_flag(from, "led");
    if (shape.led && shape.model_parallel != 1)
      throw Error(ErrorCode::kShape, "Expected `modelParallel` to be 1 in a led group");
    const std::chrono::milliseconds timeout(read_integer(from, "timeoutMs", 1, INT32_MAX));
    live_ = std::make_shared<LiveGroup>();
    live_->shape = shape;
    live_->lane = std::make_shared<DeviceLane>("group", 0);
    live_->transport = registry().open_transport(read_text(from, "transport"),
                                                 {shape.rank, shape.size, read_text(from, "address"), timeout});
  });
  Value().TypeTag(&kGroupTag);
}

std::shared_ptr<ExpertGroup> GroupObject::from(Napi::Value value) {
  if (value.IsUndefined()) return nullptr;
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kGroupTag))
    throw Error(ErrorCode::kShape, "Expected `group` to be a group");
  const GroupObject& object = *Unwrap(value.As<Napi::Object>());
  if (!object.live_ || !object.live_->group) throw Error(ErrorCode::kClosed, "The group is closed");
  return object.live_->group;
}

Napi::Value GroupObject::contact(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!live_ || !live_->transport) throw Error(ErrorCode::kClosed, "The group has met, or is closed");
    const std::vector<uint8_t> contact = live_->transport->contact();
    Napi::Uint8Array bytes = Napi::Uint8Array::New(info.Env(), contact.size());
    if (!contact.empty()) std::memcpy(bytes.Data(), contact.data(), contact.size());
    return bytes;
  });
}

Napi::Value GroupObject::connect(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!live_ || !live_->transport) throw Error(ErrorCode::kClosed, "The group has met, or is closed");
    if (!info[0].IsArray() || info[0].As<Napi::Array>().Length() != static_cast<uint32_t>(live_->shape.size))
      throw Error(ErrorCode::kShape, "Expected a contact of each rank");
    const auto list = info[0].As<Napi::Array>();
    std::vector<std::vector<uint8_t>> contacts;
    for (uint32_t i = 0; i < list.Length(); ++i) contacts.push_back(bytes_of(list.Get(i)));
    return run(info, [contacts = std::move(contacts)](LiveGroup& live) {
      const std::unique_ptr<Transport> transport = std::move(live.transport);
      if (transport) live.group = std::make_shared<ExpertGroup>(transport->connect(contacts), live.shape);
    });
  });
}

Napi::Value GroupObject::measure(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!live_ || !live_->group) throw Error(ErrorCode::kClosed, "The group is closed");
    live_->group->expect_no_layers();
    return run(
        info, [](LiveGroup& live) { return live.group->measure(); },
        [](Napi::Env env, const LinkCost& cost) {
          const Napi::Object result = Napi::Object::New(env);
          result.Set("secondsPerExchange", cost.seconds_per_exchange);
          result.Set("bytesPerSecond", cost.bytes_per_second);
          return result;
        });
  });
}

Napi::Value GroupObject::close(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!live_) return resolved(info.Env());
    if (live_->group) live_->group->expect_no_layers();
    const Napi::Promise closed = run(info, [](LiveGroup& live) {
      live.transport.reset();
      if (live.group) live.group->leave();
      live.group.reset();
    });
    live_.reset();
    return closed;
  });
}

}  // namespace moe
