// Devices, contexts, streams and events.
#include <mutex>
#include <set>

#include "context.h"
#include "memory.h"
#include "profile.h"

namespace ascend_sim {
namespace {

struct Devices {
  std::mutex mutex;
  bool initialized = false;
  std::map<int32_t, int> uses;
  std::map<int32_t, void*> contexts;  // the implicit one of each device
  int64_t deterministic = 0;
};

Devices& devices() {
  static Devices& devices = *new Devices;
  return devices;
}

thread_local void* current_handle = nullptr;

void check_device(int32_t device) {
  require(device >= 0 && device < device_count(), kRtParamInvalid,
          "there is no device " + std::to_string(device) + ", only " + std::to_string(device_count()));
}

void* implicit_context(Devices& all, int32_t device) {
  void*& handle = all.contexts[device];
  if (!handle) {
    auto context = std::make_shared<Context>();
    context->device = device;
    context->implicit = true;
    context->default_stream = make_stream(*context);
    handle = add_handle(context);
  }
  return handle;
}

void reset_device(int32_t device, bool force) {
  check_device(device);
  Devices& all = devices();
  void* context = nullptr;
  {
    const std::lock_guard lock(all.mutex);
    int& uses = all.uses[device];
    require(uses > 0, kRtParamInvalid, "device " + std::to_string(device) + " was not set");
    uses = force ? 0 : uses - 1;
    if (uses > 0) return;
    context = std::exchange(all.contexts[device], nullptr);
  }
  const auto held = take<Context>(context);
  stop(*held->default_stream, false);
  const auto left = streams_of(device);
  const size_t memory = used_memory(device);
  if (current_handle == context) current_handle = nullptr;
  require(
      left.empty(), kRtParamInvalid,
      "device " + std::to_string(device) + " was reset while " + std::to_string(left.size()) + " of its streams live");
  free_all(device);
  require(memory == 0, kRtParamInvalid,
          "device " + std::to_string(device) + " was reset with " + std::to_string(memory) + " bytes never freed");
}

}  // namespace

void require_initialized() {
  const std::lock_guard lock(devices().mutex);
  require(devices().initialized, kUninitialized, "aclInit was not called");
}

std::shared_ptr<Context> current_context() {
  require(current_handle != nullptr, kRtContextNull,
          "this thread has no current context: call aclrtSetDevice or aclrtSetCurrentContext on it first");
  return find<Context>(current_handle, kRtContextNull);
}

std::shared_ptr<Stream> stream_here(aclrtStream handle) {
  const auto context = current_context();
  if (!handle) return context->default_stream;
  auto stream = find<Stream>(handle, kRtParamInvalid);
  require(stream->context == context.get(), kRtStreamContext,
          "the stream belongs to another context than the current one of this thread");
  return stream;
}

}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclError aclInit(const char*) {
  const std::lock_guard lock(devices().mutex);
  if (devices().initialized) return kRepeatInitialize;  // allowed: another library of the process may have been first
  return call("aclInit", [] { devices().initialized = true; });
}

aclError aclFinalize() {
  return call("aclFinalize", [] {
    const std::lock_guard lock(devices().mutex);
    require(devices().initialized, kRepeatFinalize, "aclInit was not called, or aclFinalize was already");
    devices().initialized = false;
    for (const auto& [device, uses] : devices().uses)
      require(uses == 0, kFailure, "device " + std::to_string(device) + " was not reset before");
  });
}

aclError aclrtGetVersion(int32_t* major, int32_t* minor, int32_t* patch) {
  return call("aclrtGetVersion", [&] {
    *major = 1;
    *minor = 14;
    *patch = 0;
  });
}

aclError aclGetDeviceCapability(uint32_t device, int info, int64_t* value) {
  return call("aclGetDeviceCapability", [&] {
    check_device(static_cast<int32_t>(device));
    require(info >= 0 && info <= 2, kInvalidParam, "there is no capability " + std::to_string(info));
    const bool big = soc() != Soc::k310P;
    const int64_t values[] = {big ? 24 : 8, big ? 48 : 7, big ? int64_t{192} << 20 : int64_t{16} << 20};
    *value = values[info];
  });
}

aclError aclrtCtxGetSysParamOpt(int option, int64_t* value) {
  return call("aclrtCtxGetSysParamOpt", [&] {
    current_context();
    require(option == 0, kInvalidParam, "there is no option " + std::to_string(option));
    *value = devices().deterministic;
  });
}

