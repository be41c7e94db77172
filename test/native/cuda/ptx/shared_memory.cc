#include "cuda/ptx/shared_memory.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

namespace moe::ptx {

void SharedMemory::reset(uint32_t bytes, uint32_t warps) {
  warps_ = warps;
  memory_.assign(bytes, 0xff);  // NaN in every float type
  defined_.assign(bytes, 0);
  const size_t granules = (bytes + kGranule - 1) / kGranule;
  cells_.resize(granules * kCells);
  touched_.resize(granules);
  ++block_;
  reads_.resize(cells_.size() * warps);  // meaningful where Cell::readers says so
  clocks_.assign(static_cast<size_t>(warps) * warps, 0);
  for (uint32_t warp = 0; warp < warps; ++warp) clock(warp, warp) = 1;
}

void SharedMemory::refuse(uint64_t address, uint32_t bytes, const char* access) const {
  throw Fault(FaultKind::kOutOfBounds, std::string(access) + " of " + std::to_string(bytes) + " bytes at " +
                                           std::to_string(address) + " of " + std::to_string(memory_.size()) +
                                           " bytes of shared memory");
}

bool SharedMemory::defined(uint32_t address, uint32_t bytes) const {
  return std::memchr(defined_.data() + address, 0, bytes) == nullptr;
}

void SharedMemory::define(uint32_t address, uint32_t bytes, bool value) {
  std::memset(defined_.data() + address, value ? 1 : 0, bytes);
}

// Calls each(cell) for what the access touches. A plain write of a whole piece makes its parts alike again.
template <class Each>
void SharedMemory::each_cell(uint32_t address, uint32_t bytes, bool writes, Each each) {
  const uint32_t end = address + bytes;
  for (uint32_t granule = address / kGranule; granule * kGranule < end; ++granule) {
    const uint32_t cell = granule * kCells;
    if (touched_[granule] != block_) {
      touched_[granule] = block_;
      cells_[cell] = Cell{};
    }
    const bool whole = address <= granule * kGranule && (granule + 1) * kGranule <= end;
    if (whole && !cells_[cell].split) {
      each(cell);
      continue;
    }
    if (!cells_[cell].split) split(cell, cell + kWords);
    for (uint32_t word = 0; word < 4; ++word) {
      const uint32_t begin = granule * kGranule + 4 * word, word_cell = cell + kWords + word;
      if (begin + 4 <= address || end <= begin) continue;
      const bool whole_word = address <= begin && begin + 4 <= end;
      if (whole_word && !cells_[word_cell].split) {
        each(word_cell);
        continue;
      }
      const uint32_t first_byte = cell + kBytes + 4 * word;
      if (!cells_[word_cell].split) split(word_cell, first_byte);
      for (uint32_t byte = 0; byte < 4; ++byte)
        if (address <= begin + byte && begin + byte < end) each(first_byte + byte);
      if (whole_word && writes) merge(word_cell, first_byte);
    }
    if (whole && writes) merge(cell, cell + kWords);
  }
}

void SharedMemory::split(uint32_t cell, uint32_t first_part) {
  for (uint32_t part = first_part; part < first_part + 4; ++part) {
    cells_[part] = cells_[cell];
    std::copy_n(reads_.begin() + cell * warps_, warps_, reads_.begin() + part * warps_);
  }
  cells_[cell].split = true;
}

void SharedMemory::merge(uint32_t cell, uint32_t first_part) { cells_[cell] = cells_[first_part]; }

bool SharedMemory::ordered(uint32_t warp, uint8_t lane, uint32_t at, uint32_t now_warp, uint8_t now_lane) const {
  const uint32_t seen = clocks_[now_warp * warps_ + warp];
  if (warp != now_warp) return at <= seen;
  return at < seen || (lane == now_lane && lane != kWholeWarp);
}

void SharedMemory::race(uint32_t cell, const Access& now, const char* earlier, uint32_t warp, uint8_t lane) const {
  const auto thread = [](uint32_t of_warp, uint8_t of_lane) {
    return "warp " + std::to_string(of_warp) + (of_lane == kWholeWarp ? "" : " lane " + std::to_string(of_lane));
  };
  const uint32_t part = cell % kCells, within = part == 0 ? 0 : part < kBytes ? 4 * (part - kWords) : part - kBytes;
  const uint32_t address = cell / kCells * kGranule + within;
  throw Fault(FaultKind::kSharedRace, std::string(now.name) + " by " + thread(now.warp, now.lane) +
                                          " at shared memory " + std::to_string(address) + " races with " + earlier +
                                          " by " + thread(warp, lane));
}

void SharedMemory::check_against_writes(uint32_t index, const Access& now) {
  const Cell& cell = cells_[index];
  if (cell.atomic && !now.atomic && !ordered(cell.atomic_warp, cell.atomic_lane, cell.atomic_clock, now.warp, now.lane))
    race(index, now, "an atomic operation", cell.atomic_warp, cell.atomic_lane);
  if (!cell.written) return;
  if (cell.copying) race(index, now, "a copy under way", cell.write_warp, cell.write_lane);
  if (!ordered(cell.write_warp, cell.write_lane, cell.write_clock, now.warp, now.lane))
    race(index, now, "a write", cell.write_warp, cell.write_lane);
}

void SharedMemory::check_against_reads(uint32_t index, const Access& now) {
  for (uint32_t readers = cells_[index].readers; readers != 0; readers &= readers - 1) {
    const auto warp = static_cast<uint32_t>(std::countr_zero(readers));
    const uint32_t last = reads_[index * warps_ + warp];
    if (!ordered(warp, last & 63, last >> 6, now.warp, now.lane)) race(index, now, "a read", warp, last & 63);
  }
}

void SharedMemory::record_read(uint32_t index, const Access& now) {
  check_against_writes(index, now);
  Cell& cell = cells_[index];
  uint32_t& last = reads_[index * warps_ + now.warp];
  const uint32_t at = clock(now.warp, now.warp);
  // Several lanes in one interval count as the whole warp.
  const bool another = (cell.readers >> now.warp & 1) && last >> 6 == at && (last & 63) != now.lane;
  last = at << 6 | (another ? kWholeWarp : now.lane);
  cell.readers |= 1u << now.warp;
}

void SharedMemory::record_write(uint32_t index, const Access& now) {
  check_against_writes(index, now);
  check_against_reads(index, now);
  Cell& cell = cells_[index];
  cell.write_clock = clock(now.warp, now.warp);
  cell.write_warp = static_cast<uint8_t>(now.warp);
  cell.write_lane = now.lane;
  cell.written = true;
  cell.copying = cell.atomic = false;
  cell.readers = 0;
}

void SharedMemory::read(uint32_t warp, uint8_t lane, uint32_t address, uint32_t bytes) {
  each_cell(address, bytes, false, [&](uint32_t cell) { record_read(cell, {"a read", warp, lane}); });
}

void SharedMemory::write(uint32_t warp, uint8_t lane, uint32_t address, uint32_t bytes) {
  each_cell(address, bytes, true, [&](uint32_t cell) { record_write(cell, {"a write", warp, lane}); });
}

void SharedMemory::update(uint32_t warp, uint8_t lane, uint32_t address, uint32_t bytes) {
  each_cell(address, bytes, false, [&](uint32_t index) {
    const Access now{"an atomic operation", warp, lane, true};
    check_against_writes(index, now);
    check_against_reads(index, now);
    Cell& cell = cells_[index];
    cell.atomic = true;
    cell.atomic_clock = clock(warp, warp);
    cell.atomic_warp = static_cast<uint8_t>(warp);
    cell.atomic_lane = lane;
  });
}

void SharedMemory::begin_copy(uint32_t warp, uint8_t lane, uint32_t address, uint32_t bytes) {
  each_cell(address, bytes, true, [&](uint32_t cell) {
    record_write(cell, {"a copy", warp, lane});
    cells_[cell].copying = true;
  });
}

void SharedMemory::land_copy(uint32_t warp, uint8_t lane, uint32_t address, uint32_t bytes) {
  each_cell(address, bytes, true, [&](uint32_t index) {
    Cell& cell = cells_[index];
    cell.copying = false;
    cell.write_clock = clock(warp, warp);
    cell.write_lane = lane;
  });
}

void SharedMemory::synchronize(const std::vector<uint32_t>& warps) {
  for (uint32_t about = 0; about < warps_; ++about) {
    uint32_t latest = 0;
    for (const uint32_t warp : warps) latest = std::max(latest, clock(warp, about));
    for (const uint32_t warp : warps) clock(warp, about) = latest;
  }
  for (const uint32_t warp : warps) ++clock(warp, warp);
}

}  // namespace moe::ptx
