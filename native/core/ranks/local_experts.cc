#include "core/ranks/local_experts.h"

#include "core/ranks/outgoing_rows.h"

namespace moe {

LocalExperts::LocalExperts(Device& device, Collective& collective, const GroupShape& shape, const LayerSpec& spec,
                           StageClock clock)
    : device_(device),
      collective_(collective),
      shape_(shape),
      hidden_size_(spec.hidden_size),
      intermediate_size_(spec.intermediate_size),
      experts_(spec.held_experts()),
      clock_(clock) {}

Matrix LocalExperts::run(const PreparedExperts& held, const ArrivedRows& rows, Matrix arrived,
                         const std::stop_token& stop) {
  const Matrix done = float_matrix(done_.reserve<float>(rows.results() * hidden_size_), rows.results(), hidden_size_);
  if (done.rows == 0) return done;
  const std::unique_ptr<Plan> plan =
      clock_.time(Stage::kPlan, [&] { return device_.moe().plan(rows.experts(), experts_, rows.choices()); });
  if (shape_.model_parallel == 1)
    clock_.time(Stage::kRun, [&] { device_.moe().run(held, arrived, *plan, done, stop); });
  else
    run_columns(held, arrived, *plan, done, stop);
  return done;
}

// Each member computes its part of the columns of every row, and all of them gather the whole rows.
void LocalExperts::run_columns(const PreparedExperts& held, Matrix hidden, const Plan& plan, Matrix out,
                               const std::stop_token& stop) {
  const int members = shape_.model_parallel;
  const int64_t rows = out.rows, width = Part(intermediate_size_, shape_.member(), members).size(),
                columns = Part(hidden_size_, shape_.member(), members).size();
  ColumnStages& stages = *device_.moe().columns();
  const Matrix whole = float_matrix(intermediate_.reserve<float>(rows * intermediate_size_), rows, intermediate_size_);
  const Matrix up = float_matrix(part_.reserve<float>(rows * width), rows, width);
  clock_.time(Stage::kUp, [&] { stages.run_up(held, hidden, plan, up, stop); });
  all_gather_columns(up, whole);
  const Matrix down = float_matrix(part_.reserve<float>(rows * columns), rows, columns);
  clock_.time(Stage::kDown, [&] { stages.run_down(held, whole, plan, down, stop); });
  all_gather_columns(down, out);
}

void LocalExperts::all_gather_columns(Matrix part, Matrix whole) {
  const int members = shape_.model_parallel;
  const auto columns_of = [&](int member) { return Part(whole.cols, member, members); };
  float* const parts = parts_.reserve<float>(whole.rows * whole.cols);
  sends_.clear();
  receives_.clear();
  for (int step = 1; step < members; ++step) {
    const int to = (shape_.member() + step) % members, from = (shape_.member() + members - step) % members;
    const auto bytes = [&](int64_t columns) { return static_cast<size_t>(whole.rows * columns) * sizeof(float); };
    if (part.cols > 0) sends_.push_back({shape_.rank_of(shape_.set(), to), 0, bytes(part.cols)});
    if (const Part theirs = columns_of(from); theirs.size() > 0)
      receives_.push_back({shape_.rank_of(shape_.set(), from), bytes(theirs.begin), bytes(theirs.size())});
  }
  const uint64_t exchange = collective_.start(part.data, sends_, parts, receives_);
  if (part.cols > 0) device_.place_columns(part, columns_of(shape_.member()).begin, whole);
  collective_.wait(exchange);
  for (int member = 0; member < members; ++member)
    if (const Part theirs = columns_of(member); member != shape_.member() && theirs.size() > 0)
      device_.place_columns(float_matrix(parts + whole.rows * theirs.begin, whole.rows, theirs.size()), theirs.begin,
                            whole);
}

}  // namespace moe