aclError aclrtSetSysParamOpt(int option, int64_t value) {
  return call("aclrtSetSysParamOpt", [&] {
    require(option == 0 && (value == 0 || value == 1), kInvalidParam, "only option 0, deterministic, is 0 or 1");
    devices().deterministic = value;
  });
}

aclError aclrtSetDevice(int32_t device) {
  return call("aclrtSetDevice", [&] {
    require_initialized();
    check_device(device);
    Devices& all = devices();
    const std::lock_guard lock(all.mutex);
    ++all.uses[device];
    current_handle = implicit_context(all, device);
  });
}

aclError aclrtGetDevice(int32_t* device) {
  return call("aclrtGetDevice", [&] { *device = current_context()->device; });
}

aclError aclrtGetDeviceCount(uint32_t* count) {
  return call("aclrtGetDeviceCount", [&] {
    require_initialized();
    *count = static_cast<uint32_t>(device_count());
  });
}

aclError aclrtResetDevice(int32_t device) {
  return call("aclrtResetDevice", [&] { reset_device(device, false); });
}

aclError aclrtResetDeviceForce(int32_t device) {
  return call("aclrtResetDeviceForce", [&] { reset_device(device, true); });
}

aclError aclrtCreateContext(aclrtContext* context, int32_t device) {
  return call("aclrtCreateContext", [&] {
    require_initialized();
    require_pointer(context, "context");
    check_device(device);
    auto made = std::make_shared<Context>();
    made->device = device;
    made->default_stream = make_stream(*made);
    current_handle = *context = add_handle(made);
  });
}

aclError aclrtDestroyContext(aclrtContext context) {
  return call("aclrtDestroyContext", [&] {
    const auto held = find<Context>(context, kRtParamInvalid);
    require(!held->implicit, kRtParamInvalid,
            "the context of aclrtSetDevice is not destroyed but given back by aclrtResetDevice");
    for (const auto& stream : streams_of(held->device))
      require(stream->context != held.get() || stream == held->default_stream, kRtParamInvalid,
              "the context was destroyed while a stream of it lives");
    take<Context>(context);
    stop(*held->default_stream, false);
    if (current_handle == context) current_handle = nullptr;
  });
}

aclError aclrtSetCurrentContext(aclrtContext context) {
  return call("aclrtSetCurrentContext", [&] {
    find<Context>(context, kRtParamInvalid);
    current_handle = context;
  });
}

aclError aclrtGetCurrentContext(aclrtContext* context) {
  return call("aclrtGetCurrentContext", [&] {
    current_context();
    *context = current_handle;
  });
}

aclError aclrtSynchronizeDevice() {
  return call("aclrtSynchronizeDevice", [&] {
    for (const auto& stream : streams_of(current_context()->device)) wait_for(*stream);
  });
}

aclError aclrtDeviceCanAccessPeer(int32_t* can, int32_t device, int32_t peer) {
  return call("aclrtDeviceCanAccessPeer", [&] {
    check_device(device);
    check_device(peer);
    require(device != peer, kRtParamInvalid, "a device is no peer of itself");
    *can = 1;
  });
}

aclError aclrtDeviceEnablePeerAccess(int32_t peer, uint32_t flags) {
  return call("aclrtDeviceEnablePeerAccess", [&] {
    check_device(peer);
    require(flags == 0, kRtParamInvalid, "the flags are reserved and must be 0");
    require(peer != current_context()->device, kRtParamInvalid, "a device is no peer of itself");
  });
}

aclError aclrtCreateStream(aclrtStream* stream) {
  return call("aclrtCreateStream", [&] {
    require_pointer(stream, "stream");
    *stream = add_handle(make_stream(*current_context()));
  });
}

aclError aclrtCreateStreamWithConfig(aclrtStream* stream, uint32_t, uint32_t flag) {
  return call("aclrtCreateStreamWithConfig", [&] {
    require_pointer(stream, "stream");
    require((flag & ~7U) == 0, kRtParamInvalid, "there is no stream flag " + std::to_string(flag));
    *stream = add_handle(make_stream(*current_context()));
  });
}

aclError aclrtDestroyStream(aclrtStream stream) {
  return call("aclrtDestroyStream", [&] {
    const auto held = stream_here(stream);
    require(stream != nullptr, kRtParamInvalid, "the default stream cannot be destroyed");
    const bool unwaited = has_unwaited_work(*held) && !device_lost() && held->error == 0;
    take<Stream>(stream);
    stop(*held, true);
    require(!unwaited, kRtParamInvalid, "the stream was destroyed without waiting for its work");
  });
}

