// Would a wrong kernel be noticed? Faults are put into the kernels' PTX one at a time; each must be caught by a fault
// of the emulated device or by a result that is not the CPU's.
#include <iostream>
#include <sstream>

#include "cuda/emulated/harness.h"
#include "cuda/emulated/mutation.h"

namespace moe::test {
namespace {

enum Batch { kFew, kSeveral, kTile, kInt4Few, kInt4Tile, kFloat32Tile, kCapacity, kV1, kTies, kLongPlan, kBatches };

struct Case {
  LayerOptions options;
  int64_t tokens;
};

Case case_of(Batch batch) {
  const LayerOptions base{
      .hidden = 232, .intermediate = 40, .experts = 3, .top_k = 2, .held = {WeightType::kBFloat16}, .biases = true};
  LayerOptions options = base;
  switch (batch) {
    case kFew:
      return {options, 3};
    case kSeveral:
      return {options, 20};
    case kTile:
      return {options, 75};
    case kInt4Few:
      options.held = {WeightType::kInt4, 32};
      return {options, 3};
    case kInt4Tile:
      options.held = {WeightType::kInt4, 32};
      return {options, 40};
    case kFloat32Tile:
      options.held = {WeightType::kFloat32, 0};
      return {options, 40};
    case kLongPlan:
      options.experts = 5;
      options.hidden = options.intermediate = 8;
      return {options, 700};
    default:
      options.experts = 6;
      options.hidden = options.intermediate = 16;
      return {options, 60};
  }
}

class SeededFaults : public testing::Test {
 protected:
  SeededFaults() : texts_(device().settings().ptx_folder) {}

  void SetUp() override {
    device().reset();
    device().limits().instructions = 3'000'000;  // a fault may never end
    for (int batch = 0; batch < kBatches; ++batch) {
      const Case test = case_of(static_cast<Batch>(batch));
      layers_.push_back(std::make_unique<RandomLayer>(test.options));
      RandomLayer& layer = *layers_.back();
      if (batch == kCapacity || batch == kV1) layer.spec.moe.capacity_factor = batch == kV1 ? 1.1 : 0.8;
      if (batch == kV1) layer.spec.moe.routing_policy = RoutingPolicy::kTopkRouterV1;
      hidden_.push_back(layer.hidden(test.tokens));
      if (batch == kTies) std::ranges::fill(hidden_.back(), 0.0f);
      expected_.push_back(forward_on_cpu(layer, hidden_.back()));
      device().replace_modules(texts_.texts());
      EXPECT_EQ(outcome(static_cast<Batch>(batch)), "") << "without a fault";
      for (const std::string& kernel : kernels_that_ran()) ran_[batch][kernel] = lines_that_ran(kernel);
    }
  }
  void TearDown() override {
    device().recover();
    device().reset();
    device().limits() = {.shared_bytes = device().limits().shared_bytes};
    device().replace_modules(texts_.texts());
  }

  static emulator::Device& device() { return emulator::Device::instance(); }

