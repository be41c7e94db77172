// Streams, events and graphs.
#include "cuda/runtime/api.h"

using namespace moe::emulator;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int) {
  return call("cudaStreamCreateWithFlags", [&](Device&) {
    *stream = reinterpret_cast<cudaStream_t>(new Stream);
    return cudaSuccess;
  });
}

// Goes even where the device is lost: the thread must end.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream) delete as_stream(stream);
  return remember(Device::instance().lost());
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return call_outside_capture("cudaStreamSynchronize", [&](Device& device) {
    if (!stream) return device.misuse(cudaErrorInvalidResourceHandle, "cudaStreamSynchronize without a stream");
    as_stream(stream)->wait();
    return device.lost();
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
  return call("cudaStreamWaitEvent", [&](Device&) {
    Event* const waited = as_event(event);
    if (waited->stream) waited->stream->hurry();
    as_stream(stream)->add([waited] { waited->wait(); });
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int) {
  return call("cudaEventCreateWithFlags", [&](Device& device) {
    *event = reinterpret_cast<cudaEvent_t>(new Event);
    device.count("event", 1);
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event) {
    as_event(event)->wait();
    delete as_event(event);
    Device::instance().count("event", -1);
  }
  return remember(Device::instance().lost());
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return call("cudaEventRecord", [&](Device& device) {
    if (!event || !stream) return device.misuse(cudaErrorInvalidResourceHandle, "cudaEventRecord without a stream");
    if (as_stream(stream)->captured)
      return device.misuse(cudaErrorStreamCaptureUnsupported, "cudaEventRecord while the stream is captured");
    Event* const recorded = as_event(event);
    recorded->begin();
    recorded->stream = as_stream(stream);
    as_stream(stream)->add([recorded] { recorded->finish(); });
    return cudaSuccess;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return call_outside_capture("cudaEventSynchronize", [&](Device& device) {
    if (as_event(event)->stream && !as_event(event)->done()) as_event(event)->stream->hurry();
    as_event(event)->wait();
    return device.lost();
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return call("cudaEventQuery", [&](Device& device) {
    if (!as_event(event)->done()) return cudaErrorNotReady;
    return device.lost();
  });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  return call("cudaStreamBeginCapture", [&](Device& device) {
    if (as_stream(stream)->captured)
      return device.misuse(cudaErrorInvalidValue, "cudaStreamBeginCapture of a stream that is captured");
    as_stream(stream)->captured = std::make_unique<Graph>();
    ++capturing;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  std::unique_ptr<Graph> captured = std::move(as_stream(stream)->captured);
  if (captured) --capturing;
  return call("cudaStreamEndCapture", [&](Device& device) {
    if (!captured) return device.misuse(cudaErrorInvalidValue, "cudaStreamEndCapture of a stream that is not captured");
    *graph = reinterpret_cast<cudaGraph_t>(captured.release());
    device.count("graph", 1);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  return call("cudaGraphInstantiate", [&](Device& device) {
    *executable = reinterpret_cast<cudaGraphExec_t>(new Graph(*reinterpret_cast<Graph*>(graph)));
    device.count("executable graph", 1);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return call("cudaGraphLaunch", [&](Device&) {
    for (const Operation& operation : reinterpret_cast<Graph*>(executable)->operations)
      as_stream(stream)->add(operation);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete reinterpret_cast<Graph*>(graph);
  Device::instance().count("graph", -1);
  return remember(Device::instance().lost());
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete reinterpret_cast<Graph*>(executable);
  Device::instance().count("executable graph", -1);
  return remember(Device::instance().lost());
}

}  // extern "C"