aclError aclrtDestroyStreamForce(aclrtStream stream) {
  return call("aclrtDestroyStreamForce", [&] { stop(*take<Stream>(stream, kRtParamInvalid), false); });
}

aclError aclrtSynchronizeStream(aclrtStream stream) {
  return call("aclrtSynchronizeStream", [&] { wait_for(*stream_here(stream)); });
}

aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t milliseconds) {
  return call("aclrtSynchronizeStreamWithTimeout", [&] {
    require(milliseconds >= -1, kRtParamInvalid, "a timeout is -1 or more");
    if (!wait_for(*stream_here(stream), milliseconds)) throw Failure{kRtStreamError, "the stream did not end in time"};
  });
}

aclError aclrtStreamQuery(aclrtStream stream, int* status) {
  return call("aclrtStreamQuery", [&] { *status = is_done(*stream_here(stream)) ? 0 : 1; });
}

aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event) {
  return call("aclrtStreamWaitEvent", [&] {
    const auto held = find<Event>(event, kRtParamInvalid);
    require(held->stream != nullptr, kRtParamInvalid, "the event was never recorded, so it orders nothing");
    make_wait(*stream_here(stream), held);
  });
}

aclError aclrtCreateEvent(aclrtEvent* event) {
  return call("aclrtCreateEvent", [&] {
    current_context();
    auto made = std::make_shared<Event>();
    made->timed = true;
    *event = add_handle(made);
  });
}

aclError aclrtCreateEventWithFlag(aclrtEvent* event, uint32_t flag) {
  return call("aclrtCreateEventWithFlag", [&] {
    current_context();
    auto made = std::make_shared<Event>();
    made->timed = (flag & kEventTimeLine) != 0;
    *event = add_handle(made);
  });
}

aclError aclrtCreateEventExWithFlag(aclrtEvent* event, uint32_t flag) {
  return call("aclrtCreateEventExWithFlag", [&] {
    current_context();
    auto made = std::make_shared<Event>();
    made->timed = (flag & kEventTimeLine) != 0;
    made->extended = true;
    *event = add_handle(made);
  });
}

aclError aclrtDestroyEvent(aclrtEvent event) {
  return call("aclrtDestroyEvent", [&] {
    const auto held = find<Event>(event, kRtParamInvalid);
    const bool done = device_lost() || is_done(*held);
    if (!done) wait_for(*held);
    take<Event>(event);
    require(done, kRtParamInvalid, "the event was destroyed before its stream had reached it");
  });
}

aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream) {
  return call("aclrtRecordEvent", [&] {
    const auto held = find<Event>(event, kRtParamInvalid);
    const auto on = stream ? find<Stream>(stream, kRtParamInvalid) : current_context()->default_stream;
    stream_here(stream);
    record_event(*held, on);
  });
}

aclError aclrtResetEvent(aclrtEvent event, aclrtStream stream) {
  return call("aclrtResetEvent", [&] {
    const auto held = find<Event>(event, kRtParamInvalid);
    stream_here(stream);
    require(!held->extended, kRtParamInvalid, "an event of aclrtCreateEventExWithFlag cannot be reset");
  });
}

aclError aclrtSynchronizeEvent(aclrtEvent event) {
  return call("aclrtSynchronizeEvent", [&] {
    const auto held = find<Event>(event, kRtParamInvalid);
    require(held->stream != nullptr, kRtParamInvalid, "the event was never recorded");
    wait_for(*held);
  });
}

aclError aclrtQueryEventStatus(aclrtEvent event, int* status) {
  return call("aclrtQueryEventStatus", [&] { *status = is_done(*find<Event>(event, kRtParamInvalid)) ? 1 : 0; });
}

aclError aclrtEventElapsedTime(float* milliseconds, aclrtEvent start, aclrtEvent end) {
  return call("aclrtEventElapsedTime", [&] {
    const auto first = find<Event>(start, kRtParamInvalid);
    const auto second = find<Event>(end, kRtParamInvalid);
    require(first->timed && second->timed, kRtParamInvalid,
            "the events keep no time: make them by aclrtCreateEvent or with the flag TIME_LINE");
    require(first->stream && second->stream, kRtParamInvalid, "an event was never recorded");
    require(first->stream == second->stream, kRtParamInvalid, "the events were recorded on two streams");
    require(!has_unwaited_work(*second->stream) || (is_done(*first) && is_done(*second)), kRtParamInvalid,
            "the stream was not synchronised after the events were recorded");
    *milliseconds = std::chrono::duration<float, std::milli>(second->time - first->time).count();
  });
}

}  // extern "C"
