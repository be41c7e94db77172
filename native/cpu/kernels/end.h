// Fills the table, closes the namespace and the target region that begin.h opened.
constexpr int64_t kScratchFloats =
    kPanelsTogether * kPanelSums + (kWidenedRows + kWidenedRows / kLeastGroup) * kPanelColumns;

bool supported() { return MOE_CPU_HAS_IT; }

template <class W>
constexpr PanelKernels panels_of() {
  return {gemm<W>, W::kRows, W::kRowsBytes};
}
template <class W>
constexpr PanelKernels dots_of() {
  return {integer_gemm<W>, padded_depth(1), padded_depth(1) / W::kRows * W::kRowsBytes, W::kOffset};
}

}  // namespace

#define MOE_TEXT_OF(x) #x
#define MOE_TEXT(x) MOE_TEXT_OF(x)
const Kernels table = {
    .name = MOE_TEXT(MOE_ISA),
    .supported = supported,
    .lanes = kLanes,
    .panel_columns = kPanelColumns,
    .tile_rows = kTileRows,
    .max_tiles = kMaxTiles,
    .scratch_floats = kScratchFloats,
    .panels = {panels_of<Float32Weights>(), panels_of<BFloat16Weights>(), panels_of<Float16Weights>(),
               panels_of<Int8Weights>(), panels_of<Int4Weights>(), dots_of<Int8Dots>(), dots_of<Int4Dots>()},
    .quantize_tile = quantize_tile,
    .pack_rows = pack_rows,
    .combine = combine,
    .scale_by_sigmoid = scale_by_sigmoid,
    .activate = activate,
    .burn = burn,
    .burn_flops = kBurnFlops,
    .read = read,
};

}  // namespace moe::cpu::MOE_ISA
#if defined(MOE_TARGET) && defined(__clang__)
#pragma clang attribute pop
#elif defined(MOE_TARGET)
#pragma GCC pop_options
#endif
