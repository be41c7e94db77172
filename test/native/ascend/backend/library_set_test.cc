// Where CANN's libraries are looked for. Folders with copies of one of the simulator's
// stand for installations.
#include "ascend/library_set.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "ascend/cann_library.h"
#include "core/error.h"

namespace moe::ascend {
namespace {

namespace fs = std::filesystem;

class LibrarySetTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    installed_ = std::string(std::getenv("ASCEND_HOME_PATH")) + "/lib64";
  }
  void TearDown() override { fs::remove_all(folder_); }

  // A copy called `name` of the simulator's runtime, in a new folder. Returns its path.
  std::string put(const std::string& folder, const std::string& name) {
    const std::string newer = installed_ + "/libacl_rt.so";
    fs::create_directories(folder_ / folder);
    fs::copy_file(fs::exists(newer) ? newer : installed_ + "/libascendcl.so", folder_ / folder / name);
    return folder_ / folder / name;
  }
  std::string path(const std::string& name) const { return folder_ / name; }

 private:
  const fs::path folder_ = fs::path(testing::TempDir()) / ("moe-libraries-" + std::to_string(getpid()));
  std::string installed_;
};

std::string reason_of(const SearchPath& search) {
  try {
    open_cann(search);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDeviceUnavailable);
    return error.what();
  }
}

TEST_F(LibrarySetTest, TheHomeFolderComesFirst) {
  const std::string there = put("home/lib64", "libascendcl.so");
  LibrarySet libraries({.home = path("home"), .opp = "", .custom_opp = ""});
  ASSERT_TRUE(libraries.open("libascendcl.so"));
  EXPECT_EQ(libraries.opened(), std::vector{there});
  EXPECT_NE(libraries.find("aclInit"), nullptr);
  EXPECT_EQ(libraries.find("aclCreateCar"), nullptr);
}

TEST_F(LibrarySetTest, WhatIsNotThereIsAProblemThatNamesIt) {
  LibrarySet libraries({.home = path("home"), .opp = "", .custom_opp = ""});
  EXPECT_FALSE(libraries.open("libacl_of_nobody.so"));
  ASSERT_EQ(libraries.problems().size(), 1u);
  EXPECT_NE(libraries.problems()[0].find("libacl_of_nobody.so"), std::string::npos);
}

TEST_F(LibrarySetTest, StubsToLinkAgainstAreRefused) {
  for (const std::string folder : {"stub", "devlib"}) {
    put("home/lib64/" + folder, "libnnopbase.so");
    LibrarySet libraries({.home = path("unused"), .opp = "", .custom_opp = ""});
    // As LD_LIBRARY_PATH would lead to it.
    EXPECT_FALSE(libraries.open((path("home/lib64/" + folder) + "/libnnopbase.so").c_str()));
    ASSERT_EQ(libraries.problems().size(), 1u);
    EXPECT_NE(libraries.problems()[0].find("stub"), std::string::npos);
  }
}

TEST_F(LibrarySetTest, OperatorsOfOtherVendorsComeInTheOrderOfCann) {
  const std::string custom = put("custom/op_api/lib", "libcust_opapi.so");
  const std::string second = put("opp/vendors/second/op_api/lib", "libcust_opapi.so");
  const std::string first = put("opp/vendors/first/op_api/lib", "libcust_opapi.so");
  std::ofstream(path("opp/vendors/config.ini")) << "load_priority=first,absent,second\n";
  LibrarySet libraries({.home = "", .opp = path("opp"), .custom_opp = path("nowhere") + ":" + path("custom")});
  libraries.open_custom_operators();
  EXPECT_EQ(libraries.opened(), (std::vector{custom, first, second}));
}

TEST_F(LibrarySetTest, ALibraryThatLacksFunctionsIsNamedWithThem) {
  put("home/lib64", "libascendcl.so");
  const std::string wrong = put("home/lib64", "libnnopbase.so");
  const std::string reason = reason_of({.home = path("home"), .opp = "", .custom_opp = ""});
  EXPECT_NE(reason.find(wrong + " lacks aclCreateTensor, "), std::string::npos) << reason;
}

TEST(CannLibrary, KnowsItsSimulatorAndWhatItsReleaseLacks) {
  const CannLibrary& cann = cann_library();
  EXPECT_NE(cann.simulator, "");
  const bool is_8_1 = std::string(std::getenv("ASCEND_HOME_PATH")).ends_with("cann-8.1");
  EXPECT_EQ(static_cast<bool>(cann.operators.gating), !is_8_1);
  EXPECT_EQ(static_cast<bool>(cann.operators.init_routing_v3), !is_8_1);
  cann.require(cann.operators.grouped_matmul_v4);
  const cann::Operator<int> absent{"aclnnSortsHats", "12.0"};
  try {
    cann.require(absent);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDeviceUnavailable);
    EXPECT_NE(std::string(error.what()).find("aclnnSortsHats, which CANN 12.0 has"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace moe::ascend
