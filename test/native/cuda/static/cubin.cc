#include "cuda/static/cubin.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace moe::test {
namespace {

constexpr size_t kInstructionBytes = 16;

// A relative branch's distance, in instructions, counts from the next one. From sm_90 on the low 8 of its bits stand
// apart, in bits 16 to 23.
int distance_of(const uint8_t* instruction, int architecture) {
  uint64_t low, high;
  std::memcpy(&low, instruction, 8);
  std::memcpy(&high, instruction + 8, 8);
  const uint64_t raw = (low >> 34 | high << 30) & ((1ull << 48) - 1);  // bits 34 to 81
  const int64_t units = static_cast<int64_t>(raw << 16) >> 16;
  const int64_t bytes = architecture >= 90 ? 4 * (units << 8 | static_cast<int64_t>(low >> 16 & 255)) : 4 * units;
  return static_cast<int>(bytes / static_cast<int64_t>(kInstructionBytes));
}

// .nv.info is a list of attributes: a format, a kind, a size of 16 bits, and that many bytes. The register count's are
// a symbol's number and the count.
void read_register_counts(const std::vector<char>& bytes, const std::vector<Elf64_Shdr>& sections, size_t names,
                          std::map<std::string, MachineCode>& kernels) {
  constexpr uint8_t kSizedFormat = 4, kRegisterCount = 0x2f;
  const auto name_of = [&](const Elf64_Shdr& section) {
    return std::string(bytes.data() + sections[names].sh_offset + section.sh_name);
  };
  const auto find = [&](auto is_it) { return std::ranges::find_if(sections, is_it); };
  const auto info = find([&](const Elf64_Shdr& section) { return name_of(section) == ".nv.info"; });
  const auto symbols = find([](const Elf64_Shdr& section) { return section.sh_type == SHT_SYMTAB; });
  if (info == sections.end() || symbols == sections.end()) throw std::runtime_error("a cubin without .nv.info");
  for (size_t at = 0; at + 4 <= info->sh_size;) {
    const char* const attribute = bytes.data() + info->sh_offset + at;
    uint16_t size = 0;
    std::memcpy(&size, attribute + 2, 2);
    const bool sized = static_cast<uint8_t>(attribute[0]) == kSizedFormat;
    if (sized && static_cast<uint8_t>(attribute[1]) == kRegisterCount) {
      uint32_t numbers[2];
      std::memcpy(numbers, attribute + 4, sizeof numbers);
      Elf64_Sym symbol;
      std::memcpy(&symbol, bytes.data() + symbols->sh_offset + numbers[0] * sizeof symbol, sizeof symbol);
      const std::string name(bytes.data() + sections[symbols->sh_link].sh_offset + symbol.st_name);
      if (const auto kernel = kernels.find(name); kernel != kernels.end())
        kernel->second.registers = static_cast<int>(numbers[1]);
    }
    at += 4 + (sized ? size : 0);
  }
}

}  // namespace

int MachineCode::count(Sass opcode, int begin, int end) const {
  return static_cast<int>(std::count(opcodes.begin() + begin, opcodes.begin() + end, static_cast<uint16_t>(opcode)));
}

std::map<std::string, MachineCode> read_cubin(const std::string& path, int architecture) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto at = [&](uint64_t offset, void* to, size_t count) {
    if (offset + count > bytes.size()) throw std::runtime_error(path + " is no cubin");
    std::memcpy(to, bytes.data() + offset, count);
  };
  Elf64_Ehdr header;
  at(0, &header, sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) throw std::runtime_error(path + " is no cubin");
  std::vector<Elf64_Shdr> sections(header.e_shnum);
  for (size_t i = 0; i < sections.size(); ++i)
    at(header.e_shoff + i * header.e_shentsize, &sections[i], sizeof(Elf64_Shdr));
  std::map<std::string, MachineCode> kernels;
  for (const Elf64_Shdr& section : sections) {
    const std::string name(bytes.data() + sections[header.e_shstrndx].sh_offset + section.sh_name);
    if (name.rfind(".text.", 0) != 0) continue;
    MachineCode& code = kernels[name.substr(6)];
    for (uint64_t offset = 0; offset < section.sh_size; offset += kInstructionBytes) {
      uint8_t instruction[kInstructionBytes];
      at(section.sh_offset + offset, instruction, sizeof instruction);
      const auto opcode = static_cast<uint16_t>((instruction[0] | instruction[1] << 8) & 0xfff);
      const int index = static_cast<int>(code.opcodes.size());
      code.opcodes.push_back(opcode);
      code.branch_targets.push_back(
          opcode == static_cast<uint16_t>(Sass::kBra) ? index + 1 + distance_of(instruction, architecture) : -1);
    }
  }
  read_register_counts(bytes, sections, header.e_shstrndx, kernels);
  return kernels;
}

std::vector<Loop> hot_loops(const MachineCode& code) {
  std::vector<Loop> loops;
  for (int i = 0; i < static_cast<int>(code.opcodes.size()); ++i) {
    const int target = code.branch_targets[i];
    if (target < 0 || target >= i) continue;
    if (code.count(Sass::kHmma, target, i) + code.count(Sass::kImma, target, i) > 0) loops.push_back({target, i + 1});
  }
  std::vector<Loop> hot;
  for (const Loop& loop : loops)
    if (std::ranges::none_of(loops, [&](const Loop& other) {
          return other.begin >= loop.begin && other.end <= loop.end && other.size() < loop.size();
        }))
      hot.push_back(loop);
  return hot;
}

}  // namespace moe::test
