// What ptxas made of every kernel for every architecture we ship machine code for. kernels.md beside this file holds
// it, so that a change is seen in review; MOE_UPDATE_TABLES=1 writes it anew.
#include <cuda_occupancy.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "cuda/kernel_shapes.h"
#include "cuda/static/cubin.h"

namespace moe::test {
namespace {

constexpr int kArchitectures[] = {80, 90};

struct Resources {
  MachineCode code;
  int stack = 0, spill_stores = 0, spill_loads = 0, registers = 0, shared = 0;  // as ptxas says
  int threads = 0;                                                              // .maxntid
};

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> names_of_files() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(MOE_PTX_FOLDER))
    if (entry.path().extension() == ".ptx") names.push_back(entry.path().stem());
  std::ranges::sort(names);
  return names;
}

// Both what the files hold and what ptxas said of them.
std::map<std::string, Resources> resources_for(int architecture) {
  std::map<std::string, Resources> all;
  for (const std::string& name : names_of_files()) {
    const std::string stem = std::string(MOE_CUBIN_FOLDER) + "/" + name + ".sm_" + std::to_string(architecture);
    for (const auto& [kernel, code] : read_cubin(stem + ".cubin", architecture)) all[kernel].code = code;
    const std::string log = text_of(stem + ".txt"), ptx = text_of(std::string(MOE_PTX_FOLDER) + "/" + name + ".ptx");
    const std::regex entry(
        R"(Compiling entry function '(\w+)'[\s\S]*?(\d+) bytes stack frame, (\d+) bytes spill stores, )"
        R"((\d+) bytes spill loads[\s\S]*?Used (\d+) registers([^\n]*))");
    const std::regex shared(R"((\d+) bytes smem)");
    for (std::sregex_iterator it(log.begin(), log.end(), entry), end; it != end; ++it) {
      Resources& kernel = all[(*it)[1]];
      kernel.stack = std::stoi((*it)[2]);
      kernel.spill_stores = std::stoi((*it)[3]);
      kernel.spill_loads = std::stoi((*it)[4]);
      kernel.registers = std::stoi((*it)[5]);
      const std::string rest = (*it)[6];
      std::smatch bytes;
      if (std::regex_search(rest, bytes, shared)) kernel.shared = std::stoi(bytes[1]);
    }
    for (auto& [kernel, resources] : all)
      if (const size_t entry = ptx.find(".entry " + kernel + "("); entry != std::string::npos)
        resources.threads = std::atoi(ptx.c_str() + ptx.find(".maxntid ", entry) + 9);
  }
  return all;
}

// What the host asks for beyond a kernel's own: 0 where it depends on the layer.
size_t dynamic_shared_bytes(const std::string& kernel) {
  for (const cuda::KernelMemory& memory : cuda::kernels_with_much_memory())
    if (kernel == memory.kernel->name) return memory.shared_bytes;
  return 0;
}

// A100 and H100, from the CUDA C++ Programming Guide's table of compute capabilities.
cudaOccDeviceProp device(int architecture) {
  cudaOccDeviceProp properties;
  properties.computeMajor = architecture / 10;
  properties.computeMinor = architecture % 10;
  properties.maxThreadsPerBlock = 1024;
  properties.maxThreadsPerMultiprocessor = 2048;
  properties.regsPerBlock = properties.regsPerMultiprocessor = 65536;
  properties.warpSize = 32;
  properties.sharedMemPerBlock = 48 * 1024;
  properties.sharedMemPerMultiprocessor = (architecture == 80 ? 164 : 228) * 1024;
  properties.numSms = architecture == 80 ? 108 : 132;
  properties.sharedMemPerBlockOptin = (architecture == 80 ? 163 : 227) * 1024;
  properties.reservedSharedMemPerBlock = 1024;
  return properties;
}

int blocks_per_multiprocessor(const std::string& name, const Resources& kernel, int architecture) {
  const cudaOccDeviceProp properties = device(architecture);
  cudaOccFuncAttributes attributes;
  attributes.maxThreadsPerBlock = kernel.threads;
  attributes.numRegs = kernel.code.registers;
  attributes.sharedSizeBytes = kernel.shared;
  attributes.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  attributes.maxDynamicSharedSizeBytes = properties.sharedMemPerBlockOptin - kernel.shared;
  const cudaOccDeviceState state;
  cudaOccResult result;
  if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &properties, &attributes, &state, kernel.threads,
                                              dynamic_shared_bytes(name)) != CUDA_OCC_SUCCESS)
    return -1;
  return result.activeBlocksPerMultiprocessor;
}

bool multiplies(const std::string& kernel) { return std::regex_search(kernel, std::regex("_(tile|few|several)_")); }
bool streams_tiles(const std::string& kernel) { return kernel.find("_tile_") != std::string::npos; }

