#include "core/function_ref.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace moe {
namespace {

TEST(FunctionRef, CallsWhatItRefersToWithoutCopyingIt) {
  int calls = 0;
  auto counter = [&calls, held = std::make_unique<int>(5)](int x) mutable {
    ++calls;
    return (*held)++ + x;
  };
  const FunctionRef<int(int)> ref = counter;
  const FunctionRef<int(int)> copy = ref;
  EXPECT_EQ(ref(1), 6);
  EXPECT_EQ(copy(1), 7) << "the copy refers to the same object, not to the first reference";
  EXPECT_EQ(calls, 2);
}

TEST(FunctionRef, TakesConstCallablesAndTemporaries) {
  const auto constant = [](int x) { return x + 1; };
  EXPECT_EQ(FunctionRef<int(int)>(constant)(1), 2);
  const auto call = [](FunctionRef<std::string(std::string)> f) { return f("a"); };
  EXPECT_EQ(call([](std::string text) { return text + "b"; }), "ab");
}

TEST(FunctionRef, PassesReferencesAndMoveOnlyArguments) {
  const auto body = [](int& x, std::unique_ptr<int> y) { x += *y; };
  const FunctionRef<void(int&, std::unique_ptr<int>)> ref = body;
  int sum = 1;
  ref(sum, std::make_unique<int>(2));
  EXPECT_EQ(sum, 3);
}

TEST(FunctionRef, LetsExceptionsThrough) {
  const auto body = [] { throw 7; };
  const FunctionRef<void()> ref = body;
  EXPECT_THROW(ref(), int);
}

}  // namespace
}  // namespace moe
