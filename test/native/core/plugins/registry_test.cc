#include "core/plugins/registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "core/error.h"
#include "core/layer/layer.h"
#include "fakes/host_device.h"
#include "fakes/small_layer.h"

namespace moe::test {
namespace {

std::string cpu_unavailable_because;

const Plugin kCpu{kBuildId, "cpu", [] { return cpu_unavailable_because; },
                  [] {
                    return std::vector<DeviceInfo>{{0, "host", "loops", 1, 0, false, {}}};
                  },
                  [](int) -> std::unique_ptr<Device> { return std::make_unique<HostDevice>(); }};

std::string folder(const std::string& name) { return std::string(MOE_FAKE_PLUGINS) + "/" + name; }

FamilyStatus status_of(Registry& registry, const std::string& name) {
  for (FamilyStatus& status : registry.list())
    if (status.name == name) return status;
  ADD_FAILURE() << "no family " << name;
  return {};
}

template <class Body>
Error error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::kInternal, "");
}

// Sets a variable the fake plugin reads, for one scope.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Environment() { unsetenv(name_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
};

TEST(Registry, ListsAllFamiliesInTheOrderTheyAreTried) {
  Registry registry(kCpu, folder("plugins"));
  std::vector<std::string> names;
  for (const FamilyStatus& status : registry.list()) names.push_back(status.name);
  EXPECT_EQ(names, (std::vector<std::string>{"ascend", "cuda", "cpu"}));
}

TEST(Registry, SaysWhichPluginFileCouldNotBeOpened) {
  Registry registry(kCpu, folder("no-such-folder"));
  const FamilyStatus status = status_of(registry, "cuda");
  EXPECT_TRUE(status.devices.empty());
  EXPECT_NE(status.reason.find("no-such-folder/libmoe_cuda.so"), std::string::npos) << status.reason;
  const Error error = error_of([&] { registry.open("cuda", 0); });
  EXPECT_EQ(error.code(), ErrorCode::kDeviceUnavailable);
  EXPECT_NE(std::string(error.what()).find(status.reason), std::string::npos) << error.what();
}

TEST(Registry, LooksInTheFoldersThatWereAddedAfterItsOwn) {
  Registry registry(kCpu, folder("no-such-folder"));
  registry.add_plugin_folder(folder("empty"));
  const std::string reason = status_of(registry, "cuda").reason;
  EXPECT_NE(reason.find("no-such-folder/libmoe_cuda.so, no "), std::string::npos) << reason;
  EXPECT_NE(reason.find("empty/libmoe_cuda.so; the npm package node-moe-cuda-linux-"), std::string::npos) << reason;
  EXPECT_EQ(registry.plugin_path("cuda"), "");

  registry.add_plugin_folder(folder("plugins"));
  registry.add_plugin_folder(folder("plugins-no-symbol"));
  EXPECT_EQ(registry.plugin_path("cuda"), folder("plugins") + "/libmoe_cuda.so");
  EXPECT_EQ(status_of(registry, "cuda").devices.size(), 2u);
}

TEST(Registry, ServesTheBuiltInFamilyWithoutAPluginFolder) {
  Registry registry(kCpu, folder("no-such-folder"));
  EXPECT_EQ(status_of(registry, "cpu").devices.size(), 1u);
  EXPECT_NE(registry.open("cpu", 0), nullptr);
}

TEST(Registry, RefusesAPluginOfAnotherBuildAndNamesBoth) {
  Registry registry(kCpu, folder("plugins-other-build"));
  const std::string reason = status_of(registry, "cuda").reason;
  EXPECT_NE(reason.find("node-moe another build"), std::string::npos) << reason;
  EXPECT_NE(reason.find(kBuildId), std::string::npos) << reason;
}

TEST(Registry, RefusesALibraryWithoutThePluginSymbol) {
  Registry registry(kCpu, folder("plugins-no-symbol"));
  const std::string reason = status_of(registry, "cuda").reason;
  EXPECT_NE(reason.find("no symbol moe_plugin"), std::string::npos) << reason;
}

TEST(Registry, PassesOnWhyAFamilyCannotRunHere) {
  Registry registry(kCpu, folder("plugins"));
  {
    const Environment variable("MOE_FAKE_UNAVAILABLE", "no driver");
    EXPECT_EQ(status_of(registry, "cuda").reason, "no driver");
    EXPECT_TRUE(status_of(registry, "cuda").devices.empty());
    EXPECT_EQ(error_of([&] { registry.open("cuda", 0); }).code(), ErrorCode::kDeviceUnavailable);
  }
  EXPECT_EQ(status_of(registry, "cuda").reason, "");

  cpu_unavailable_because = "too old";
  EXPECT_EQ(status_of(registry, "cpu").reason, "too old");
  cpu_unavailable_because.clear();
}

TEST(Registry, OpensTheDevicesThereAreAndNoOthers) {
  Registry registry(kCpu, folder("plugins"));
  EXPECT_EQ(status_of(registry, "cuda").devices.size(), 2u);
  EXPECT_NE(registry.open("cuda", 1), nullptr);
  for (const int index : {2, -1}) {
    const Error error = error_of([&] { registry.open("cuda", index); });
    EXPECT_EQ(error.code(), ErrorCode::kDeviceUnavailable);
    EXPECT_EQ(std::string(error.what()), "Device `cuda:" + std::to_string(index) + "` does not exist: there are 2");
  }
}

TEST(FakePlugin, ComputesWhatTheHostComputes) {
  Registry registry(kCpu, folder("plugins"));
  const SmallLayer small;
  const auto cpu = registry.open("cpu", 0), cuda = registry.open("cuda", 0);
  EXPECT_EQ(small.forward(*cuda), small.forward(*cpu));
}

TEST(FakePlugin, ThrowsOurErrorsAcrossTheLibraryBorder) {
  Registry registry(kCpu, folder("plugins"));
  const SmallLayer small;
  {
    const Environment variable("MOE_FAKE_FAIL", "open");
    EXPECT_EQ(error_of([&] { registry.open("cuda", 0); }).code(), ErrorCode::kDevice);
  }
  const auto backend = registry.open("cuda", 0);
  for (const char* call : {"prepare_router", "prepare_experts", "prepare_shared", "allocate", "upload", "route", "plan",
                           "run", "run_shared", "combine", "download", "synchronize"}) {
    SCOPED_TRACE(call);
    const Environment variable("MOE_FAKE_FAIL", call);
    const Error error = error_of([&] { small.forward(*backend); });
    const bool allocates = std::string(call) == "allocate";
    EXPECT_EQ(error.code(), allocates ? ErrorCode::kOutOfMemory : ErrorCode::kDevice);
    EXPECT_EQ(std::string(error.what()),
              allocates ? "The fake device is out of memory" : std::string("The fake device failed in ") + call);
  }
  EXPECT_EQ(small.forward(*backend), small.forward(*backend)) << "works again once nothing fails";
}

}  // namespace
}  // namespace moe::test
