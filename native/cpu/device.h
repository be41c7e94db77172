// The built-in device: always there, always right, and fast.
#pragma once
#include "core/device.h"
#include "core/host/thread_pool.h"
#include "core/plugin.h"
#include "cpu/decoder_stages.h"
#include "cpu/stages.h"

namespace moe::cpu {

// Its memory is the host's, and every call has done its work when it returns.
class CpuDevice final : public Device {
 public:
  // threads: the most that stages use, the calling one among them.
  CpuDevice(const Kernels& kernels, int threads) : pool_(threads), stages_(kernels, pool_), decoder_(kernels, pool_) {}

  static const Capabilities& can();
  const Capabilities& capabilities() const override { return can(); }
  CpuStages& moe() override { return stages_; }
  CpuDecoderStages* decoder() override { return &decoder_; }

  void* allocate(size_t bytes) override;
  void deallocate(void* memory) noexcept override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  void gather(Matrix in, std::span<const int32_t> index, Matrix out) override;
  void place_columns(Matrix part, int64_t first_column, Matrix out) override;
  void synchronize() override {}

 private:
  ThreadPool pool_;
  CpuStages stages_;
  CpuDecoderStages decoder_;
};

// What the CPU calls itself and what it offers. Throws kDeviceUnavailable when MOE_CPU_ISA names a set the CPU lacks.
DeviceInfo device_info();

const Plugin& plugin();

}  // namespace moe::cpu
