// What cpu/kernels/tile_products.h asks of tiles, by the interpreter. Stands between its headers, as amx.h does.
#pragma once

inline void configure_tiles(const TileConfig& config) { moe::test::tile_machine().configure(&config); }
inline void release_tiles() { moe::test::tile_machine().release(); }
template <int Tile>
void tile_zero() {
  moe::test::tile_machine().zero(Tile);
}
template <int Tile>
void tile_load(const void* from, int64_t stride) {
  moe::test::tile_machine().load(Tile, from, stride);
}
template <int Tile>
void tile_store(void* to, int64_t stride) {
  moe::test::tile_machine().store(Tile, to, stride);
}
template <int Sums, int Rows, int Weights>
void tile_dot() {
  moe::test::tile_machine().dot<int8_t, int8_t>(Sums, Rows, Weights);
}
