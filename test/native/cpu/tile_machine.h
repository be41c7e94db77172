// Tiles as AMX has them, in plain code: what its instructions do, and what they refuse.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace moe::test {

class TileMachine {
 public:
  static constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;

  // LDTILECFG of the 64 bytes it reads. Every tile is zero then.
  void configure(const void* bytes) {
    uint8_t config[64];
    std::memcpy(config, bytes, sizeof config);
    refuse_unless(config[0] == 1, "palette 1");
    refuse_unless(config[1] == 0, "to begin at row 0");
    for (int i = 2; i < 16; ++i) refuse_unless(config[i] == 0, "reserved bytes to be zero");
    std::array<Tile, kTiles> tiles{};
    for (int i = 0; i < 16; ++i) {
      uint16_t row_bytes = 0;
      std::memcpy(&row_bytes, config + 16 + 2 * i, sizeof row_bytes);
      const uint8_t rows = config[48 + i];
      refuse_unless(i < kTiles || (rows == 0 && row_bytes == 0), "eight tiles");
      refuse_unless(rows <= kRows && row_bytes <= kRowBytes, "at most 16 rows of 64 bytes");
      refuse_unless((rows == 0) == (row_bytes == 0), "rows and bytes, or neither");
      if (i < kTiles) tiles[i].rows = rows, tiles[i].row_bytes = row_bytes;
    }
    tiles_ = tiles;
    configured_ = true;
  }

  // TILERELEASE
  void release() {
    tiles_ = {};
    configured_ = false;
  }
  bool configured() const { return configured_; }

  // TILEZERO, TILELOADD, TILESTORED: rows and bytes beyond the tile's shape are zero, and are not stored.
  void zero(int tile) { at(tile).bytes = {}; }
  void load(int tile, const void* from, int64_t stride) {
    Tile& to = at(tile);
    to.bytes = {};
    for (int row = 0; row < to.rows; ++row)
      std::memcpy(to.bytes[row].data(), static_cast<const char*>(from) + row * stride, to.row_bytes);
  }
  void store(int tile, void* to, int64_t stride) {
    const Tile& from = at(tile);
    for (int row = 0; row < from.rows; ++row)
      std::memcpy(static_cast<char*>(to) + row * stride, from.bytes[row].data(), from.row_bytes);
  }

  // TDPBSSD, TDPBSUD, TDPBUSD, TDPBUUD by the signs of A's and B's bytes: C[m][n] += A[m][4k + i] * B[k][4n + i], of
  // which the sum keeps 32 bits.
  template <class OfA, class OfB>
  void dot(int c, int a, int b) {
    refuse_unless(c != a && c != b && a != b, "three tiles");
    Tile& sums = at(c);
    const Tile &left = at(a), &right = at(b);
    refuse_unless(sums.row_bytes % 4 == 0 && left.row_bytes % 4 == 0 && right.row_bytes % 4 == 0, "whole words");
    refuse_unless(sums.rows == left.rows, "as many rows in A as in C");
    refuse_unless(sums.row_bytes == right.row_bytes, "as many columns in B as in C");
    refuse_unless(left.row_bytes / 4 == right.rows, "as many rows in B as words in a row of A");
    for (int m = 0; m < sums.rows; ++m)
      for (int n = 0; n < sums.row_bytes / 4; ++n) {
        uint32_t sum = 0;
        std::memcpy(&sum, &sums.bytes[m][4 * n], sizeof sum);
        for (int k = 0; k < right.rows; ++k)
          for (int i = 0; i < 4; ++i)
            sum += static_cast<uint32_t>(static_cast<OfA>(left.bytes[m][4 * k + i]) *
                                         static_cast<OfB>(right.bytes[k][4 * n + i]));
        std::memcpy(&sums.bytes[m][4 * n], &sum, sizeof sum);
      }
  }

 private:
  struct Tile {
    int rows = 0, row_bytes = 0;
    std::array<std::array<uint8_t, kRowBytes>, kRows> bytes{};
  };

  static void refuse_unless(bool fits, const char* wanted) {
    if (!fits) throw std::logic_error(std::string("Expected ") + wanted);
  }
  Tile& at(int tile) {
    refuse_unless(configured_, "tiles to be configured");
    refuse_unless(tile >= 0 && tile < kTiles, "eight tiles");
    refuse_unless(tiles_[tile].rows > 0, "a tile that was given a shape");
    return tiles_[tile];
  }

  std::array<Tile, kTiles> tiles_{};
  bool configured_ = false;
};

// Each thread has its tiles.
inline TileMachine& tile_machine() {
  thread_local TileMachine machine;
  return machine;
}

}  // namespace moe::test
