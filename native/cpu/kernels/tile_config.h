// The shapes of tiles, as the processor takes them.
#pragma once

constexpr int kTiles = 8;
constexpr int64_t kTileHeight = 16;    // most rows of a tile
constexpr int64_t kTileRowBytes = 64;  // most bytes of one

struct TileConfig {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  void set(int tile, int64_t its_rows, int64_t bytes) {
    rows[tile] = static_cast<uint8_t>(its_rows);
    row_bytes[tile] = static_cast<uint16_t>(bytes);
  }
};
static_assert(sizeof(TileConfig) == 64);
