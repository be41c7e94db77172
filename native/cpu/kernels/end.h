// Fills the table and closes what begin.h opened.
constexpr int64_t kWidenedFloats = (kWidenedRows + kWidenedRows / kLeastGroup) * kPanelColumns;
constexpr int64_t kBlocksFloats = kPanelsTogether * kDotBlockFloats;
constexpr int64_t kScratchFloats =
    kPanelsTogether * kPanelSums + (kWidenedFloats > kBlocksFloats ? kWidenedFloats : kBlocksFloats);

bool supported() { return MOE_CPU_HAS_IT; }

using scaled_integers::encode, scaled_integers::Int4, scaled_integers::Int8;
template <class W>
constexpr PanelKernels floats_of() {
  return {gemm<W>, W::kRows, W::kRowsBytes, nullptr};
}
template <class W, class Integers>
constexpr PanelKernels integers_of() {
  return {gemm<W>, W::kRows, W::kRowsBytes, encode<Integers>};
}
template <class W, class Integers>
constexpr PanelKernels dots_of() {
  constexpr int64_t kRows = padded_depth(1);
  return {integer_gemm<W>, kRows, kRows / W::kRows * W::kRowsBytes, encode<Integers>, W::kOffset};
}

}  // namespace

const Kernels table = {
    .name = MOE_TEXT(MOE_ISA),
    .supported = supported,
    .lanes = kLanes,
    .panel_columns = kPanelColumns,
    .tile_rows = kTileRows,
    .max_tiles = kMaxTiles,
    .scratch_floats = kScratchFloats,
    .panels = {floats_of<Float32Weights>(),
               floats_of<BFloat16Weights>(),
               floats_of<Float16Weights>(),
               integers_of<Int8Weights, Int8>(),
               integers_of<Int4Weights, Int4>(),
               dots_of<Int8Dots, Int8>(),
               dots_of<Int4Dots, Int4>(),
               {.gemm = published_gemm},
               {.gemm = published_dots_gemm}},
    .quantize_tile = quantize_tile,
    .pack_rows = pack_rows,
    .round_to_bfloat16 = round_to_bfloat16,
    .combine = combine,
    .scale_by_sigmoid = scale_by_sigmoid,
    .activate = activate,
    .attend = attend,
    .fold = fold,
    .sum_of_squares = sum_of_squares,
    .scale_by = scale_by,
    .burn = burn,
    .burn_flops = kBurnFlops,
    .read = read,
};

#include "cpu/kernels/close.h"
