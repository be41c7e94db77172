// All experts of a layer on one device.
#pragma once
#include <memory>

#include "core/device.h"
#include "core/error.h"
#include "core/experts/routed_experts.h"

namespace moe {

class HereExperts final : public RoutedExperts {
 public:
  HereExperts(Device& device, const LayerSpec& spec, std::unique_ptr<PreparedExperts> prepared)
      : stages_(device.moe()), weight_on_input_(spec.moe.weight_on_input), prepared_(std::move(prepared)) {}

  void run(Workspace& workspace, Matrix hidden, const Routing& routing, FunctionRef<Matrix()> shared, Matrix out,
           const std::stop_token& stop) override;
  const PreparedExperts& prepared() const override { return *prepared_; }
  void fail(const std::exception_ptr&) noexcept override {}  // nobody waits
  int64_t next_call() override { throw Error(ErrorCode::kConfig, "Expected a layer of a group"); }
  uint32_t number() const override { return 0; }
  void sum(std::span<double>) override {}  // of one rank

 private:
  MoeStages& stages_;
  bool weight_on_input_;
  std::unique_ptr<PreparedExperts> prepared_;
};

}  // namespace moe
