// The routed experts of a layer, wherever they are.
#pragma once
#include <cstdint>
#include <exception>
#include <span>
#include <stop_token>

#include "core/experts/workspace.h"
#include "core/function_ref.h"
#include "core/moe_stages.h"

namespace moe {

class RoutedExperts {
 public:
  virtual ~RoutedExperts() = default;

  // Runs what the routing chose for `hidden` [T, H] and mixes it into `out` [T, H]. `shared` runs the always-on expert
  // and identities and gives what they add, without data where there are none; it is called once, at the best time for
  // it.
  virtual void run(Workspace& workspace, Matrix hidden, const Routing& routing, FunctionRef<Matrix()> shared,
                   Matrix out, const std::stop_token& stop) = 0;

  // Those that are here.
  virtual const PreparedExperts& prepared() const = 0;

  // A call has failed here: whoever waits for this rank is told.
  virtual void fail(const std::exception_ptr& cause) noexcept = 0;
  // As ExpertGroup::next_call.
  virtual int64_t next_call() = 0;
  // The layer's number among those of its group.
  virtual uint32_t number() const = 0;
  // values[i] becomes the sum over one rank of each set.
  virtual void sum(std::span<double> values) = 0;
};

}  // namespace moe
