#include "cuda/stream.h"

#include <algorithm>

#include "cuda/check.h"
#include "cuda/info.h"

namespace moe::cuda {
namespace {

// Up to so many tokens a batch is bound by the start of its kernels, and its like will come again: it is kept as a
// graph. Larger ones run for so long that the host sleeps meanwhile.
constexpr int64_t kGraphTokens = 256;

int used_device(int index) {
  use_device(index);
  return index;
}

}  // namespace

Stream::Stream(int index) : index_(used_device(index)) {}

Stream::~Stream() {
  cudaSetDevice(index_);
  cudaStreamSynchronize(handle());
}

void Stream::use() const { check(cudaSetDevice(index_), "cudaSetDevice"); }

void Stream::forget() {
  queue_.clear();
  staging_.clear();
}

void Stream::expect(int64_t tokens) { most_tokens_ = std::max(most_tokens_, tokens); }

void Stream::start() { queue_.start(most_tokens_ <= kGraphTokens); }

void Stream::upload(void* device, const void* host, size_t bytes) {
  start();
  staging_.upload(device, host, bytes);
}

void Stream::download(void* host, const void* device, size_t bytes) {
  start();
  staging_.download(host, device, bytes);
}

void Stream::finish() {
  start();
  if (most_tokens_ > kGraphTokens) {
    check(cudaEventRecord(finished_.get(), handle()), "cudaEventRecord");
    check(cudaEventSynchronize(finished_.get()), "cudaEventSynchronize");
  }
  most_tokens_ = 0;
  staging_.finish();
  check(cudaStreamSynchronize(handle()), "cudaStreamSynchronize");
}

}  // namespace moe::cuda
