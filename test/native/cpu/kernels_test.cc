#include "cpu/kernels.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "core/error.h"
#include "core/host/usable_cpus.h"
#include "cpu/device.h"
#include "cpu/machine_peak.h"

namespace moe::cpu {
namespace {

TEST(Kernels, AreTheBestSupportedSetUnlessForced) {
  const Kernels& best = *supported_kernels().front();
  EXPECT_EQ(&choose_kernels(nullptr), &best);
  EXPECT_EQ(&choose_kernels(""), &best);
  for (const Kernels* kernels : supported_kernels()) EXPECT_EQ(&choose_kernels(kernels->name), kernels);
}

TEST(Kernels, RefuseAnUnknownNameAndSayWhatThereIs) {
  try {
    choose_kernels("sse9");
    FAIL() << "sse9 was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDeviceUnavailable);
    const std::string message = error.what();
    EXPECT_NE(message.find("sse9"), std::string::npos) << message;
    for (const Kernels* kernels : supported_kernels()) EXPECT_NE(message.find(kernels->name), std::string::npos);
  }
}

TEST(Kernels, NameWhatStandsBesideThem) {
  const std::string choice = describe_choice();
  const PairKernels* const pairs = pair_kernels(choose_kernels());
  const DotKernels* const dots = dot_kernels(choose_kernels());
  const std::string name = choose_kernels().name;
  EXPECT_EQ(choice.find(name + " with "), pairs || dots ? 0 : std::string::npos) << choice;
  for (const char* each : {pairs ? pairs->name : "", dots ? dots->name : ""})
    EXPECT_NE(choice.substr(0, choice.find('(')).find(each), std::string::npos) << choice;
  EXPECT_EQ(choice.find("amx") != std::string::npos, dots && dots->name == std::string("avx512amx"));
}

TEST(Plugin, DescribesOneDevice) {
  EXPECT_STREQ(plugin().name, "cpu");
  EXPECT_EQ(plugin().why_unavailable(), "");
  const std::vector<DeviceInfo> devices = plugin().devices();
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_FALSE(devices[0].name.empty());
  EXPECT_NE(devices[0].kernels.find(choose_kernels().name), std::string::npos);
  EXPECT_EQ(devices[0].threads, usable_cpus());
  EXPECT_GT(devices[0].memory_bytes, 0u);
  EXPECT_NE(plugin().open(0), nullptr);
  EXPECT_THROW(plugin().open(1), Error);
}

TEST(Plugin, SaysWhyAForcedSetCannotBeUsed) {
  const char* const before = std::getenv("MOE_CPU_ISA");
  const std::string restored = before ? before : "";
  setenv("MOE_CPU_ISA", "sse9", 1);
  EXPECT_NE(plugin().why_unavailable().find("sse9"), std::string::npos);
  EXPECT_THROW(plugin().open(0), Error);
  setenv("MOE_CPU_ISA", restored.c_str(), 1);
  EXPECT_EQ(plugin().why_unavailable(), "");
}

TEST(MachinePeak, MeasuresBothRates) {
  const MachinePeak peak = measure_machine_peak(1, 0.02);
  EXPECT_EQ(peak.threads, 1);
  EXPECT_GT(peak.gflops, 0);
  EXPECT_LT(peak.gflops, 1e4);
  EXPECT_GT(peak.gigabytes_per_second, 0);
  EXPECT_LT(peak.gigabytes_per_second, 1e4);
}

}  // namespace
}  // namespace moe::cpu
