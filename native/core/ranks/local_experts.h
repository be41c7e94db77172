// The experts that a rank holds, run on rows that arrived.
#pragma once
#include <vector>

#include "core/collective.h"
#include "core/experts/workspace.h"
#include "core/host/profile.h"
#include "core/moe_stages.h"
#include "core/ranks/arrived_rows.h"
#include "core/ranks/group_shape.h"

namespace moe {

class LocalExperts {
 public:
  // Device and collective are borrowed. The rank has spec.held_experts(), whose columns the members of its set share.
  LocalExperts(Device& device, Collective& collective, const GroupShape& shape, const LayerSpec& spec,
               StageClock clock);

  // Results stand sorted by expert, as rows.row_of_result() says; valid until the next call. Members of a set run the
  // same rows in step.
  Matrix run(const PreparedExperts& held, const ArrivedRows& rows, Matrix arrived, const std::stop_token& stop);

 private:
  void run_columns(const PreparedExperts& held, Matrix hidden, const Plan& plan, Matrix out,
                   const std::stop_token& stop);
  void all_gather_columns(Matrix part, Matrix whole);

  Device& device_;
  Collective& collective_;
  GroupShape shape_;
  int64_t hidden_size_;
  int32_t intermediate_size_, experts_;
  StageClock clock_;
  std::vector<Transfer> sends_, receives_;
  DeviceBuffer done_{device_}, part_{device_}, parts_{device_}, intermediate_{device_};
};

}  // namespace moe
