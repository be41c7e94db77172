// What one instruction set offers. Every set fills this table from the same sources (see isa/).
#pragma once
#include <cstddef>
#include <cstdint>

namespace moe::cpu {

// What happens to a product before it is stored.
struct Epilogue {
  enum Kind : uint8_t { kNone, kSwiGLU, kClampedSwiGLU, kGeGLU, kGeGLUTanh, kGELU, kGELUTanh, kReLU, kReLU2, kSiLU };
  Kind kind = kNone;
  // Of kClampedSwiGLU: moe::SwiGLUNumbers.
  float alpha = 0, lowest_gate = 0, most_gate = 0, most_product = 0, most_up = 0, up_shift = 0;
};

// Panels whose next blocks are fetched side by side: a task of a multiple of them loses nothing.
constexpr int64_t kPanelsTogether = 4;

// Rows of depth in panels and tiles for integer products, zeros included.
constexpr int64_t padded_depth(int64_t depth) { return (depth + 7) / 8 * 8; }

// Bytes from a quantised row, or a tile of them for each of its rows, to the next: whole lines, which some kernels
// read, and an odd number of them, so that rows do not push one another out of a cache.
constexpr int64_t dot_row_bytes(int64_t depth) { return ((depth + 63) / 64 | 1) * 64; }

// Words of two rows of depth.
constexpr int64_t pairs_of(int64_t depth) { return (depth + 1) / 2; }

// How rows of weights stand in a panel (weights.h), two for products with int8 rows (integer.h), the last two as they
// were published (published.h), for rows of both types.
enum class Panel : uint8_t {
  kFloat32,
  kBFloat16,
  kFloat16,
  kInt8,
  kInt4,
  kInt8Dots,
  kInt4Dots,
  kPublished,
  kPublishedDots
};

// Whether numbers of these panels are bfloat16 without loss. By rows of bfloat16 they are multiplied without subnormal
// numbers (cpu/subnormals.h), as instructions for pairs do it.
constexpr bool are_bfloat16(Panel panel) {
  return panel == Panel::kBFloat16 || panel == Panel::kInt8 || panel == Panel::kInt4;
}

constexpr int64_t kSuperRows = 256;

// Codes and factors of published panels. A panel has blocks of kSuperRows rows, the last of which may have fewer. In a
// block stand the first levels, where there are two; then for each group of rows a factor of every column, offsets and
// zeros where there are some; then codes. A weight is fma(number - zero, scale, offset), the number being what a code
// stands for. Where rows of a group do not stand together, the factors of all groups stand in front of the panel.
struct PublishedForm {
  enum Factor : uint8_t { kFloat32, kBFloat16, kFloat16, kPowerOfTwo, kSignedByte, kFloat8 };
  int32_t bits;          // of a code: 4, 5, 6 or 8
  bool from_table;       // 4 bits: the number is an entry of `table`
  bool floats;           // 8 bits: the number is a float8
  bool wide;             // numbers go beyond 127
  Factor factor;         // of a scale; of two levels, of the second
  bool two_levels;       // a scale is float16 * signed byte, or float32 * float8
  bool offsets;          // of each group, as scales; of two levels, of bytes
  bool zeros;            // of each group, a byte
  bool divides;          // of two levels: the first divides
  bool exact_first;      // (number - zero) * scale is rounded: what is subtracted cannot be multiplied before
  bool scattered;        // rows of a group do not stand together
  float zero;            // of all groups
  float times;           // multiplies scales: a power of two
  uint8_t table[16];     // numbers
  int64_t group;         // rows whose codes stand together
  int64_t group_bytes;   // of its codes
  int64_t factor_bytes;  // of a group
  int64_t first_bytes;   // of a block's first levels
  int64_t block_bytes;   // from a block to the next
  int64_t codes_begin;   // of a block
  int64_t last_block;    // the row from which on a block is not whole
  int64_t last_begin;    // codes_begin of that one
  int64_t panel_bytes;
  int32_t row_offset;           // of int8 rows, as in QuantizeTask; -1 where groups have offsets or zeros of their own
  const int32_t* group_of_row;  // [depth], where rows are scattered

