// A test program's main: it fails, too, where the emulated device reports a fault or a misuse of the runtime.
#include <gtest/gtest.h>

#include "cuda/runtime/device.h"

namespace {

class Report : public testing::Environment {
 public:
  void TearDown() override {
    for (const std::string& line : moe::emulator::Device::instance().report())
      if (line.rfind("leak: ", 0) != 0) ADD_FAILURE() << line;
  }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::AddGlobalTestEnvironment(new Report);  // GoogleTest owns it
  return RUN_ALL_TESTS();
}