  std::vector<std::string> kernels_that_ran() {
    std::vector<std::string> names;
#define MOE_CUDA_NAME(name, Task) \
  if (device().counters(#name).blocks > 0) names.push_back(#name);
    MOE_CUDA_KERNELS(MOE_CUDA_NAME)
#undef MOE_CUDA_NAME
    return names;
  }

  std::set<int> lines_that_ran(const std::string& kernel) {
    const ptx::Kernel& code = device().code_of(kernel);
    const ptx::Counters counters = device().counters(kernel);
    std::set<int> lines;
    for (size_t i = 0; i < counters.executed.size(); ++i)
      if (counters.executed[i] > 0) lines.insert(code.code[i].line);
    return lines;
  }

  // What is wrong with the batch's result; empty where nothing is.
  std::string outcome(Batch batch) {
    std::string text;
    try {
      const LayerResult actual = forward_on_cuda(*layers_[batch], hidden_[batch]);
      const LayerResult& expected = expected_[batch];
      if (actual.experts != expected.experts)
        text = "other experts";
      else if (actual.load != expected.load || actual.totals.dropped_choices != expected.totals.dropped_choices)
        text = "other load";
      else if (!(difference(actual.weights, expected.weights) <= 1e-6))
        text = "other weights";
      else if (std::abs(actual.totals.aux_loss - expected.totals.aux_loss) > 1e-9)
        text = "another loss";
      else if (const double error = difference(actual.output, expected.output); !(error <= kTolerance))
        text = "output off by " + std::to_string(error);
    } catch (const std::exception& error) {
      text = error.what();
    }
    for (const std::string& line : device().report())
      if (line.rfind("fault: ", 0) == 0) text = line;
    device().recover();
    device().reset();
    return text;
  }

  std::string with_fault(Batch batch, const std::string& kernel, const Change& change, const std::vector<int>& lines) {
    try {
      device().replace_modules(texts_.changed(kernel, change, lines));
    } catch (const std::exception& error) {
      return error.what();
    }
    return outcome(batch);
  }

  KernelTexts texts_;
  std::vector<std::unique_ptr<RandomLayer>> layers_;
  std::vector<std::vector<float>> hidden_;
  std::vector<LayerResult> expected_;
  std::map<int, std::map<std::string, std::set<int>>> ran_;  // by batch and kernel: lines
};

constexpr int kEverywhere = -1;

struct SeededFault {
  const char* name;
  Batch batch;
  const char* kernel;
  Change change;
  int which;  // of the lines that match and run, or all
};

const SeededFault kFaults[] = {
    {"the main loop's barrier is dropped", kTile, "moe_up_tile_bfloat16", {R"(bar\.sync)", ""}, 0},
    {"the main loop's barrier is dropped (float32)", kFloat32Tile, "moe_up_tile_float32", {R"(bar\.sync)", ""}, 0},
    {"the wait lets one group more be under way",
     kTile,
     "moe_up_tile_bfloat16",
     {R"(wait_group 3)", "wait_group 4"},
     kEverywhere},
    {"the wait is dropped", kTile, "moe_down_tile_bfloat16", {R"(wait_group 3)", "wait_group 9"}, kEverywhere},
    {"a group of copies is not committed", kTile, "moe_up_tile_bfloat16", {R"(cp\.async\.commit_group)", ""}, 0},
    {"the second operand's registers are swapped",
     kTile,
     "moe_up_tile_bfloat16",
     {R"((mma\.sync.*\}, \{)(%r\d+), (%r\d+)(\}, \{%f))", "$1$3, $2$4"},
     kEverywhere},
    {"the first operand's registers are swapped",
     kTile,
     "moe_down_tile_bfloat16",
     {R"((mma\.sync.*\}, \{)(%r\d+), (%r\d+)(, %r\d+, %r\d+\}))", "$1$3, $2$4"},
     kEverywhere},
    {"one multiplication is missing", kTile, "moe_up_tile_bfloat16", {R"(mma\.sync)", ""}, 2},
    {"the second operand's registers are swapped (few rows)",
     kFew,
     "moe_up_few_bfloat16",
     {R"((mma\.sync.*\}, \{)(%r\d+), (%r\d+)(\}, \{%f))", "$1$3, $2$4"},
     kEverywhere},
    {"the row mask is off by one",
     kTile,
     "moe_up_tile_bfloat16",
     {R"((ld\.global\.u32\s+(%r\d+), \[%rd\d+\+8\];))", "$1 add.s32 $2, $2, 1;"},
     0},
    {"there is no row mask",
     kTile,
     "moe_down_tile_bfloat16",
     {R"((ld\.global\.u32\s+(%r\d+), \[%rd\d+\+8\];))", "$1 mov.u32 $2, 128;"},
     0},
    {"a tile's expert is always the first",
     kTile,
     "moe_up_tile_bfloat16",
     {R"((ld\.global\.s32\s+(%rd\d+), \[%rd\d+\];))", "$1 mov.u64 $2, 0;"},
     0},
    {"rows advance two packets at a time",
     kTile,
     "moe_up_tile_bfloat16",
     {R"(add\.s64(\s+%rd\d+, %rd\d+, )64;)", "add.s64$01128;"},
     kEverywhere},
    {"rows are gathered by slot, not by token",
     kTile,
     "moe_up_tile_bfloat16",
     {R"(div\.s32(\s+%r\d+, %r\d+), %r\d+;)", "mov.u32$1;"},
     1},
    {"pairs are stored the wrong way round",
     kTile,
     "moe_up_tile_bfloat16",
     {R"((cvt\.rn\.bf16x2\.f32 %r\d+), (%f\d+), (%f\d+);)", "$1, $3, $2;"},
     kEverywhere},
    {"pieces of a row lie on one another",
     kTile,
     "moe_up_tile_bfloat16",
     {R"((shl\.b32\s+%r\d+, %r\d+, )4;)", "$013;"},
     kEverywhere},
    {"padding reads beyond the row",
     kTile,
     "moe_round_bfloat16",
     {R"((setp\.ge\.s32\s+%p\d+, %r\d+, )%r8;)", "$01%r9;"},
     kEverywhere},
    {"the pair of a rounded row is swapped",
     kTile,
     "moe_round_bfloat16",
     {R"((cvt\.rn\.bf16x2\.f32 %r\d+), (%f\d+), (%f\d+);)", "$1, $3, $2;"},
     kEverywhere},
    {"the plan's counts have no barrier", kTile, "moe_plan_small", {R"(bar\.sync)", ""}, 1},
    {"two slots get one row", kTile, "moe_plan_small", {R"(popc\.b32(\s+%r\d+), %r\d+;)", "mov.u32$1, 0;"}, 0},
    {"chunks of the plan start one row late",
     kLongPlan,
     "moe_plan_scan",
     {R"(add\.s32(\s+%r\d+, %r\d+, )1;)", "add.s32$012;"},
     0},
    {"dropped choices are combined",
     kCapacity,
     "moe_combine",
     {R"((setp\.lt\.s32\s+%p\d+, %r\d+, )0;)", "$01-9;"},
     kEverywhere},
    {"a choice's weight is not applied",
     kTile,
     "moe_combine",
     {R"(fma\.rn\.f32(\s+%f\d+), %f\d+, (%f\d+), (%f\d+);)", "add.rn.f32$1, $2, $3;"},
     kEverywhere},
    {"ties go to the last expert",
     kTies,
     "moe_choose_v2",
     {R"(setp\.lt\.s32(\s+%p\d+, %r\d+, %r\d+;))", "setp.gt.s32$1"},
     kEverywhere},
    {"a shuffle goes down instead of across", kTile, "moe_choose_v2", {R"(shfl\.sync\.bfly)", "shfl.sync.down"}, 0},
    {"logits lose a term",
     kTile,
     "moe_router_many",
     {R"(fma\.rn\.f32(\s+%f\d+), (%f\d+), (%f\d+), %f\d+;)", "mul.rn.f32$1, $2, $3;"},
     3},
    {"the router's barrier is dropped", kTile, "moe_router_many", {R"(bar\.sync)", ""}, 0},
    {"half of a byte is shifted by 3",
     kInt4Tile,
     "moe_up_tile_int4",
     {R"((shr\.u32\s+%r\d+, %r\d+, )4;)", "$013;"},
     kEverywhere},
    {"a scale is another group's",
     kInt4Few,
     "moe_up_few_int4",
     {R"((ld\.global\.nc\.L1::no_allocate\.u32 %r\d+, \[%rd\d+)\];)", "$1+4];"},
     kEverywhere},
};

TEST_F(SeededFaults, AreAllCaught) {
  for (const SeededFault& fault : kFaults) {
    std::vector<int> lines = texts_.sites(fault.kernel, fault.change, ran_[fault.batch][fault.kernel]);
    EXPECT_FALSE(lines.empty()) << fault.name << ": nothing to change in " << fault.kernel;
    if (lines.empty()) continue;
    if (fault.which != kEverywhere) {
      EXPECT_LT(static_cast<size_t>(fault.which), lines.size()) << fault.name;
      lines = {lines[std::min<size_t>(fault.which, lines.size() - 1)]};
    }
    const std::string how = with_fault(fault.batch, fault.kernel, fault.change, lines);
    EXPECT_NE(how, "") << fault.name << " is not noticed";
    std::cout << fault.name << ": " << how.substr(0, 140) << "\n";
  }
}

// Changes that make sense anywhere. Not every one is a fault: a barrier may be one too many, a comparison at a bound
// that is never met. Most must be noticed all the same.
constexpr Change kOperators[] = {
    {R"(bar\.sync)", ""},
    {R"(st\.(global|shared))", ""},
    {R"(^(\s*)@%p)", "$1@!%p"},
    {R"(setp\.eq)", "setp.ne"},
    {R"(shfl\.sync\.bfly)", "shfl.sync.down"},
    {R"(fma\.rn\.f32(\s+%f\d+), (%f\d+), (%f\d+), %f\d+;)", "mul.rn.f32$1, $2, $3;"},
};

TEST_F(SeededFaults, MostChangesOfAnyLineAreNoticed) {
  int changes = 0, noticed = 0;
  std::ostringstream survivors;
  std::set<std::pair<std::string, const Change*>> done;
  for (const Batch batch : {kTile, kCapacity, kV1, kLongPlan})
    for (const auto& [kernel, lines] : ran_[batch])
      for (const Change& change : kOperators) {
        if (!done.emplace(kernel, &change).second) continue;
        const std::vector<int> sites = texts_.sites(kernel, change, lines);
        if (sites.empty()) continue;
        const int site = sites[(changes * 7919u) % sites.size()];
        ++changes;
        const std::string how = with_fault(batch, kernel, change, {site});
        if (!how.empty())
          ++noticed;
        else
          survivors << "  " << kernel << " line " << site << ": " << change.pattern << " -> " << change.replacement
                    << "\n";
      }
  std::cout << noticed << " of " << changes << " changes were noticed. Not noticed:\n" << survivors.str();
  EXPECT_GT(changes, 60);
  EXPECT_GE(noticed, changes * 8 / 10) << survivors.str();
}

}  // namespace
}  // namespace moe::test