  // Where the codes of the block of row k begin, from the begin of the block.
  int64_t codes_of(int64_t k) const { return k < last_block ? codes_begin : last_begin; }
};

// Rows of depth whose codes stand together, in words of four bytes for each column: those of 8 bits hold four rows, of
// 4 bits eight. Those of 5 bits have their low four bits so, then the others of all rows in one word; of 6 bits three
// words hold four rows each, and in their upper two bits those of four others, lowest bits first.
constexpr int64_t published_rows(int32_t bits) { return bits == 8 ? 4 : bits == 4 ? 8 : bits == 6 ? 16 : 32; }
constexpr int64_t published_words(int32_t bits) { return bits == 6 ? 3 : bits == 5 ? 5 : 1; }

// Some rows of one expert times a run of panels of one of its matrices.
//
// The rows of an expert are cut into tiles: n = ceil(rows / tile_rows) of them, as even as can be, larger ones first.
// In tile form a matrix [rows, columns] is stored [tile][column][row of the tile], so tile t starts at row_begin(t) *
// columns.
struct GemmTask {
  const float* input;  // tile form, [rows, depth]; not read by products of integers or of pairs
  // Integer products: what QuantizeTask wrote, each tile dot_row_bytes a row behind the one before it.
  const int8_t* integers;     // [tile][ceil(depth / 8) * 2][row of the tile][4]
  const float* row_scales;    // [tile][groups][row of the tile]
  const int32_t* row_starts;  // likewise
  const uint32_t* pairs;      // products of pairs: what PackPairsTask wrote, [tile][ceil(depth / 2)][row of the tile]
  int64_t rows;               // of the expert
  int64_t depth;              // K
  int64_t first_tile;         // the tiles to work on, at most max_tiles
  int64_t num_tiles;
  int64_t group;              // integer weights: rows of a panel that share scales; a multiple of 16 that divides 256
  const void* panels;         // [num_panels][depth][panel_columns], as the kernel has them; readable 3 bytes further
  const PublishedForm* form;  // of published panels
  const float* bias;          // [num_panels][panel_columns]
  int64_t num_panels;
  int64_t first_panel;  // of `panels` in the whole matrix
  int64_t columns;      // of `output`; with a gated activation a panel yields panel_columns / 2
  float* output;        // kNone: [rows, columns] row-major; an activation: tile form
  Epilogue epilogue;
  float* scratch;  // scratch_floats, of the calling thread
};

// Rows to gather into one tile.
struct PackTask {
  const float* hidden;         // [tokens, depth]
  const int32_t* slot_of_row;  // of the tile's first row; null: row r is token first_token + r
  int64_t first_token;
  int32_t fan_out;
  int64_t rows;  // of the tile
  int64_t depth;
  float* tile;  // [depth][rows]
};

// A tile of rows to quantise.
struct QuantizeTask {
  const float* tile;  // [depth][rows]
  int64_t rows;
  int64_t depth;
  int64_t group;   // that shares a scale, a multiple of 16
  int32_t offset;  // what is added to the weights to multiply them
  int8_t* integers;
  float* scales;
  int32_t* starts;  // of sums of products: -offset * the sum of a row's integers
};

// A tile of rows to round to bfloat16, two numbers of a row in a word: rows k (the upper half) and k + 1 of depth.
// Behind an odd depth stands -0, which leaves every sum as it is.
struct PackPairsTask {
  const float* tile;  // [depth][rows]
  int64_t rows;
  int64_t depth;
  uint32_t* pairs;  // [ceil(depth / 2)][rows]
};

// Weighted sums of expert rows, for a run of tokens. Pointers are those of the first token.
struct CombineTask {
  const float* rows;           // [rows, columns], of the whole batch
  const int32_t* row_of_slot;  // [tokens, fan_out], -1 where there is none
  const float* weights;        // [tokens, fan_out]
  const float* shared;         // [tokens, columns], or null
  float* output;               // [tokens, columns]
  int64_t tokens;
  int64_t columns;
  int32_t fan_out;
};

// What reads one kind of panels. A result depends on its row and its column alone: acc = fma(x[k], w[k], acc) for k =
// 0 .. K-1 starting from 0, + bias, then the activation. With integer weights: acc of each group on its own, then sum =
// fma(acc, scale, sum) over the groups in order. With int8 rows: exact dot products of four bytes within a group, then
// sum = fma(product, scale of the weights * scale of the row, sum) over the groups in order.
struct PanelKernels {
  void (*gemm)(const GemmTask&);
  int64_t rows = 0;        // of depth that stand together, zeros behind the last; not of published panels
  int64_t rows_bytes = 0;  // that they take, without scales
  // Integers: WeightFormat::Encode of their format, with the same results. Null for the others.
  void (*encode)(const float* weights, int64_t count, int64_t group, void* codes, void* scales) = nullptr;
  int32_t offset = 0;  // as in QuantizeTask; of published panels PublishedForm says it
};

// Tokens of a block of the cache, and keys of a block of attention (core/decoder_stages.h).
constexpr int64_t kKvTokens = 16;
constexpr int64_t kKeys = 256;
constexpr int64_t kKeyBlocks = kKeys / kKvTokens;

enum class KvNumber : uint8_t { kFloat32, kBFloat16, kInt8 };

// A word of the cache: one float32, two bfloat16 or four int8.
constexpr int64_t kKvWordBytes = 4;
// Numbers of a key, zeros behind it included, where it stands in words.
constexpr int64_t padded_key(int64_t key_size) { return (key_size + 3) / 4 * 4; }
constexpr int64_t kv_number_bytes(KvNumber number) {
  return number == KvNumber::kFloat32 ? 4 : number == KvNumber::kBFloat16 ? 2 : 1;
}
// Before the keys or the values of a block, of int8, are their scales [16].
constexpr int64_t kv_scales_bytes(KvNumber number) { return number == KvNumber::kInt8 ? kKvTokens * 4 : 0; }
// Where the keys or the values of a block are, whole lines.
constexpr int64_t kv_part_bytes(KvNumber number, int64_t numbers) {
  return (numbers * kv_number_bytes(number) + 63) / 64 * 64 + kv_scales_bytes(number);
}

// What a softmax has summed up.
struct Softened {
  float max, sum;
};

// Some rows and the keys of one block: each row's partial softmax and the values it mixes. Of the block's keys row r
// sees [first[r], end[r]), at least one.
struct AttendTask {
  const float* const* queries;  // [rows], each [key_size]
  int64_t rows;
  int64_t key_size;
  KvNumber number;                 // of keys and values
  bool values_in_keys;             // keys and values are the same [16][value_stride], zeros behind a key
  int64_t first_block, end_block;  // that somebody sees; only those have places
  // Words each holds n numbers of (kKvWordBytes), of keys or of a value of n keys: [padded_key / n][16] of keys,
  // [16 / n][value_stride] of values.
  const void* keys[kKeyBlocks];
  const void* values[kKeyBlocks];
  const float* key_scales[kKeyBlocks];  // [16] each; null where numbers have none
  const float* value_scales[kKeyBlocks];
  int64_t value_stride;  // a multiple of 16
  float scale;
  const int64_t* first;
  const int64_t* end;
  float* scores;       // [rows][kKeys], scratch
  float* panel;        // attend_panel_floats, scratch
  float* tiles;        // [rows][attend_tile_floats], scratch
  bool same_queries;   // as those of the task before, which left its tiles there
  Softened* softened;  // [rows], of exp(score - max)
  float* out;          // [rows][out_stride], sum of exp(score - max) * value
  int64_t out_stride;  // a multiple of 16, at most value_stride
  // Keys that are read after this block, to be fetched meanwhile.
  const void* keys_ahead[kKeyBlocks];
  int64_t blocks_ahead;
};

// Floats that AttendTask needs of tiles for each row: a query, or two planes of its bytes and what they are read with.
constexpr int64_t attend_tile_floats(int64_t key_size) { return padded_key(key_size) + 4; }

// Most floats that AttendTask needs of a panel.
constexpr int64_t attend_panel_floats(int64_t key_size, int64_t value_stride) {
  constexpr int64_t kStrips = kKeys * 32;
  const int64_t keys = 4 * kKvTokens * padded_key(key_size), rows = kKvTokens * value_stride;
  const int64_t most = keys > rows ? keys : rows;
  return most > kStrips ? most : kStrips;
}

// A block's partial softmax joins those of the blocks before it.
struct FoldTask {
  Softened* so_far;
  float* values;  // [size], a multiple of 16
  Softened of_block;
  const float* block_values;
  int64_t size;
};

// Products of pairs of bfloat16, with instructions for them that only some CPUs of a set have. They read the set's own
// panels and give the bits of its other kernels.
struct PairKernels {
  const char* name;
  const char* beside;  // the set
  bool (*supported)();
  int64_t scratch_floats;
  void (*pack_pairs)(const PackPairsTask&);
  void (*gemm[9])(const GemmTask&);  // in the order of Panel; null where not are_bfloat16
};

// Products of integers, likewise. Rows are quantised in another order: each one's integers together, zeros behind them,
// [rows][dot_row_bytes], and its scales [rows][groups]; starts are not written.
struct DotKernels {
  const char* name;
  const char* beside;
  bool (*supported)();
  int64_t least_rows;  // of an expert: fewer are better multiplied by the set's own kernels
  int64_t scratch_floats;
  void (*quantize_tile)(const QuantizeTask&);
  void (*gemm[9])(const GemmTask&);  // in the order of Panel; null where there are none
};

struct Kernels {
  const char* name;
  bool (*supported)();

