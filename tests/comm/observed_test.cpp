// The observing communicator: it tells of every collective, changes none of them, and can hold back
// their completion.
#include "comm/observed.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <vector>

namespace syncnorm::test {
namespace {

TEST(Observed, TellsOfEveryCollectiveAndForwardsIt) {
  const auto self = make_self_communicator();
  std::vector<CollectiveCall> calls;
  const auto comm = make_observed_communicator(
      *self, {[&](const CollectiveCall& call) { calls.push_back(call); }, 0.0});
  EXPECT_EQ(comm->rank(), 0);
  EXPECT_EQ(comm->size(), 1);
  EXPECT_EQ(comm->description(), "self");
  EXPECT_EQ(comm->all_gather_text("word"), std::vector<std::string>{"word"});
  EXPECT_TRUE(calls.empty());

  const auto request = comm->make_request();
  const std::vector<double> send = {1.0, 2.0, 3.0};
  std::vector<double> receive(3);
  const std::vector<int> counts = {3};
  comm->start_all_gather<double>(*request, send, receive, counts);
  comm->wait(*request, "gather");
  EXPECT_EQ(receive, send);
  const std::vector<float> narrow = {4.0f, 5.0f};
  std::vector<float> exchanged(2), reduced(2);
  const std::vector<int> two = {2};
  comm->start_all_to_all<float>(*request, narrow, two, exchanged, two);
  comm->wait(*request, "exchange");
  EXPECT_EQ(exchanged, narrow);
  const auto group = comm->subgroup({0, 1});
  const auto other = group->make_request();
  group->start_all_reduce<float>(*other, narrow, reduced, Combine::max);
  group->wait(*other, "reduce");
  EXPECT_EQ(reduced, narrow);

  ASSERT_EQ(calls.size(), 3u);
  EXPECT_EQ(calls[0].kind, Collective::all_gather);
  EXPECT_EQ(calls[0].type, DataType::f64);
  EXPECT_EQ(calls[0].sent, 3u);
  EXPECT_EQ(calls[1].kind, Collective::all_to_all);
  EXPECT_EQ(calls[1].type, DataType::f32);
  EXPECT_EQ(calls[1].sent, 2u);
  EXPECT_EQ(calls[2].kind, Collective::all_reduce);
  EXPECT_EQ(calls[2].sent, 2u);
}

TEST(Observed, HoldsCompletionBackForTheDelay) {
  const auto self = make_self_communicator();
  const auto comm = make_observed_communicator(*self, {{}, 0.02});
  const auto request = comm->make_request();
  std::vector<float> value = {1.0f}, copy(1);
  const std::vector<int> counts = {1};
  const auto begin = std::chrono::steady_clock::now();
  comm->start_all_gather<float>(*request, value, copy, counts);
  EXPECT_FALSE(comm->test(*request));
  comm->wait(*request, "gather");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(20));
  EXPECT_TRUE(comm->test(*request));
}

TEST(Observed, TakesTheDeadlineOver) {
  const auto self = make_self_communicator();
  self->set_deadline(7.0);
  const auto comm = make_observed_communicator(*self, {});
  EXPECT_EQ(comm->deadline(), 7.0);
  comm->set_deadline(3.0);
  EXPECT_EQ(comm->subgroup({0, 1})->deadline(), 3.0);
}

/// A communicator whose peers are gone.
class Lost final : public Communicator {
 public:
  int given_up = 0;
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string description() const override { return "lost"; }
  std::unique_ptr<Communicator> subgroup(Interval) override { return std::make_unique<Lost>(); }
  std::unique_ptr<Request> make_request() override { return nullptr; }
  bool test(Request&) override { return false; }
  void poll() override { throw std::runtime_error("a peer is lost"); }
  void give_up() override { ++given_up; }
  std::vector<std::string> all_gather_text(const std::string& text) override { return {text}; }
  [[noreturn]] void abort(int exit_code) override { std::_Exit(exit_code); }

 private:
  void do_all_gather(Request&, const void*, void*, std::span<const int>, DataType) override {}
  void do_all_to_all(Request&, const void*, std::span<const int>, void*, std::span<const int>,
                     DataType) override {}
  void do_all_reduce(Request&, const void*, void*, int, DataType, Combine) override {}
};

TEST(Observed, TellsOfALostPeerAndGivesUp) {
  Lost lost;
  const auto comm = make_observed_communicator(lost, {});
  EXPECT_THROW(comm->poll(), std::runtime_error);
  comm->give_up();
  EXPECT_EQ(lost.given_up, 1);
}

}  // namespace
}  // namespace syncnorm::test
