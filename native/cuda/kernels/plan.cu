// Sorting slots by expert, stably and without atomics, and cutting the rows of experts into tiles.
#include "cuda/kernels/tasks.h"

namespace moe::cuda {
namespace {

constexpr int kWarps = kPlanChunk / kWarp;

// Inclusive sum over the block of one value per thread. `sums`: shared, one per warp.
__device__ int inclusive_sum(int value, int* sums) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int step = 1; step < kWarp; step *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, value, step);
    if (lane >= step) value += other;
  }
  __syncthreads();  // `sums` may still be read by the call before
  if (lane == kWarp - 1) sums[warp] = value;
  __syncthreads();
  if (warp == 0) {
    int total = lane < static_cast<int>(blockDim.x / kWarp) ? sums[lane] : 0;
    for (int step = 1; step < kWarp; step *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, total, step);
      if (lane >= step) total += other;
    }
    sums[lane] = total;
  }
  __syncthreads();
  return warp == 0 ? value : value + sums[warp - 1];
}

// The thread's slot of a chunk: its expert, or -1, and its place among the chunk's slots of that expert.
struct Place {
  int expert;
  int rank;
};

// Leaves the chunk's slots per expert in counts[(kWarps - 1) * E + e]. counts: shared, [kWarps][E] of uint16.
__device__ Place place_in_chunk(const PlanTask& task, int chunk, uint16_t* counts) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, experts = task.num_experts;
  for (int i = threadIdx.x; i < kWarps * experts; i += kPlanChunk) counts[i] = 0;
  const int64_t slot = static_cast<int64_t>(chunk) * kPlanChunk + threadIdx.x;
  const int chosen = slot < task.slots ? task.experts[slot] : -1;
  const int expert = chosen < experts ? chosen : -1;
  __syncthreads();

  const unsigned same = __match_any_sync(0xffffffffu, expert);
  const int before = __popc(same & ((1u << lane) - 1));
  if (expert >= 0 && before == 0) counts[warp * experts + expert] = static_cast<uint16_t>(__popc(same));
  __syncthreads();
  for (int e = threadIdx.x; e < experts; e += kPlanChunk) {
    int sum = 0;
    for (int w = 0; w < kWarps; ++w) counts[w * experts + e] = static_cast<uint16_t>(sum += counts[w * experts + e]);
  }
  __syncthreads();
  const int earlier = expert >= 0 && warp > 0 ? counts[(warp - 1) * experts + expert] : 0;
  return {expert, earlier + before};
}

__device__ void write_place(const PlanTask& task, int chunk, const Place& place, int first_row) {
  const int64_t slot = static_cast<int64_t>(chunk) * kPlanChunk + threadIdx.x;
  if (slot >= task.slots) return;
  const int row = place.expert >= 0 ? first_row + place.rank : -1;
  task.row_of_slot[slot] = row;
  if (row >= 0) task.slot_of_row[row] = static_cast<int32_t>(slot);
}

// Offsets of all experts from the counts that the first E threads hold. Returns the thread's own.
__device__ int write_offsets(const PlanTask& task, int count, int* sums) {
  const int end = inclusive_sum(count, sums), expert = threadIdx.x;
  if (expert < task.num_experts) task.expert_offsets[expert + 1] = end;
  if (expert == 0) task.expert_offsets[0] = 0;
  return end - count;
}

// The tiles of an expert's rows [begin, end), each thread's own; the last thread of the block writes their number.
__device__ void cut_tiles(int expert, int begin, int end, int height, Tile* out, int32_t* count, int* sums) {
  const int tiles = (end - begin + height - 1) / height;
  const int last = inclusive_sum(tiles, sums), first = last - tiles;
  for (int i = 0; i < tiles; ++i) {
    const int row = begin + i * height, group = i / kTileGroup * kTileGroup;
    out[first + i] = {expert, row, min(height, end - row), first + group, min(kTileGroup, tiles - group)};
  }
  if (threadIdx.x == blockDim.x - 1) *count = last;
}

}  // namespace
}  // namespace moe::cuda

// All of it, for one chunk of slots and one block.
extern "C" __global__ void __launch_bounds__(moe::cuda::kPlanChunk) moe_plan_small(const moe::cuda::PlanTask task) {
  using namespace moe::cuda;
  extern __shared__ uint16_t counts[];
  __shared__ int sums[kWarp];
  __shared__ int first_rows[kMaxExperts];
  const Place place = place_in_chunk(task, 0, counts);
  const int expert = threadIdx.x;
  const int count = expert < task.num_experts ? counts[(kWarps - 1) * task.num_experts + expert] : 0;
  const int first_row = write_offsets(task, count, sums);
  first_rows[expert] = first_row;
  if (task.tiles) cut_tiles(expert, first_row, first_row + count, task.tile_height, task.tiles, task.tile_count, sums);
  __syncthreads();
  write_place(task, 0, place, place.expert >= 0 ? first_rows[place.expert] : 0);
}

extern "C" __global__ void __launch_bounds__(moe::cuda::kPlanChunk) moe_plan_count(const moe::cuda::PlanTask task) {
  using namespace moe::cuda;
  extern __shared__ uint16_t counts[];
  place_in_chunk(task, blockIdx.x, counts);
  if (threadIdx.x < task.num_experts)
    task.counts[static_cast<int64_t>(blockIdx.x) * task.num_experts + threadIdx.x] =
        counts[(kWarps - 1) * task.num_experts + threadIdx.x];
}

// One block.
extern "C" __global__ void __launch_bounds__(moe::cuda::kPlanChunk) moe_plan_scan(const moe::cuda::PlanTask task) {
  using namespace moe::cuda;
  __shared__ int sums[kWarp];
  const int expert = threadIdx.x;
  int count = 0;
  if (expert < task.num_experts)
    for (int chunk = 0; chunk < task.chunks; ++chunk)
      count += task.counts[static_cast<int64_t>(chunk) * task.num_experts + expert];
  int row = write_offsets(task, count, sums);
  if (expert >= task.num_experts) return;
  for (int chunk = 0; chunk < task.chunks; ++chunk) {
    int32_t& at = task.counts[static_cast<int64_t>(chunk) * task.num_experts + expert];
    const int here = at;
    at = row;
    row += here;
  }
}

extern "C" __global__ void __launch_bounds__(moe::cuda::kPlanChunk) moe_plan_place(const moe::cuda::PlanTask task) {
  using namespace moe::cuda;
  extern __shared__ uint16_t counts[];
  const Place place = place_in_chunk(task, blockIdx.x, counts);
  const int64_t row_at = static_cast<int64_t>(blockIdx.x) * task.num_experts + place.expert;
  write_place(task, blockIdx.x, place, place.expert >= 0 ? task.counts[row_at] : 0);
}

// One block, a thread per expert.
extern "C" __global__ void __launch_bounds__(moe::cuda::kMaxExperts) moe_cut_tiles(const moe::cuda::TileTask task) {
  using namespace moe::cuda;
  __shared__ int sums[kWarp];
  const int expert = threadIdx.x;
  const bool exists = expert < task.experts;
  const int begin = exists && task.offsets ? task.offsets[expert] : 0;
  const int end = !exists ? 0 : task.offsets ? task.offsets[expert + 1] : task.rows;
  cut_tiles(expert, begin, end, task.height, task.tiles, task.count, sums);
}
