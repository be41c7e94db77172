// Every seeded fault is caught with its sentence, and the right use beside it breaks no rule.
#include "fault_table.h"

namespace ascend_sim {
namespace {

std::vector<SeededFault> all_faults() {
  std::vector<SeededFault> all;
  for (const auto& part : {runtime_faults(), tensor_faults(), operator_faults()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

class SeededFaults : public testing::TestWithParam<SeededFault> {};

TEST_P(SeededFaults, IsCaught) {
  Lab lab(GetParam().soc);
  GetParam().use(lab, true);
  aclrtSynchronizeStream(lab.stream);
  EXPECT_NE(joined(broken_rules()).find(GetParam().sentence), std::string::npos) << joined(broken_rules());
}

TEST_P(SeededFaults, RightUsePasses) {
  const std::string before = ascend_sim_leaks();
  {
    Lab lab(GetParam().soc);
    GetParam().use(lab, false);
    expect(aclrtSynchronizeStream(lab.stream));
  }
  EXPECT_EQ(joined(broken_rules()), "");
  EXPECT_EQ(ascend_sim_leaks(), before);
}

INSTANTIATE_TEST_SUITE_P(All, SeededFaults, testing::ValuesIn(all_faults()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ascend_sim
