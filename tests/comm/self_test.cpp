// The communicator of one rank, reductions over it, and waiting with a deadline.
#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/communicator.h"
#include "comm/reduction.h"
#include "tests/comm/tree_oracle.h"

namespace syncnorm::test {
namespace {

TEST(SelfCommunicator, IsAGroupOfOne) {
  const auto comm = make_self_communicator();
  EXPECT_EQ(comm->rank(), 0);
  EXPECT_EQ(comm->size(), 1);
  EXPECT_EQ(comm->description(), "self");
  EXPECT_EQ(comm->all_gather_text("alone"), std::vector<std::string>{"alone"});
  const auto group = comm->subgroup({0, 1});
  EXPECT_EQ(group->size(), 1);
}

TEST(SelfCommunicator, CollectivesAreCopies) {
  const auto comm = make_self_communicator();
  const auto request = comm->make_request();
  const std::vector<double> send = {1.0, 2.0, 3.0};
  const std::vector<int> counts = {3};
  std::vector<double> gathered(3), exchanged(3), reduced(3);
  comm->start_all_gather<double>(*request, send, gathered, counts);
  EXPECT_TRUE(comm->test(*request));
  comm->wait(*request, "a gather");
  comm->start_all_to_all<double>(*request, send, counts, exchanged, counts);
  comm->wait(*request, "an exchange");
  comm->start_all_reduce<double>(*request, send, reduced);
  comm->wait(*request, "a sum");
  EXPECT_EQ(gathered, send);
  EXPECT_EQ(exchanged, send);
  EXPECT_EQ(reduced, send);
  comm->start_all_reduce<double>(*request, reduced, reduced);  // in place
  EXPECT_EQ(reduced, send);
}

TEST(SelfCommunicator, CollectivesAreCopiesOfTheGivenKind) {
  std::vector<std::size_t> copies;
  const auto comm = make_self_communicator([&](void*, const void*, std::size_t bytes) {
    copies.push_back(bytes);  // queued, and not made yet
  });
  const auto group = comm->subgroup({0, 1});
  const auto request = group->make_request();
  const std::vector<double> send = {1.0, 2.0, 3.0};
  const std::vector<int> counts = {3};
  std::vector<double> received(3);
  group->start_all_gather<double>(*request, send, received, counts);
  group->start_all_to_all<double>(*request, send, counts, received, counts);
  group->start_all_reduce<double>(*request, send, received);
  group->start_all_reduce<double>(*request, received, received);  // in place
  EXPECT_EQ(copies, std::vector<std::size_t>(3, 24));
  EXPECT_EQ(received, std::vector<double>(3, 0.0));
}

template <class T>
class SelfReductionTest : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(SelfReductionTest, Types);

TYPED_TEST(SelfReductionTest, TheFoldOfAllLeavesIsTheResult) {
  using T = TypeParam;
  const auto comm = make_self_communicator();
  for (const auto algorithm : {ReductionAlgorithm::tree, ReductionAlgorithm::engine})
    for (const int leaves : {1, 2, 5, 8})
      for (const bool in_place : {false, true}) {
        Reduction<T> reduction(*comm, {{0, leaves}}, 9, algorithm, "test");
        EXPECT_FALSE(reduction.communicates());
        EXPECT_EQ(reduction.values_sent(), 0u);
        EXPECT_EQ(reduction.count(), 9u);
        ASSERT_EQ(reduction.local_plan().subtrees, (std::vector<Interval>{{0, leaves}}));
        std::vector<T> subtree = order_sensitive_leaves<T>(1, 9, 1)[0];
        const std::vector<T> expected = subtree;
        std::vector<T> result(9);
        T* const out = in_place ? subtree.data() : result.data();
        const std::vector<const T*> subtrees = {subtree.data()};
        reduction.start(subtrees, out);
        EXPECT_TRUE(reduction.test());
        reduction.wait();
        EXPECT_TRUE(same_bits(std::vector<T>(out, out + 9), expected));
        EXPECT_TRUE(same_bits(subtree, expected));
      }
}

/// A communicator whose requests never complete: the peer is gone.
class DeafCommunicator final : public Communicator {
 public:
  int rank() const override { return 3; }
  int size() const override { return 5; }
  std::string description() const override { return "deaf"; }
  std::unique_ptr<Communicator> subgroup(Interval) override { return nullptr; }
  std::unique_ptr<Request> make_request() override { return std::make_unique<Request>(); }
  bool test(Request&) override { return ++tests_ > complete_after_; }
  std::vector<std::string> all_gather_text(const std::string& text) override { return {text}; }
  [[noreturn]] void abort(int exit_code) override { std::_Exit(exit_code); }
  void complete_after(long tests) { complete_after_ = tests; }

 private:
  void do_all_gather(Request&, const void*, void*, std::span<const int>, DataType) override {}
  void do_all_to_all(Request&, const void*, std::span<const int>, void*, std::span<const int>,
                     DataType) override {}
  void do_all_reduce(Request&, const void*, void*, int, DataType, Combine) override {}
  long tests_ = 0, complete_after_ = 1L << 60;
};

TEST(Wait, PastTheDeadlineAPeerIsLost) {
  DeafCommunicator comm;
  comm.set_deadline(0.05);
  const auto request = comm.make_request();
  try {
    comm.wait(*request, "layer1.bn1 statistics");
    FAIL() << "it returned";
  } catch (const PeerLostError& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::peer_lost);
    const std::string what = error.what();
    EXPECT_NE(what.find("layer1.bn1 statistics"), std::string::npos) << what;
    EXPECT_NE(what.find("rank 3"), std::string::npos) << what;
  }
}

TEST(Wait, ReturnsWhenTheRequestCompletes) {
  DeafCommunicator comm;
  comm.set_deadline(30.0);
  const auto request = comm.make_request();
  for (const long tests : {0L, 1L, 1000L, 10000L}) {
    comm.complete_after(tests);
    comm.wait(*request, "a late sum");
  }
  SUCCEED();
}

// A reduction names itself, and stays in flight: it can be waited for again.
TEST(Wait, AReductionNamesItself) {
  DeafCommunicator comm;
  comm.set_deadline(0.02);
  std::vector<Interval> blocks;
  for (int r = 0; r < 5; ++r) blocks.push_back({r, r + 1});
  Reduction<float> reduction(comm, blocks, 2, ReductionAlgorithm::tree, "bucket 7");
  EXPECT_TRUE(reduction.communicates());
  EXPECT_EQ(reduction.values_sent(), 2u);
  const std::vector<float> subtree = {1.0f, 2.0f};
  const std::vector<const float*> subtrees = {subtree.data()};
  std::vector<float> result(2);
  reduction.start(subtrees, result.data());
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(reduction.test());
    try {
      reduction.wait();
      FAIL() << "it returned";
    } catch (const PeerLostError& error) {
      EXPECT_NE(std::string(error.what()).find("bucket 7"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace syncnorm::test
