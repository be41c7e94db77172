// All experts of a layer on one device.
#pragma once
#include <memory>
#include <optional>

#include "core/device.h"
#include "core/error.h"
#include "core/experts/routed_experts.h"
#include "core/experts/weighed_input.h"
#include "core/host/profile.h"

namespace moe {

class HereExperts final : public RoutedExperts {
 public:
  HereExperts(Device& device, const LayerSpec& spec, std::unique_ptr<PreparedExperts> prepared, StageClock clock)
      : stages_(device.moe()),
        weight_on_input_(spec.moe.weight_on_input),
        prepared_(std::move(prepared)),
        clock_(clock) {}

  void run(Workspace& workspace, Matrix hidden, const Routing& routing, FunctionRef<Matrix()> shared, Matrix out,
           const std::stop_token& stop) override {
    const int64_t slots = routing.tokens * routing.top_k;
    const Matrix rows = float_matrix(workspace.rows.reserve<float>(slots * hidden.cols), slots, hidden.cols);
    const std::unique_ptr<Plan> plan = clock_.time(Stage::kPlan, [&] { return stages_.plan(routing); });
    std::optional<WeighedInput> weighed;
    clock_.time(Stage::kRun, [&] {
      if (weight_on_input_) {
        weighed.emplace(stages_, *prepared_, workspace, hidden, routing);
        stages_.run(*prepared_, weighed->rows, *stages_.plan(*weighed->by_slot), rows, stop);
      } else {
        stages_.run(*prepared_, hidden, *plan, rows, stop);
      }
    });
    const Matrix always = shared();
    const Routing& mixed = weighed ? weighed->mixed : routing;
    clock_.time(Stage::kCombine, [&] { stages_.combine(*prepared_, rows, mixed, *plan, always, out); });
  }
  const PreparedExperts& prepared() const override { return *prepared_; }
  void fail(const std::exception_ptr&) noexcept override {}  // nobody waits
  int64_t next_call() override { throw Error(ErrorCode::kConfig, "Expected a layer of a group"); }
  uint32_t number() const override { return 0; }
  void sum(std::span<double>) override {}  // of one rank

 private:
  MoeStages& stages_;
  bool weight_on_input_;
  std::unique_ptr<PreparedExperts> prepared_;
  StageClock clock_;
};

}  // namespace moe
