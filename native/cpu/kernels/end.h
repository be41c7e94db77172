// Fills the table, closes the namespace and the target region that begin.h opened.
constexpr int64_t kScratchFloats =
    kPanelsTogether * kPanelSums + (kWidenedRows + kWidenedRows / kLeastGroup) * kPanelColumns;

bool supported() { return MOE_CPU_HAS_IT; }

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
    .gemm = {gemm<Float32Weights>, gemm<BFloat16Weights>, gemm<Float16Weights>, gemm<Int8Weights>, gemm<Int4Weights>},
    .integer_gemm = {integer_gemm<Int8Dots>, integer_gemm<Int4Dots>},
    .integer_offset = {Int8Dots::kOffset, Int4Dots::kOffset},
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
