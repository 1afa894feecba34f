// A communicator's collectives, with inputs whose results are exactly predictable, and what
// it does when a peer stays away.
#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>

#include "base/error.h"
#include "comm/observed.h"
#include "tests/comm/mpi/world.h"

namespace syncnorm::test {
namespace {

std::size_t to_size(int n) { return static_cast<std::size_t>(n); }

TEST(MpiCommunicator, KnowsItself) {
  EXPECT_GE(world().rank(), 0);
  EXPECT_LT(world().rank(), world().size());
  EXPECT_NE(world().description().find("mpi (Open MPI "), std::string::npos)
      << world().description();
}

TEST(MpiCommunicator, GathersTextsOfDifferentLengths) {
  const auto text_of = [](int rank) {
    if (rank % 3 == 1) return std::string();
    return std::string(to_size(rank * rank * 50 + 1), static_cast<char>('a' + rank)) + '\0' + "\n";
  };
  for (int turn = 0; turn < 3; ++turn) {
    const auto texts = world().all_gather_text(text_of(world().rank() + turn));
    ASSERT_EQ(texts.size(), to_size(world().size()));
    for (int r = 0; r < world().size(); ++r) EXPECT_EQ(texts[to_size(r)], text_of(r + turn));
  }
  for (const std::string& text : world().all_gather_text("")) EXPECT_EQ(text, "");
}

/// Value i of what rank `from` sends to rank `to`: different for all, exact in f32.
template <class T>
T value_of(int from, int to, std::size_t i) {
  return static_cast<T>(from * 10007 + to * 101 + static_cast<int>(i % 97));
}

template <class T>
class MpiCollectivesTest : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(MpiCollectivesTest, Types);

TYPED_TEST(MpiCollectivesTest, AllGatherKeepsRankOrder) {
  using T = TypeParam;
  const int ranks = world().size(), own = world().rank();
  const auto request = world().make_request();
  for (const int unit : {0, 1, 7, 5000}) {
    std::vector<int> counts;
    for (int r = 0; r < ranks; ++r) counts.push_back(unit * (r % 3));  // some send nothing
    std::vector<T> send(to_size(counts[to_size(own)]));
    for (std::size_t i = 0; i < send.size(); ++i) send[i] = value_of<T>(own, 0, i);
    std::vector<T> receive(to_size(std::accumulate(counts.begin(), counts.end(), 0)));
    world().start_all_gather<T>(*request, send, receive, counts);
    world().wait(*request, "all-gather");
    EXPECT_TRUE(world().test(*request));  // complete requests stay complete
    std::size_t at = 0;
    for (int r = 0; r < ranks; ++r)
      for (std::size_t i = 0; i < to_size(counts[to_size(r)]); ++i)
        ASSERT_EQ(receive[at++], value_of<T>(r, 0, i));
  }
}

TYPED_TEST(MpiCollectivesTest, AllToAllDeliversEachPart) {
  using T = TypeParam;
  const int ranks = world().size(), own = world().rank();
  const auto count = [](int from, int to) { return (from * 3 + to * 5) % 7 * 11; };
  std::vector<int> send_counts, receive_counts;
  std::vector<T> send;
  for (int r = 0; r < ranks; ++r) {
    send_counts.push_back(count(own, r));
    receive_counts.push_back(count(r, own));
    for (std::size_t i = 0; i < to_size(count(own, r)); ++i) send.push_back(value_of<T>(own, r, i));
  }
  std::vector<T> receive(to_size(std::accumulate(receive_counts.begin(), receive_counts.end(), 0)));
  const auto request = world().make_request();
  for (int turn = 0; turn < 3; ++turn) {
    std::fill(receive.begin(), receive.end(), T{-1});
    world().start_all_to_all<T>(*request, send, send_counts, receive, receive_counts);
    world().wait(*request, "all-to-all");
    std::size_t at = 0;
    for (int r = 0; r < ranks; ++r)
      for (std::size_t i = 0; i < to_size(count(r, own)); ++i)
        ASSERT_EQ(receive[at++], value_of<T>(r, own, i));
  }
}

TYPED_TEST(MpiCollectivesTest, AllReduceSumsExactlyInPlaceOrNot) {
  using T = TypeParam;
  const int ranks = world().size(), own = world().rank();
  const auto request = world().make_request();
  for (const std::size_t count : {1u, 2u, 1000u, 70001u})
    for (const bool in_place : {false, true}) {
      std::vector<T> send(count), receive(count);
      for (std::size_t i = 0; i < count; ++i) send[i] = value_of<T>(own, 0, i);
      T* const out = in_place ? send.data() : receive.data();
      world().start_all_reduce<T>(*request, send, {out, count});
      world().wait(*request, "all-reduce");
      for (std::size_t i = 0; i < count; ++i) {
        T expected = 0;
        for (int r = 0; r < ranks; ++r) expected += value_of<T>(r, 0, i);
        ASSERT_EQ(out[i], expected);
      }
    }
}

TEST(MpiCommunicator, SubgroupsCountTheirOwnRanks) {
  const int ranks = world().size(), own = world().rank();
  for (int begin = 0; begin < ranks; ++begin)
    for (int end = begin + 1; end <= ranks; ++end) {
      if (own < begin || own >= end) continue;
      const auto group = world().subgroup({begin, end});
      EXPECT_EQ(group->rank(), own - begin);
      EXPECT_EQ(group->size(), end - begin);
      EXPECT_EQ(group->deadline(), world().deadline());
      const auto texts = group->all_gather_text(std::to_string(own));
      for (int r = 0; r < group->size(); ++r)
        EXPECT_EQ(texts[to_size(r)], std::to_string(begin + r));
    }
}

// Rank 0 stays away until the others have given up; then it takes part, so that all end cleanly.
TEST(MpiCommunicator, APeerThatStaysAwayIsLostAfterTheDeadline) {
  if (world().size() == 1) GTEST_SKIP() << "needs a peer";
  if (std::getenv("SYNCNORM_TEST_COMMUNICATOR") != nullptr)
    GTEST_SKIP() << "a queue cannot be left while a peer stays away";
  const auto comm = world().subgroup({0, world().size()});
  const auto request = comm->make_request();
  std::vector<double> value = {static_cast<double>(comm->rank() + 1)}, sum(1);
  if (comm->rank() != 0) {
    comm->set_deadline(0.2);
    comm->start_all_reduce<double>(*request, value, sum);
    try {
      comm->wait(*request, "layer2.bn1 sums");
      ADD_FAILURE() << "rank 0 took no part, yet the sum is complete";
    } catch (const PeerLostError& error) {
      EXPECT_EQ(error.exit_code(), ExitCode::peer_lost);
      EXPECT_NE(std::string(error.what()).find("layer2.bn1 sums"), std::string::npos);
      EXPECT_NE(std::string(error.what()).find("rank " + std::to_string(comm->rank())),
                std::string::npos);
    }
    comm->set_deadline(60.0);
  }
  world().all_gather_text("given up");
  if (comm->rank() == 0) comm->start_all_reduce<double>(*request, value, sum);
  comm->wait(*request, "layer2.bn1 sums");
  EXPECT_EQ(sum[0], comm->size() * (comm->size() + 1) / 2);
}

TEST(MpiCommunicator, WhoOnlySendsIsNotHeldBack) {
  if (world().size() == 1 || !world().exchanges()) GTEST_SKIP() << "nobody to send to";
  constexpr double kHour = 3600.0;
  const auto slow = make_observed_communicator(world(), {{}, kHour});
  const int channel = world().new_channel();
  const std::vector<float> sent = {3.0f, 4.0f};
  std::vector<float> received(2);
  if (world().rank() == 1) {
    const auto request = slow->make_request();
    slow->start_exchange<float>(*request, channel, 0, sent, {});
    slow->wait(*request, "sending");
  } else if (world().rank() == 0) {
    const auto request = world().make_request();
    world().start_exchange<float>(*request, channel, 1, {}, received);
    world().wait(*request, "receiving");
    EXPECT_EQ(received, sent);
  }
}

}  // namespace
}  // namespace syncnorm::test
