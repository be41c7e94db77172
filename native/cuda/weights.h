// Weights in the order the kernels read them (kernels/weights.cuh).
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/config.h"
#include "core/tensor.h"
#include "cuda/kernels/tasks.h"

namespace moe::cuda {

constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

size_t packet_bytes(WeightType type);

// One product of every expert: matrices [columns, depth], with a gate two of them side by side. They are cut into
// blocks of 16 features, 8 of the gate and the same 8 of up where there is a gate, and blocks into packets of 32
// inputs. Features and inputs beyond the matrix are zeros.
struct PacketLayout {
  WeightType type;
  int32_t group;  // inputs that share a scale; 0: all
  bool gated;
  int64_t columns;  // features of one matrix
  int64_t depth;
  // Columns of the product, padded: those of an intermediate are the depth of the next product. The others are not.
  bool padded;

  int64_t padded_depth() const { return round_up(depth, kDepthMultiple); }
  int64_t padded_columns() const { return padded ? round_up(columns, kDepthMultiple) : columns; }
  int64_t packets() const { return padded_depth() / kPacketDepth; }  // of a block
  int64_t columns_per_block() const { return gated ? kPacketColumns / 2 : kPacketColumns; }
  int64_t blocks() const { return (padded_columns() + columns_per_block() - 1) / columns_per_block(); }
  size_t block_bytes() const { return packets() * packet_bytes(type); }
  size_t expert_bytes() const { return blocks() * block_bytes(); }
};

// One block into out [block_bytes]. `gate` is read when there is one. Blocks may be packed by different threads.
void pack_block(const PacketLayout& layout, const WeightMatrix& gate, const WeightMatrix& up, int64_t block,
                uint8_t* out);

// Biases of one expert in the order of blocks: out [blocks][16], zeros where there is none.
void pack_biases(const PacketLayout& layout, const WeightVector& gate, const WeightVector& up, float* out);

}  // namespace moe::cuda
