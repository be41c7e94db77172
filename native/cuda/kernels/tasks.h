// What kernels are told. Plain data, read by g++ and nvcc alike; pointers are to device memory unless said otherwise.
// T tokens, H hidden, I intermediate, E experts, K choices, G groups of tokens. Tasks have no padding, so that equal
// work has equal bytes.
#pragma once
#include <cstdint>

namespace moe::cuda {

constexpr int kWarp = 32;
constexpr int kMaxExperts = 1024;  // an expert has a thread in a block, or a bit in a lane

// Depths are padded to a multiple of this with zeros: of the sum over inputs, and so of rows and packets.
constexpr int kDepthMultiple = 64;
// A packet is what one warp multiplies by at once: kPacketColumns output features x kPacketDepth inputs.
constexpr int kPacketColumns = 16;
constexpr int kPacketDepth = 32;

// float32 rows as operands of the tensor cores: rounded to 16 bits, or split into three bfloat16 planes that add up
// to the value.
struct RoundTask {
  const float* from;  // [rows, columns]
  uint16_t* to;       // [planes][rows][padded_columns], zeros beyond `columns`
  int64_t rows;
  int32_t columns;
  int32_t padded_columns;
};

// logits[t, e] = bias[e] + the chain of fused multiply-adds over H in index order, from 0: the CPU's bits.
struct RouterTask {
  const float* hidden;    // [T, H]
  const float* weights;   // [H, E]
  const float* bias;      // [E], or null
  float* logits;          // [T, E]
  uint32_t* expert_load;  // [E], set to 0, or null
  int64_t tokens;
  int32_t hidden_size;
  int32_t experts;
};

// Tiles of the router's product, tokens x experts, and how its operands come.
struct RouterTile {
  int tokens, experts, depth, stages;
  constexpr int row_floats() const { return depth + 4; }  // of a token: neighbours in other banks
  constexpr int stage_floats() const { return tokens * row_floats() + depth * experts; }
  constexpr int shared_bytes() const { return stages * stage_floats() * 4; }
};
constexpr RouterTile kRouterFew{8, 32, 64, 5};
constexpr RouterTile kRouterMany{32, 32, 32, 3};
constexpr RouterTile kRouterWide{64, 64, 32, 2};
constexpr int kRouterThreads = 256;

// What moe::RoutingTotals is.
struct Totals {
  double aux_loss;
  double z_loss;
  int64_t dropped_choices;
  int64_t capacity;
};

// A token's choices before capacity.
struct ChooseTask {
  float* logits;                 // [T, R], R rows of the router; capped in place
  const float* correction_bias;  // [R], or null
  const float* expert_scale;     // [E], or null
  const int32_t* given;          // [T, K], the choices; null: they are made here
  int32_t* experts;              // [T, K]; -1 in all choices of an unroutable token
  float* weights;                // [T, K]; NaN there. V1: gates
  float* scores;                 // [T, R], or null where no loss asks for them
  double* reciprocals;           // V1: [T, K]
  double* score_sums;            // V2: [T], where scores are no shares of 1, or null
  double* squared_logsumexp;     // V2: [T], or null where there is no z-loss
  int32_t* loss_experts;         // V2: [T, K], choices by score alone, or null where they are the same
  uint32_t* expert_load;         // [E], counts are added, or null where capacity may still cut choices
  Totals* totals;                // {0, 0, 0, -1}, or null
  int64_t tokens;
  int32_t num_experts;  // R
  int32_t top_k;
  // V2 only.
  int32_t real_experts;   // E; those behind them are identities
  int32_t always_chosen;  // the last experts, and the last choices
  int32_t groups;         // of experts; 1 where none is masked
  int32_t kept_groups;    // a token may choose from
  float norm_epsilon;
  float scaling_factor;
  float soft_cap;          // 0: none
  float mixer_width;       // of the sparse mixer
  int32_t score_function;  // moe::ScoreFunction
  int32_t sum_of_two;      // flags from here on: a group's score is the sum of its two best, not the best
  int32_t mask_to_lowest;  // masked groups rank at -infinity, not 0
  int32_t biased;          // weights are the scores, ranks have the bias
  int32_t by_logit;        // weights are the scores, ranks the logits
  int32_t normalize;
};

constexpr int kChooseWarps = 4;  // tokens of a block
constexpr int choose_shared_bytes(int experts) { return kChooseWarps * 3 * experts * 4; }

// The only expert takes every token whose values are finite. One block.
struct OnlyExpertTask {
  const float* hidden;    // [T, H]
  int32_t* experts;       // [T]
  float* weights;         // [T]
  uint32_t* expert_load;  // [1]
  Totals* totals;
  int64_t tokens;
  int64_t hidden_size;
};

// Gives out the slots of each group of tokens in order and drops what finds none.
struct PlaceTask {
  const int32_t* choices;  // [T, K], of ChooseTask
  const float* gates;      // [T, K]
  int32_t* experts;        // [T, K], final
  float* weights;          // [T, K], final
  int32_t* kept;           // V1: [T], choices that found a slot, those with gate 0 included
  int32_t* load;           // [G, E], tokens each expert serves
  int32_t* dropped;        // [G, E], choices that were cut; only their sum has a meaning
  int64_t tokens;
  int64_t group_size;
  int64_t full_capacity;  // slots per expert of a full group; -1: no limit
  int64_t last_capacity;  // of the last group
  int32_t num_experts;
  int32_t top_k;
  int32_t token_major;  // V2: sdrop
  int32_t unused;
};

// Balance losses and totals.
struct LossTask {
  const int32_t* choices;           // [T, K], before drops; V2: those the loss counts
  const int32_t* routable;          // V2: [T, K], choices[.., 0] < 0 marks an unroutable token
  const float* gates;               // V1: [T, K]
  const int32_t* kept;              // V1: [T]
  const float* scores;              // [T, E]
  const double* reciprocals;        // V1: [T, K]
  const double* score_sums;         // V2: [T], or null
  const double* squared_logsumexp;  // V2: [T], or null
  double* shares;                   // [chunks][rounds][E], sums over the tokens of a chunk
  int32_t* votes;                   // [chunks][rounds][E]
  int32_t* counts;                  // [chunks], routable tokens
  const int32_t* load;              // [G, E], or null where ChooseTask has counted
  const int32_t* dropped;           // [G, E]
  uint32_t* expert_load;            // [E], result
  Totals* totals;                   // result
  const double* aux_factors;        // V2: [aux_losses]
  const int32_t* aux_groups;        // V2: [aux_losses], groups of experts
  double z_loss_factor;
  double aux_factor;  // V1
  int64_t capacity;
  int64_t tokens;
  int64_t group_size;
  int64_t groups;
  int32_t chunks_per_group;
  int32_t aux_losses;
  int32_t num_experts;
  int32_t top_k;
  int32_t rounds;  // V1: K, V2: 1
  int32_t wants_loss;
};

constexpr int kLossChunk = 256;  // tokens a block sums

// Some rows of one expert that a block multiplies at once.
struct Tile {
  int32_t expert;
  int32_t first_row;
  int32_t rows;
  int32_t group_first;  // tiles that share weights are worked on side by side: the first of them in the list,
  int32_t group_tiles;  // and how many
};

constexpr int kTileGroup = 16;  // tiles at most

// Stable counting sort of the kept slots by expert.
struct PlanTask {
  const int32_t* experts;   // [slots]; one that is not from 0 to E - 1 has no row
  int32_t* slot_of_row;     // [slots]
  int32_t* row_of_slot;     // [slots]
  int32_t* expert_offsets;  // [E + 1]
  int32_t* counts;          // [chunks][E]; turned into each chunk's first row of the expert
  Tile* tiles;              // as in TileTask, for one chunk; null: not wanted
  int32_t* tile_count;
  int64_t slots;
  int32_t num_experts;
  int32_t chunks;
  int32_t tile_height;
  int32_t unused;
};

constexpr int kPlanChunk = 1024;  // slots of a block: one per thread

struct TileTask {
  const int32_t* offsets;  // [experts + 1]; null: one expert has all the rows
  Tile* tiles;             // sized for the worst case
  int32_t* count;
  int32_t experts;
  int32_t rows;
  int32_t height;  // rows of a tile at most
  int32_t unused;
};

constexpr int kTileThreads = 128;
constexpr int kTileColumns = 128;  // output features of a block

// Rows of a tile at most, and its ring in shared memory: stages, and packets of depth in each. Two blocks fit a
// multiprocessor.
struct TileSizes {
  int height, stages, packets;
};
constexpr TileSizes tile_sizes(int packet_bytes) {
  if (packet_bytes > 1024) return {64, 3, 1};
  return {128, packet_bytes == 1024 ? 5 : packet_bytes > 512 ? 6 : 7, 1};
}

// One product of every expert. Up: output = activation(input . gate^T + .., input . up^T + ..), rounded as input.
// Down: float32 rows.
struct GemmTask {
  const uint16_t* input;       // [planes][input_rows][depth]
  const float* hidden;         // [input_rows, H]; up with few rows reads these and rounds them itself
  const uint8_t* weights;      // [experts][column_blocks][depth / kPacketDepth] packets
  const float* bias;           // [experts][column_blocks][kPacketColumns], or null
  const int32_t* slot_of_row;  // input row of row r is slot_of_row[r] / fan_out; null: r
  const Tile* tiles;
  const int32_t* tile_count;
  void* output;         // up: [planes][rows][output_stride] of 16 bits; down: [rows][output_stride] of float32
  int64_t input_plane;  // elements from a plane to the next
  int64_t output_plane;
  int64_t output_stride;
  int32_t depth;
  int32_t column_blocks;  // of kPacketColumns; gated: 8 columns of gate, then the same 8 of up
  int32_t columns;        // of output that are written
  int32_t fan_out;
  int32_t activation;  // moe::Activation
  int32_t hidden_size;
};

// A thread has four columns where H is a multiple of four, else one.
constexpr int kCombineThreads = 128;
constexpr int combine_width(int hidden_size) { return hidden_size % 4 == 0 ? hidden_size / 4 : hidden_size; }

struct CombineTask {
  const float* rows;           // [slots, H]
  const int32_t* row_of_slot;  // [T, K]
  const float* weights;        // [T, K]
  const float* shared;         // [T, H], or null
  float* output;               // [T, H]
  int64_t tokens;
  int32_t hidden_size;
  int32_t fan_out;
};

// rows[t] *= sigmoid(logits[t])
struct ScaleTask {
  float* rows;          // [T, H]
  const float* logits;  // [T]
  int64_t tokens;
  int64_t hidden_size;
};

// always[t] = shared_scale * always[t] + the weights of choices of identities * hidden[t]; with shared_scale 0,
// `always` is not read.
struct IdentityTask {
  const int32_t* experts;  // [T, K]; from real_experts on: identities
  const float* weights;    // [T, K]
  const float* hidden;     // [T, H]
  float* always;           // [T, H]
  int64_t hidden_size;
  int32_t top_k;
  int32_t real_experts;
  float shared_scale;
  int32_t unused;
};

// rows[slot] = weight * hidden of its token for real experts; ones[slot] = 1, or NaN where the weight is.
struct WeighTask {
  const int32_t* experts;  // [T, K]
  const float* weights;    // [T, K]
  const float* hidden;     // [T, H]
  float* rows;             // [T, K, H]
  float* ones;             // [T, K]
  int64_t hidden_size;
  int32_t top_k;
  int32_t real_experts;
};

// to[r] = from[index ? index[r] : r] for so many columns of rows that are strides apart; where the index is -1, to[r]
// is left as it was.
struct MoveTask {
  const float* from;
  const int32_t* index;  // [rows], or null
  float* to;
  int64_t rows, columns;
  int64_t from_stride, to_stride;
};

}  // namespace moe::cuda
