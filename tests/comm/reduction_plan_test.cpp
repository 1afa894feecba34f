// Exchanges in pairs: carried out for all ranks at once, they give the tree's sum on every one.
#include "comm/reduction_plan.h"

#include <gtest/gtest.h>

#include <bit>
#include <deque>
#include <map>

#include "tests/comm/tree_oracle.h"

namespace syncnorm::test {
namespace {

using Values = std::vector<float>;

/// All ranks of one exchange, and the messages under way between them.
class Exchange {
 public:
  Exchange(std::vector<Values> own, bool halving) : values_(std::move(own)) {
    const int ranks = static_cast<int>(values_.size());
    for (int r = 0; r < ranks; ++r)
      rounds_.push_back(exchange_rounds(r, ranks, values_[0].size(), halving));
    next_.resize(values_.size());
    sent_.resize(values_.size());
  }

  /// Every rank goes as far as it can, until none can; then all are done, or some wait forever.
  std::vector<Values> run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t r = 0; r < values_.size(); ++r)
        while (advance(r)) moved = true;
    }
    for (std::size_t r = 0; r < values_.size(); ++r)
      EXPECT_EQ(next_[r], rounds_[r].size()) << "rank " << r;
    for (const auto& [pair, messages] : under_way_) EXPECT_TRUE(messages.empty());
    return values_;
  }
  std::size_t most_rounds() const {
    std::size_t most = 0;
    for (const auto& own : rounds_) most = std::max(most, own.size());
    return most;
  }

 private:
  /// One round of a rank, if what it needs has arrived.
  bool advance(std::size_t rank) {
    if (next_[rank] == rounds_[rank].size()) return false;
    const ExchangeRound& round = rounds_[rank][next_[rank]];
    const auto peer = static_cast<std::size_t>(round.peer);
    Values& own = values_[rank];
    const auto at = [&own](std::size_t i) { return own.begin() + static_cast<std::ptrdiff_t>(i); };
    if (round.send_count > 0 && !sent_[rank])
      under_way_[{rank, peer}].emplace_back(at(round.send_begin),
                                            at(round.send_begin + round.send_count));
    sent_[rank] = true;
    if (round.receive_count > 0) {
      std::deque<Values>& messages = under_way_[{peer, rank}];
      if (messages.empty()) return false;
      EXPECT_EQ(messages.front().size(), round.receive_count);
      for (std::size_t i = 0; i < round.receive_count; ++i) {
        float& to = own[round.receive_begin + i];
        to = round.fold ? to + messages.front()[i] : messages.front()[i];
      }
      messages.pop_front();
    }
    sent_[rank] = false;
    ++next_[rank];
    return true;
  }

  std::vector<Values> values_;
  std::vector<std::vector<ExchangeRound>> rounds_;
  std::vector<std::size_t> next_;
  std::vector<char> sent_;
  std::map<std::pair<std::size_t, std::size_t>, std::deque<Values>> under_way_;
};

TEST(ExchangeRounds, WholeVectorsGiveTheTreesSumOnAnyNumberOfRanks) {
  for (int ranks = 2; ranks <= 70; ++ranks) {
    const auto own = order_sensitive_leaves<float>(ranks, 5, 3);
    for (const Values& sum : Exchange(own, false).run())
      ASSERT_TRUE(same_bits(sum, recursive_sum(own))) << ranks << " ranks";
  }
}

TEST(ExchangeRounds, HalvesGiveTheTreesSumOnPowersOfTwo) {
  for (const int ranks : {2, 4, 8, 16, 64})
    for (const std::size_t count : {64u, 101u}) {
      const auto own = order_sensitive_leaves<float>(ranks, count, 4);
      for (const Values& sum : Exchange(own, true).run())
        ASSERT_TRUE(same_bits(sum, recursive_sum(own))) << ranks << " ranks, " << count;
    }
}

TEST(ExchangeRounds, NoRankHasMoreThanTheLastSubtreeMakesItHave) {
  const auto most = [](int ranks) {
    return Exchange(std::vector<Values>(static_cast<std::size_t>(ranks), Values(1)), false)
        .most_rounds();
  };
  EXPECT_EQ(most(64), 6u);
  EXPECT_EQ(most(48), 4u + 2u);  // 32 ranks served by 16
  EXPECT_EQ(most(33), 32u);      // 32 by one
}

TEST(ReductionPlan, GoesInPairsWhereEveryRankHasASubtreeOfItsOwn) {
  const auto in_pairs = [](int leaves, int ranks, std::size_t count) {
    std::vector<Interval> blocks;
    for (int r = 0; r < ranks; ++r) blocks.push_back(Placement{leaves, ranks}.block(r));
    return ReductionPlan(blocks, 0, count, sizeof(double), ReductionAlgorithm::tree,
                         ReductionPlan::kLargeBytes)
        .in_pairs;
  };
  constexpr std::size_t kSmall = 64, kLarge = 1 << 20;
  EXPECT_TRUE(in_pairs(16, 16, kSmall));
  EXPECT_TRUE(in_pairs(16, 16, kLarge));
  EXPECT_TRUE(in_pairs(24, 24, kSmall));
  EXPECT_FALSE(in_pairs(24, 24, kLarge));  // sliced
  EXPECT_TRUE(in_pairs(48, 24, kSmall));   // two leaves, one subtree
  EXPECT_FALSE(in_pairs(72, 24, kSmall));  // three leaves are two subtrees
  EXPECT_FALSE(in_pairs(25, 24, kSmall));
}

}  // namespace
}  // namespace syncnorm::test
