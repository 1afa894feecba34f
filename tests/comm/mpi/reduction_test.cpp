// Reductions over ranks: the bits of the recursive definition for every placement, small and
// sliced, in place, several in flight, in subgroups that straddle ranks; and the engine's own sums.
#include "comm/reduction.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/comm/mpi/world.h"
#include "tests/comm/tree_oracle.h"
#include "tests/kernels/counting_new.h"

namespace syncnorm::test {
namespace {

std::size_t to_size(int n) { return static_cast<std::size_t>(n); }

/// Folds the leaves of this rank as the plan says; what a step does before start().
template <class T>
std::vector<std::vector<T>> fold_own(const FoldPlan& plan,
                                     const std::vector<std::vector<T>>& leaves, Interval block,
                                     Combine combine) {
  std::vector<std::vector<T>> stack;
  for (int leaf = block.begin; leaf < block.end; ++leaf) {
    const auto input = to_size(leaf - block.begin);
    stack.push_back(leaves[to_size(leaf)]);
    for (int m = 0; m < plan.merges[input]; ++m) {
      combine_into(combine, stack[stack.size() - 2].data(), stack.back().data(),
                   stack.back().size());
      stack.pop_back();
    }
  }
  return stack;
}

/// How a reduction is made to go.
struct Way {
  const char* name;
  std::size_t large_bytes;
  int exchange_ranks;
};
constexpr std::size_t kNeverSliced = 1 << 30, kAlwaysSliced = 0;
constexpr int kNever = 1 << 30;
constexpr Way kWays[] = {{"gathered", kNeverSliced, kNever},
                         {"sliced", kAlwaysSliced, kNever},
                         {"exchanged", kNeverSliced, 2},
                         {"exchanged in halves", kAlwaysSliced, 2}};

/// One reduction with its buffers.
template <class T>
struct Job {
  std::unique_ptr<Reduction<T>> reduction;
  Interval block;
  std::vector<std::vector<T>> subtrees;
  std::vector<T> result;
  bool in_place = false;

  Job(Communicator& comm, const std::vector<Interval>& blocks, std::size_t count,
      ReductionAlgorithm algorithm, const Way& way, bool alias = false,
      Combine combine = Combine::sum)
      : reduction(std::make_unique<Reduction<T>>(comm, blocks, count, algorithm, "test", combine,
                                                 way.large_bytes, way.exchange_ranks)),
        block(blocks[to_size(comm.rank())]),
        result(count),
        in_place(alias) {}

  void start(const std::vector<std::vector<T>>& leaves) {
    subtrees = fold_own(reduction->local_plan(), leaves, block, reduction->combine());
    std::fill(result.begin(), result.end(), T{-77});
    restart();
  }
  void restart() {
    std::vector<const T*>& pointers = pointers_;
    pointers.resize(subtrees.size());
    for (std::size_t i = 0; i < subtrees.size(); ++i) pointers[i] = subtrees[i].data();
    reduction->start(pointers, destination());
  }
  T* destination() { return in_place && !subtrees.empty() ? subtrees[0].data() : result.data(); }
  std::vector<T> values() { return {destination(), destination() + result.size()}; }

