#include "core/ranks/placement.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/ranks/outgoing_rows.h"
#include "fakes/consecutive.h"

namespace moe::test {
namespace {

TEST(Placement, GivesTheFirstSetsOneMoreWhereTheyDoNotDivideTheExperts) {
  const Placement placement = consecutive(8, 3);
  EXPECT_EQ(placement.experts_of(0).size(), 3u);
  EXPECT_EQ(placement.experts_of(1).size(), 3u);
  EXPECT_EQ(placement.experts_of(2).size(), 2u);
  EXPECT_EQ(placement.home(5, 0).set, 1);
  EXPECT_EQ(placement.home(5, 0).local_expert, 2);
}

TEST(Placement, LetsReplicasTakeTurns) {
  const Placement placement(2, {{0}, {1, 0}, {0}});
  EXPECT_EQ(placement.home(0, 0).set, 0);
  EXPECT_EQ(placement.home(0, 1).set, 1);
  EXPECT_EQ(placement.home(0, 1).local_expert, 1);
  EXPECT_EQ(placement.home(0, 5).set, 2);
  EXPECT_EQ(placement.home(1, 5).set, 1);
}

TEST(Placement, RefusesWhatCannotServeEveryExpert) {
  for (const std::vector<std::vector<int32_t>>& experts :
       {std::vector<std::vector<int32_t>>{{0, 1}, {}}, {{0}, {0}}, {{0, 1, 1}, {0}}, {{0, 1}, {2}}, {{0, -1}, {1}}})
    try {
      const Placement placement(2, experts);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kConfig);
    }
}

TEST(OutgoingRows, SendsARowForEachTokenWhereThatIsFewerBytes) {
  const Placement placement = consecutive(4, 2);
  OutgoingRows rows;
  const std::vector<int32_t> experts{0, 1, 2, 3, 1, -1};  // three tokens of two choices
  rows.build(placement, experts, 2, 1, 1, 8);
  EXPECT_EQ(rows.count(0, 0).rows, 2);
  EXPECT_EQ(rows.count(0, 0).choices, 2);
  EXPECT_EQ(rows.count(0, 1).rows, 1);
  const std::vector<int32_t> tokens(rows.tokens_of(0, 0).begin(), rows.tokens_of(0, 0).end());
  EXPECT_EQ(tokens, (std::vector<int32_t>{0, 2}));
  const std::vector<int32_t> local(rows.experts_of(0, 0).begin(), rows.experts_of(0, 0).end());
  EXPECT_EQ(local, (std::vector<int32_t>{0, 1, 1, -1}));
  std::vector<int32_t> block_of_slot;
  rows.place_results(1, block_of_slot);
  EXPECT_EQ(block_of_slot, (std::vector<int32_t>{1, 1, 0, 0, 1, -1}));
}

// One number is as long as an expert's index: four tokens, of which one takes two experts there.
TEST(OutgoingRows, SendsARowForEachChoiceWhereThatIsFewerBytes) {
  const Placement placement = consecutive(4, 2);
  OutgoingRows rows;
  rows.build(placement, std::vector<int32_t>{0, 1, 0, 2, 1, 3, 0, 3}, 2, 1, 1, 1);
  EXPECT_EQ(rows.count(0, 0).rows, 5);
  EXPECT_EQ(rows.count(0, 0).choices, 1);
}

}  // namespace
}  // namespace moe::test
