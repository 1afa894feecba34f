// See reduction_plan.h.
#include "comm/reduction_plan.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

namespace syncnorm {

namespace {

/// Adds the rounds of one level: between [begin, begin + bit) and the up to `bit` ranks after them.
void exchange_level(int rank, int ranks, int bit, std::size_t count,
                    std::vector<ExchangeRound>& rounds) {
  const int begin = rank - rank % (2 * bit);
  const int behind = std::min(ranks - begin - bit, bit);
  if (behind <= 0) return;
  const int place = rank % bit;
  if (rank < begin + bit) {
    const bool both_ways = place < behind;
    rounds.push_back({begin + bit + place % behind, 0, both_ways ? count : 0, 0, count, true});
    return;
  }
  // Ranks that only receive are served first, while the values are still this subtree's sum.
  for (int other = place + behind; other < bit; other += behind)
    rounds.push_back({begin + other, 0, count, 0, 0, true});
  rounds.push_back({begin + place, 0, count, 0, count, true});
}

}  // namespace

std::vector<ExchangeRound> exchange_rounds(int rank, int ranks, std::size_t count, bool halving) {
  std::vector<ExchangeRound> rounds;
  if (!halving) {
    for (int bit = 1; bit < ranks; bit *= 2) exchange_level(rank, ranks, bit, count, rounds);
    return rounds;
  }
  assert(std::has_single_bit(static_cast<unsigned>(ranks)));
  std::size_t begin = 0, end = count;
  for (int bit = 1; bit < ranks; bit *= 2) {
    const std::size_t middle = begin + (end - begin) / 2;
    const bool low = (rank & bit) == 0;
    ExchangeRound round{rank ^ bit, middle, end - middle, begin, middle - begin, true};
    if (!low) {
      std::swap(round.send_begin, round.receive_begin);
      std::swap(round.send_count, round.receive_count);
    }
    rounds.push_back(round);
    (low ? end : begin) = middle;
  }
  for (std::size_t r = rounds.size(); r-- > 0;) {
    const ExchangeRound& there = rounds[r];
    rounds.push_back({there.peer, there.receive_begin, there.receive_count, there.send_begin,
                      there.send_count, false});
  }
  return rounds;
}

namespace {

/// Returns true if ranks with these numbers of subtrees, added by `combine`, are the leaves of a
/// tree of ranks.
bool tree_of_ranks(const std::vector<int>& subtrees_of_rank, const FoldPlan& combine) {
  if (std::any_of(subtrees_of_rank.begin(), subtrees_of_rank.end(), [](int n) { return n != 1; }))
    return false;
  const int ranks = static_cast<int>(subtrees_of_rank.size());
  return combine.merges == tree_fold_leaves({0, ranks}, ranks).merges;
}

}  // namespace

ReductionPlan::ReductionPlan(const std::vector<Interval>& blocks, int rank, std::size_t count,
                             std::size_t bytes_per_value, ReductionAlgorithm algorithm,
                             std::size_t large_bytes) {
  const int leaves = blocks.back().end;
  const auto ranks = blocks.size();
  const Interval own = blocks[static_cast<std::size_t>(rank)];
  if (algorithm == ReductionAlgorithm::engine) {
    local = running_fold_leaves(own);
    return;
  }
  local = tree_fold_leaves(own, leaves);
  std::vector<Interval> all_subtrees;
  std::vector<int> subtrees_of_rank;
  for (const Interval& block : blocks) {
    const FoldPlan plan = tree_fold_leaves(block, leaves);
    all_subtrees.insert(all_subtrees.end(), plan.subtrees.begin(), plan.subtrees.end());
    subtrees_of_rank.push_back(static_cast<int>(plan.subtrees.size()));
  }
  combine = tree_fold(all_subtrees, leaves);
  assert(combine.subtrees.size() == 1);
  subtrees = static_cast<int>(all_subtrees.size());
  sliced = count * bytes_per_value > large_bytes && count >= ranks && ranks > 1;
  in_pairs = (!sliced || std::has_single_bit(ranks)) && tree_of_ranks(subtrees_of_rank, combine);
  if (!sliced) {
    for (const int n : subtrees_of_rank) gather_counts.push_back(n * static_cast<int>(count));
    return;
  }
  for (std::size_t r = 0; r < ranks; ++r) {
    const auto edge = [&](std::size_t i) { return count * i / ranks; };
    slice_counts.push_back(static_cast<int>(edge(r + 1) - edge(r)));
  }
  own_slice = slice_counts[static_cast<std::size_t>(rank)];
  const int own_subtrees = subtrees_of_rank[static_cast<std::size_t>(rank)];
  for (std::size_t r = 0; r < ranks; ++r) {
    send_counts.push_back(own_subtrees * slice_counts[r]);
    receive_counts.push_back(subtrees_of_rank[r] * own_slice);
  }
}

}  // namespace syncnorm