 private:
  std::vector<const T*> pointers_;
};

template <class T>
class MpiReductionTest : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(MpiReductionTest, Types);

/// Whole placements, and random ones with empty blocks.
std::vector<std::vector<Interval>> placements(int leaves, int ranks, std::mt19937& engine) {
  std::vector<std::vector<Interval>> all;
  if (leaves >= ranks) {
    all.emplace_back();
    for (int r = 0; r < ranks; ++r) all.back().push_back(Placement{leaves, ranks}.block(r));
  }
  for (int i = 0; i < 4; ++i) all.push_back(random_blocks(leaves, ranks, engine));
  std::vector<Interval> last(to_size(ranks), Interval{0, 0});  // the last rank has everything
  last.back() = {0, leaves};
  all.push_back(last);
  return all;
}

TYPED_TEST(MpiReductionTest, AnyPlacementGivesTheBitsOfTheDefinition) {
  using T = TypeParam;
  std::mt19937 engine(7);  // the same on every rank
  for (const int leaves : {1, 2, 5, 8, 13, 16, 33})
    for (const auto& blocks : placements(leaves, world().size(), engine))
      for (const std::size_t count : {1u, 7u, 64u, 257u})
        for (const Way& way : kWays) {
          const auto values = order_sensitive_leaves<T>(leaves, count, 1);
          const auto expected = recursive_sum(values);
          for (const bool in_place : {false, true}) {
            Job<T> job(world(), blocks, count, ReductionAlgorithm::tree, way, in_place);
            job.start(values);
            job.reduction->wait();
            ASSERT_TRUE(same_bits(job.values(), expected))
                << leaves << " leaves, " << count << " values, " << way.name;
          }
        }
}

TYPED_TEST(MpiReductionTest, AReductionRunsManyTimes) {
  using T = TypeParam;
  const int ranks = world().size();
  std::vector<Interval> blocks;
  for (int r = 0; r < ranks; ++r) blocks.push_back(Placement{3 * ranks + 1, ranks}.block(r));
  for (const Way& way : kWays) {
    Job<T> job(world(), blocks, 100, ReductionAlgorithm::tree, way);
    for (unsigned turn = 0; turn < 20; ++turn) {
      const auto values = order_sensitive_leaves<T>(3 * ranks + 1, 100, turn);
      job.start(values);
      if (turn % 2 == 0) {
        while (!job.reduction->test()) {
        }
      }
      job.reduction->wait();
      ASSERT_TRUE(same_bits(job.values(), recursive_sum(values)));
    }
  }
}

TYPED_TEST(MpiReductionTest, SeveralAreInFlightAndWaitedForInAnotherOrder) {
  using T = TypeParam;
  std::mt19937 engine(3);
  const std::size_t counts[] = {5, 300, 1, 64, 1000, 33};
  for (int turn = 0; turn < 6; ++turn) {
    std::vector<Job<T>> jobs;
    std::vector<std::vector<T>> expected;
    for (const std::size_t count : counts) {
      const auto blocks = random_blocks(9, world().size(), engine);
      const auto values = order_sensitive_leaves<T>(9, count, static_cast<unsigned>(turn));
      expected.push_back(recursive_sum(values));
      const Way mixed = {"small gathered, large sliced", 512, turn % 2 == 0 ? kNever : 2};
      jobs.emplace_back(world(), blocks, count, ReductionAlgorithm::tree, mixed);
    }
    for (std::size_t i = 0; i < jobs.size(); ++i)
      jobs[i].start(order_sensitive_leaves<T>(9, counts[i], static_cast<unsigned>(turn)));
    std::vector<std::size_t> order = {0, 1, 2, 3, 4, 5};
    std::shuffle(order.begin(), order.end(), engine);
    for (const std::size_t i : order) jobs[i].reduction->wait();
    for (std::size_t i = 0; i < jobs.size(); ++i)
      ASSERT_TRUE(same_bits(jobs[i].values(), expected[i])) << "job " << i;
  }
}

// What was started in one order may even be waited for in another order on every rank, when all is
// gathered.
TYPED_TEST(MpiReductionTest, GatheredOnesMayBeWaitedForInEachRanksOwnOrder) {
  using T = TypeParam;
  const int ranks = world().size();
  std::vector<Interval> blocks;
  for (int r = 0; r < ranks; ++r) blocks.push_back(Placement{2 * ranks, ranks}.block(r));
  const auto values = order_sensitive_leaves<T>(2 * ranks, 50, 5);
  std::vector<Job<T>> jobs;
  for (int i = 0; i < 5; ++i)
    jobs.emplace_back(world(), blocks, 50u, ReductionAlgorithm::tree, kWays[0]);
  for (auto& job : jobs) job.start(values);
  for (int i = 0; i < 5; ++i) jobs[to_size((i + world().rank()) % 5)].reduction->wait();
  for (auto& job : jobs) EXPECT_TRUE(same_bits(job.values(), recursive_sum(values)));
}

// synced_replicas = k: group g is replicas [g·k, (g+1)·k), wherever they live. A rank may be in
// several groups at once, and all their reductions are in flight together.
TYPED_TEST(MpiReductionTest, GroupsThatStraddleRanks) {
  using T = TypeParam;
  const int ranks = world().size(), own = world().rank();
  for (const int k : {1, 2, 3, 5}) {
    const int groups = (ranks + k - 1) / k + 2, replicas = groups * k;
    const Placement placement{replicas, ranks};
    for (const Way& way : kWays) {
      std::vector<std::unique_ptr<Communicator>> comms;
      std::vector<Job<T>> jobs;
      std::vector<std::vector<T>> expected;
      for (int g = 0; g < groups; ++g) {
        const Interval members{g * k, (g + 1) * k};
        Interval hosts{ranks, 0};
        std::vector<Interval> blocks;
        for (int r = 0; r < ranks; ++r) {
          const Interval block = placement.block(r);
          const Interval part{std::max(block.begin, members.begin) - members.begin,
                              std::min(block.end, members.end) - members.begin};
          if (part.empty()) continue;
          hosts = {std::min(hosts.begin, r), r + 1};
          blocks.push_back(part);
        }
        if (own < hosts.begin || own >= hosts.end) continue;
        comms.push_back(world().subgroup(hosts));
        const auto values = order_sensitive_leaves<T>(k, 40, static_cast<unsigned>(g));
        jobs.emplace_back(*comms.back(), blocks, 40u, ReductionAlgorithm::tree, way);
        expected.push_back(recursive_sum(values));
        jobs.back().start(values);
      }
      for (std::size_t i = 0; i < jobs.size(); ++i) {
        jobs[i].reduction->wait();
        ASSERT_TRUE(same_bits(jobs[i].values(), expected[i])) << "k " << k << " group " << i;
      }
      jobs.clear();
    }
  }
}

TYPED_TEST(MpiReductionTest, TheMaximumIsThatOfAllLeavesEvenWithEmptyBlocks) {
  using T = TypeParam;
  std::mt19937 engine(19);
  const std::size_t count = 70;
  for (const int leaves : {1, 5, 8, 13})
    for (const auto& blocks : placements(leaves, world().size(), engine)) {
      auto values = order_sensitive_leaves<T>(leaves, count, 4);
      std::vector<T> expected(count);
      for (auto& leaf : values)
        for (std::size_t i = 0; i < count; ++i) {
          leaf[i] = std::abs(leaf[i]);
          expected[i] = std::max(expected[i], leaf[i]);
        }
      for (const Way& way : kWays) {
        Job<T> job(world(), blocks, count, ReductionAlgorithm::tree, way, false, Combine::max);
        job.start(values);
        job.reduction->wait();
        ASSERT_EQ(job.values(), expected) << leaves << " leaves";
      }
      Job<T> own(world(), blocks, count, ReductionAlgorithm::engine, kWays[0], false, Combine::max);
      own.subtrees.clear();
      if (!own.block.empty()) {
        own.subtrees.push_back(values[to_size(own.block.begin)]);
        for (int leaf = own.block.begin; leaf < own.block.end; ++leaf)
          combine_into(Combine::max, own.subtrees[0].data(), values[to_size(leaf)].data(), count);
      }
      own.restart();
      own.reduction->wait();
      ASSERT_EQ(own.values(), expected) << leaves << " leaves";
    }
}

TYPED_TEST(MpiReductionTest, TheEngineSumsIntegersExactly) {
  using T = TypeParam;
  std::mt19937 engine(11);
  for (const int leaves : {1, 4, 9, 17})
    for (const auto& blocks : placements(leaves, world().size(), engine))
      for (const std::size_t count : {1u, 100u, 20000u})
        for (const bool in_place : {false, true}) {
          std::vector<std::vector<T>> values(to_size(leaves), std::vector<T>(count));
          std::vector<T> expected(count);
          for (std::size_t leaf = 0; leaf < values.size(); ++leaf)
            for (std::size_t i = 0; i < count; ++i) {
              values[leaf][i] = static_cast<T>((leaf * 31 + i * 7) % 1001) - T{500};
              expected[i] += values[leaf][i];
            }
          Job<T> job(world(), blocks, count, ReductionAlgorithm::engine, kWays[0], in_place);
          job.subtrees.clear();
          if (!job.block.empty()) {
            job.subtrees.assign(1, std::vector<T>(count));
            for (int leaf = job.block.begin; leaf < job.block.end; ++leaf)
              combine_into(Combine::sum, job.subtrees[0].data(), values[to_size(leaf)].data(),
                           count);
          }
          job.restart();
          job.reduction->wait();
          ASSERT_EQ(job.values(), expected);
        }
}

TYPED_TEST(MpiReductionTest, SaysHowMuchItSends) {
  using T = TypeParam;
  const int ranks = world().size();
  std::vector<Interval> blocks;
  for (int r = 0; r < ranks; ++r) blocks.push_back({2 * r, 2 * r + 2});
  const Reduction<T> small(world(), blocks, 1000, ReductionAlgorithm::tree, "s", Combine::sum,
                           kNeverSliced, kNever);
  const Reduction<T> own(world(), blocks, 1000, ReductionAlgorithm::engine, "e");
  EXPECT_EQ(small.communicates(), ranks > 1);
  EXPECT_EQ(small.values_sent(), ranks > 1 ? 1000u : 0u);
  EXPECT_EQ(own.values_sent(), ranks > 1 ? 1000u : 0u);
  const Reduction<T> exchanged(world(), blocks, 1000, ReductionAlgorithm::tree, "x", Combine::sum,
                               kNeverSliced, 2);
  std::size_t expected = 0;
  if (world().exchanges())
    for (const ExchangeRound& round : exchange_rounds(world().rank(), ranks, 1000, false))
      expected += round.send_count;
  else
    expected = small.values_sent();
  EXPECT_EQ(exchanged.values_sent(), expected);
  const Reduction<T> sliced(world(), blocks, 1000, ReductionAlgorithm::tree, "l", Combine::sum,
                            kAlwaysSliced, kNever);
  if (ranks > 1) {
    EXPECT_NEAR(static_cast<double>(sliced.values_sent()), 1000.0 + 1000.0 / ranks, 1.0);
  }
}

TEST(MpiReduction, AllocatesNothingAfterItsFirstRun) {
  if (std::getenv("SYNCNORM_TEST_COMMUNICATOR") != nullptr)
    GTEST_SKIP() << "the way to a device and back allocates";
  EXPECT_EQ(allocations_in(allocate_visibly), 1);
  const int ranks = world().size();
  std::mt19937 engine(5);
  for (const auto& blocks : placements(3 * ranks + 1, ranks, engine))
    for (const Way& way : kWays)
      for (const auto algorithm : {ReductionAlgorithm::tree, ReductionAlgorithm::engine}) {
        Job<float> job(world(), blocks, 100, algorithm, way);
        const std::size_t subtrees = job.reduction->local_plan().subtrees.size();
        job.subtrees.assign(subtrees, std::vector<float>(100, 1.0f));
        for (int i = 0; i < 2; ++i) {
          job.restart();
          job.reduction->wait();
        }
        const int made = allocations_in([&] {
          job.restart();
          job.reduction->wait();
        });
        EXPECT_EQ(made, 0) << subtrees << " subtrees, " << way.name;
      }
}

}  // namespace
}  // namespace syncnorm::test