std::string table(int architecture) {
  std::ostringstream text;
  text << "## sm_" << architecture << "\n\n"
       << "| kernel | threads | registers | spilled bytes | shared static + dynamic | blocks per SM | instructions | "
          "hot loops: "
          "instructions / HMMA / LDS / LDGSTS |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const auto& [name, kernel] : resources_for(architecture)) {
    text << "| " << name << " | " << kernel.threads << " | " << kernel.code.registers << " | "
         << kernel.spill_stores + kernel.spill_loads << " | " << kernel.shared << " + " << dynamic_shared_bytes(name)
         << " | " << blocks_per_multiprocessor(name, kernel, architecture) << " | " << kernel.code.opcodes.size()
         << " | ";
    const char* separator = "";
    for (const Loop& loop : hot_loops(kernel.code)) {
      const auto count = [&](Sass opcode) { return kernel.code.count(opcode, loop.begin, loop.end); };
      text << separator << loop.size() << " / " << count(Sass::kHmma) + count(Sass::kImma) << " / "
           << count(Sass::kLds) + count(Sass::kLdsm) << " / " << count(Sass::kLdgsts);
      separator = "; ";
    }
    text << " |\n";
  }
  return text.str() + "\n";
}

std::string whole_table() {
  std::string text =
      "# Kernels as ptxas compiles them\n\n"
      "Written by the test beside it (`npm run update:cuda-table`), compared by the same test. Blocks per SM by "
      "NVIDIA's\n"
      "`cuda_occupancy.h`, for A100 and H100. Compiler: " MOE_NVCC_VERSION ".\n\n";
  for (const int architecture : kArchitectures) text += table(architecture);
  text.pop_back();
  return text;
}

class Kernels : public testing::TestWithParam<int> {};

TEST_P(Kernels, AreAllThere) {
  const auto all = resources_for(GetParam());
  for (const cuda::KernelEntry& kernel : cuda::kernels::kAll) EXPECT_EQ(all.count(kernel.name), 1u) << kernel.name;
  EXPECT_EQ(all.size(), std::size(cuda::kernels::kAll));
}

// 1024 threads have 64 registers each, and this one, which runs once per batch, wants a few more.
constexpr const char* kMaySpill = "moe_place_v1";

TEST_P(Kernels, NeitherSpillNorUseLocalMemory) {
  for (const auto& [name, kernel] : resources_for(GetParam())) {
    if (name == kMaySpill) continue;
    EXPECT_EQ(kernel.spill_stores + kernel.spill_loads, 0) << name;
    EXPECT_EQ(kernel.stack, 0) << name;
    EXPECT_EQ(kernel.code.count(Sass::kLdl) + kernel.code.count(Sass::kStl), 0) << name;
  }
}

TEST_P(Kernels, HaveTheRegistersPtxasSaysAndFitTheirBlocks) {
  for (const auto& [name, kernel] : resources_for(GetParam())) {
    EXPECT_EQ(kernel.code.registers, kernel.registers) << name;
    EXPECT_GT(kernel.threads, 0) << name << " has no launch bounds";
    EXPECT_GE(blocks_per_multiprocessor(name, kernel, GetParam()),
              streams_tiles(name) && name.find("float32") == std::string::npos ? 2 : 1)
        << name;
    EXPECT_LE(kernel.shared + dynamic_shared_bytes(name), device(GetParam()).sharedMemPerBlockOptin) << name;
  }
}

TEST_P(Kernels, MultiplyOnTensorCoresInTheirHotLoops) {
  for (const auto& [name, kernel] : resources_for(GetParam())) {
    const std::vector<Loop> loops = hot_loops(kernel.code);
    EXPECT_EQ(!loops.empty(), multiplies(name)) << name;
    for (const Loop& loop : loops) {
      const auto count = [&](Sass opcode) { return kernel.code.count(opcode, loop.begin, loop.end); };
      EXPECT_GT(count(Sass::kHmma) + count(Sass::kImma), 0) << name;
      // Rows and weights come ahead of their use, past the registers.
      if (streams_tiles(name)) {
        EXPECT_GT(count(Sass::kLds) + count(Sass::kLdsm), 0) << name;
        EXPECT_EQ(count(Sass::kLdg), 0) << name;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Kernels, testing::ValuesIn(kArchitectures),
                         [](const auto& info) { return "sm_" + std::to_string(info.param); });

TEST(KernelTable, IsTheOneInTheRepository) {
  const std::string actual = whole_table(), path = MOE_KERNEL_TABLE;
  if (std::getenv("MOE_UPDATE_TABLES")) {
    std::ofstream(path) << actual;
    return;
  }
  const std::string expected = text_of(path);
  if (expected.find("Compiler: " MOE_NVCC_VERSION ".") == std::string::npos)
    GTEST_SKIP() << "the table is of another compiler than " MOE_NVCC_VERSION;
  EXPECT_EQ(actual, expected) << "the kernels changed: `npm run update:cuda-table`, and review the difference";
}

}  // namespace
}  // namespace moe::test
