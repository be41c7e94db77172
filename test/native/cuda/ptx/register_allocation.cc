#include "cuda/ptx/register_allocation.h"

#include <algorithm>
#include <map>
#include <queue>

namespace moe::ptx {
namespace {

struct BasicBlock {
  uint32_t begin, end;  // instructions
  std::vector<uint32_t> successors;
  std::vector<uint64_t> used, defined, live_in, live_out;  // bit sets over the registers that cross blocks
};

std::vector<BasicBlock> blocks_of(const Kernel& kernel, std::vector<uint32_t>& block_at) {
  const auto count = static_cast<uint32_t>(kernel.code.size());
  std::vector<uint8_t> leads(count + 1);
  leads[0] = 1;
  for (uint32_t i = 0; i < count; ++i) {
    const Instruction& instruction = kernel.code[i];
    if (instruction.flow == Flow::kNext) continue;
    leads[i + 1] = 1;
    if (instruction.flow == Flow::kBranch) leads[instruction.target] = 1;
    if (instruction.flow == Flow::kTable)
      for (const uint32_t target : kernel.branch_tables[instruction.target]) leads[target] = 1;
  }
  std::vector<BasicBlock> blocks;
  block_at.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    if (leads[i]) blocks.push_back({i, i, {}, {}, {}, {}, {}});
    blocks.back().end = i + 1;
    block_at[i] = static_cast<uint32_t>(blocks.size()) - 1;
  }
  for (BasicBlock& block : blocks) {
    const Instruction& last = kernel.code[block.end - 1];
    if (last.flow == Flow::kBranch) block.successors.push_back(block_at[last.target]);
    if (last.flow == Flow::kTable)
      for (const uint32_t target : kernel.branch_tables[last.target]) block.successors.push_back(block_at[target]);
    if ((last.flow == Flow::kNext || last.guard >= 0) && block.end < count)
      block.successors.push_back(block_at[block.end]);
  }
  return blocks;
}

struct Range {
  uint32_t first = ~0u, last = 0;
  void include(uint32_t at) {
    first = std::min(first, at);
    last = std::max(last, at);
  }
};

}  // namespace

Allocation allocate_registers(const Kernel& kernel, const std::vector<RegisterUse>& uses,
                              const std::vector<uint8_t>& units) {
  std::vector<uint32_t> block_at;
  std::vector<BasicBlock> blocks = blocks_of(kernel, block_at);

  // Registers of one block only, written there before they are read, need no analysis.
  constexpr uint32_t kNowhere = ~0u;
  std::vector<uint32_t> home(units.size(), kNowhere), bit(units.size(), kNowhere), crossing;
  for (const RegisterUse& use : uses) {
    const uint32_t block = block_at[use.instruction];
    const bool whole_write = use.writes && kernel.code[use.instruction].guard < 0;
    if (home[use.reg] == kNowhere && whole_write) home[use.reg] = block;
    if (home[use.reg] == block || bit[use.reg] != kNowhere) continue;
    bit[use.reg] = static_cast<uint32_t>(crossing.size());
    crossing.push_back(use.reg);
  }

  const size_t words = (crossing.size() + 63) / 64;
  const auto has = [](const std::vector<uint64_t>& set, uint32_t i) { return set[i / 64] >> (i % 64) & 1; };
  for (BasicBlock& block : blocks)
    for (auto* set : {&block.used, &block.defined, &block.live_in, &block.live_out}) set->assign(words, 0);
  for (const RegisterUse& use : uses) {
    const uint32_t index = bit[use.reg];
    if (index == kNowhere) continue;
    BasicBlock& block = blocks[block_at[use.instruction]];
    const bool whole_write = use.writes && kernel.code[use.instruction].guard < 0;
    if (whole_write)
      block.defined[index / 64] |= 1ull << index % 64;
    else if (!has(block.defined, index))
      block.used[index / 64] |= 1ull << index % 64;
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t b = blocks.size(); b-- > 0;) {
      BasicBlock& block = blocks[b];
      for (size_t w = 0; w < words; ++w) {
        uint64_t out = 0;
        for (const uint32_t next : block.successors) out |= blocks[next].live_in[w];
        const uint64_t in = block.used[w] | (out & ~block.defined[w]);
        changed |= in != block.live_in[w];
        block.live_out[w] = out;
        block.live_in[w] = in;
      }
    }
  }

  std::vector<Range> ranges(units.size());
  for (const RegisterUse& use : uses) ranges[use.reg].include(use.instruction);
  for (const BasicBlock& block : blocks)
    for (uint32_t index = 0; index < crossing.size(); ++index) {
      if (has(block.live_in, index)) ranges[crossing[index]].include(block.begin);
      if (has(block.live_out, index)) ranges[crossing[index]].include(block.end - 1);
    }

  // Linear scan: a place is free again after the last instruction of the range.
  std::vector<uint32_t> order;
  for (uint32_t reg = 0; reg < ranges.size(); ++reg)
    if (ranges[reg].first != ~0u) order.push_back(reg);
  std::ranges::sort(order, {}, [&](uint32_t reg) { return ranges[reg].first; });
  Allocation allocation{std::vector<uint32_t>(units.size()), 0};
  std::map<uint8_t, std::vector<uint32_t>> free;
  using Busy = std::pair<uint32_t, uint32_t>;  // until, register
  std::priority_queue<Busy, std::vector<Busy>, std::greater<>> busy;
  for (const uint32_t reg : order) {
    while (!busy.empty() && busy.top().first < ranges[reg].first) {
      const uint32_t ended = busy.top().second;
      free[units[ended]].push_back(allocation.unit_of[ended]);
      busy.pop();
    }
    std::vector<uint32_t>& places = free[units[reg]];
    if (places.empty()) {
      allocation.unit_of[reg] = allocation.units;
      allocation.units += units[reg];
    } else {
      allocation.unit_of[reg] = places.back();
      places.pop_back();
    }
    busy.emplace(ranges[reg].last, reg);
  }
  return allocation;
}

}  // namespace moe::ptx
