// All experts of a layer on one device.
#pragma once
#include <memory>

#include "core/device.h"
#include "core/error.h"
#include "core/experts/routed_experts.h"
#include "core/host/profile.h"
#include "core/host/profile.h"

namespace moe {

class HereExperts final : public RoutedExperts {
 public:
  HereExperts(Device& device, std::unique_ptr<PreparedExperts> prepared, StageClock clock)
      : stages_(device.moe()), prepared_(std::move(prepared)), clock_(clock) {}

  void run(Workspace& workspace, Matrix hidden, const Routing& routing, FunctionRef<Matrix()> shared, Matrix out,
           const std::stop_token& stop) override {
    const int64_t slots = routing.tokens * routing.top_k;
    const Matrix rows = float_matrix(workspace.rows.reserve<float>(slots * hidden.cols), slots, hidden.cols);
    const std::unique_ptr<Plan> plan = clock_.time(Stage::kPlan, [&] { return stages_.plan(routing); });
    clock_.time(Stage::kRun, [&] { stages_.run(*prepared_, hidden, *plan, rows, stop); });
    const Matrix always = shared();
    clock_.time(Stage::kCombine, [&] { stages_.combine(*prepared_, rows, routing, *plan, always, out); });
  }
  const PreparedExperts& prepared() const override { return *prepared_; }
  void fail(const std::exception_ptr&) noexcept override {}  // nobody waits
  int64_t next_call() override { throw Error(ErrorCode::kConfig, "Expected a layer of a group"); }
  uint32_t number() const override { return 0; }
  void sum(std::span<double>) override {}  // of one rank

 private:
  MoeStages& stages_;
  std::unique_ptr<PreparedExperts> prepared_;
  StageClock clock_;
};

}  // namespace moe