  int64_t lanes;          // floats per register
  int64_t panel_columns;  // NR
  int64_t tile_rows;      // MR
  int64_t max_tiles;      // per GemmTask
  int64_t scratch_floats;

  PanelKernels panels[9];  // in the order of Panel
  void (*quantize_tile)(const QuantizeTask&);
  void (*pack_rows)(const PackTask&);
  // To bfloat16, to nearest even; NaN stays NaN.
  void (*round_to_bfloat16)(const float* values, int64_t count, float* rounded);
  void (*combine)(const CombineTask&);
  // rows[t] *= sigmoid(logits[t]); rows [tokens, columns].
  void (*scale_by_sigmoid)(float* rows, const float* logits, int64_t tokens, int64_t columns);
  // out[i] = epilogue(gate[i], up[i]); `gate` is not read when the activation has none.
  void (*activate)(const Epilogue& epilogue, const float* gate, const float* up, float* out, int64_t count);

  void (*attend)(const AttendTask&);
  void (*fold)(const FoldTask&);
  float (*sum_of_squares)(const float* values, int64_t count);
  // out[i] = in[i] * factor * weights[i]
  void (*scale_by)(const float* in, float factor, const float* weights, float* out, int64_t count);

  // Independent chains of fused multiply-adds in registers: burn_flops operations per step. Reads and writes two
  // floats.
  void (*burn)(int64_t steps, float* seed);
  double burn_flops;
  // The sum of `count` floats, a multiple of 256.
  float (*read)(const float* data, int64_t count);
};

}  // namespace moe::cpu
