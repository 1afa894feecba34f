// Predictions of schedules that are short enough to add up by hand.
#include "engine/scale/predict.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace syncnorm {
namespace {

using Kind = InstructionKind;

/// Round numbers: a microsecond of overhead, 10 of latency, a byte a nanosecond.
Network wire() {
  Network network;
  network.name = "wire";
  network.between = {10e-6, 1e9};
  network.inside = {2e-6, 4e9};
  network.overhead = 1e-6;
  return network;
}

/// Work, a sum of statistics, work that may hide it, its wait, the update.
StepSchedule one_sum(double hidden_seconds, std::size_t values = 100) {
  StepSchedule schedule;
  schedule.sums = {{ReductionKind::forward_statistics, values, 8}};
  schedule.items = {{Kind::compute, 50e-6, -1},
                    {Kind::reduce_start, 0.0, 0},
                    {Kind::compute, hidden_seconds, -1},
                    {Kind::reduce_wait, 0.0, 0}};
  schedule.update = 5e-6;
  return schedule;
}

double step(const StepSchedule& schedule, int ranks, int group,
            ReductionAlgorithm algorithm = ReductionAlgorithm::tree) {
  return 1e6 * predict(schedule, wire(), ranks, group, algorithm).step;
}

TEST(Predict, OneRankOnlyComputes) {
  const StepPrediction p = predict(one_sum(20e-6), wire(), 1, 1, ReductionAlgorithm::tree);
  EXPECT_DOUBLE_EQ(1e6 * p.step, 75.0);
  EXPECT_EQ(p.statistics, 0.0);
  EXPECT_DOUBLE_EQ(1e6 * one_sum(20e-6).computing(), 75.0);
}

TEST(Predict, AMessageHoldsBothProcessorsAndTravels) {
  // Sending 1, 800 bytes 0.8, latency 10, receiving 1.
  const StepPrediction p = predict(one_sum(0.0), wire(), 2, 2, ReductionAlgorithm::tree);
  EXPECT_NEAR(1e6 * p.step, 50.0 + 12.8 + 5.0, 1e-9);
  EXPECT_NEAR(1e6 * p.statistics, 12.8, 1e-9);
}

TEST(Predict, CopiesHoldBothProcessorsToo) {
  Network network = wire();
  network.copying = 1e8;  // 800 bytes in 8 us
  EXPECT_NEAR(1e6 * predict(one_sum(0.0), network, 2, 2, ReductionAlgorithm::tree).step,
              55.0 + 12.8 + 2 * 8.0, 1e-9);
  EXPECT_NEAR(1e6 * predict(one_sum(0.0), network, 8, 8, ReductionAlgorithm::tree).step,
              55.0 + 29.6 + 2 * 7 * 8.0, 1e-9);
}

TEST(Predict, WorkHidesWhatIsInFlight) {
  EXPECT_NEAR(step(one_sum(4e-6), 2, 2), 50.0 + 1.0 + 10.8 + 1.0 + 5.0, 1e-9);
  EXPECT_NEAR(step(one_sum(100e-6), 2, 2), 50.0 + 1.0 + 100.0 + 1.0 + 5.0, 1e-9);
}

TEST(Predict, AFewRanksSendToAllOthers) {
  // 7 messages: 7 to send, 5.6 on the link, the latency, 7 to receive.
  EXPECT_NEAR(step(one_sum(0.0), 8, 8), 55.0 + 7.0 + 5.6 + 10.0 + 7.0, 1e-9);
}

TEST(Predict, GroupsSendAmongThemselves) {
  EXPECT_NEAR(step(one_sum(0.0), 64, 2), 55.0 + 12.8, 1e-9);
  EXPECT_NEAR(step(one_sum(0.0), 64, 1), 55.0, 1e-9);
}

TEST(Predict, ManyRanksExchangeInPairs) {
  EXPECT_NEAR(step(one_sum(0.0), 16, 16), 55.0 + 4 * 12.8, 1e-9);
  EXPECT_NEAR(step(one_sum(0.0), 1024, 1024), 55.0 + 10 * 12.8, 1e-9);
  // The last 8 of 24 ranks serve two each of the 16 before them.
  EXPECT_NEAR(step(one_sum(0.0), 24, 24), 55.0 + 4 * 12.8 + (2.0 + 1.6 + 10.0 + 2.0), 1e-9);
  EXPECT_NEAR(step(one_sum(0.0), 17, 17), 55.0 + 4 * 12.8 + (16.0 + 12.8 + 10.0 + 16.0), 1e-9);
}

TEST(Predict, TheNextRoundWaitsForTheRankToLook) {
  // Only the first of four rounds is hidden by work in one piece.
  EXPECT_NEAR(step(one_sum(100e-6), 16, 16), 55.0 + 1.0 + 100.0 + 1.0 + 3 * 12.8, 1e-9);
}

TEST(Predict, LargeVectorsGoInHalvesAndBack) {
  // 2^17 values of 8 bytes: 2·15/16 of a MiB on the link, 8 rounds.
  const double bytes = 8.0 * (1 << 17);
  EXPECT_NEAR(step(one_sum(0.0, 1 << 17), 16, 16),
              55.0 + 8 * 12.0 + 2.0 * 15.0 / 16.0 * bytes / 1e3, 1e-6);
  // Not a power of two: a slice to each of the others, and back.
  EXPECT_NEAR(step(one_sum(0.0, 1 << 17), 24, 24),
              55.0 + 2 * (2 * 23.0 + 10.0 + 23.0 / 24.0 * bytes / 1e3), 1e-6);
  // On two ranks slices: half of it there, half of it back.
  EXPECT_NEAR(step(one_sum(0.0, 1 << 17), 2, 2), 55.0 + 2 * 12.0 + bytes / 1e3, 1e-6);
}

TEST(Predict, AnEnginesOwnSumGoesInPairsFromTwoRanksOn) {
  EXPECT_NEAR(step(one_sum(0.0), 4, 4, ReductionAlgorithm::engine), 55.0 + 2 * 12.8, 1e-9);
  EXPECT_NEAR(step(one_sum(0.0), 6, 6, ReductionAlgorithm::engine), 55.0 + 4 * 12.8, 1e-9);
}

TEST(Predict, RanksOfANodeAreNearer) {
  Network network = wire();
  network.ranks_per_node = 4;
  const std::vector<Messages> rounds =
      rounds_of({ReductionKind::loss, 100, 8}, network, 16, ReductionAlgorithm::tree);
  ASSERT_EQ(rounds.size(), 4u);
  for (const std::size_t r : {0u, 1u}) EXPECT_DOUBLE_EQ(rounds[r].latency, 2e-6);
  for (const std::size_t r : {2u, 3u}) EXPECT_DOUBLE_EQ(rounds[r].latency, 10e-6);
  EXPECT_DOUBLE_EQ(rounds[0].transfer, 0.2e-6);
  const auto one = rounds_of({ReductionKind::loss, 100, 8}, network, 8, ReductionAlgorithm::tree);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].count, 7);
  EXPECT_NEAR(one[0].transfer, 3 * 0.2e-6 + 4 * 0.8e-6, 1e-12);
}

TEST(Predict, MessagesOfOneRankShareItsLink) {
  StepSchedule schedule = one_sum(0.0);
  schedule.sums.push_back({ReductionKind::loss, 100, 8});
  schedule.items.insert(schedule.items.begin() + 1, {Kind::reduce_start, 0.0, 1});
  schedule.items.push_back({Kind::reduce_wait, 0.0, 1});
  // Sent at 51 and 52: the second is there 11.6 after the first began to travel.
  EXPECT_NEAR(step(schedule, 2, 2), 52.0 + 10.8 + 1.0 + 1.0 + 5.0, 1e-9);
}

TEST(Networks, AreKnownByNameAndCanBeChanged) {
  for (const Network& profile : network_profiles())
    EXPECT_EQ(parse_network(profile.name).between.latency, profile.between.latency);
  const Network changed = parse_network(
      "ethernet25,latency_us=1000,gbit=8,overhead_us=2,ranks_per_node=4,"
      "inside_latency_us=3,inside_gbit=80,copy_gbit=16");
  EXPECT_DOUBLE_EQ(changed.between.latency, 1e-3);
  EXPECT_DOUBLE_EQ(changed.between.bandwidth, 1e9);
  EXPECT_DOUBLE_EQ(changed.inside.latency, 3e-6);
  EXPECT_DOUBLE_EQ(changed.inside.bandwidth, 1e10);
  EXPECT_DOUBLE_EQ(changed.overhead, 2e-6);
  EXPECT_DOUBLE_EQ(changed.copying, 2e9);
  EXPECT_EQ(changed.ranks_per_node, 4);
}

std::string network_error(const std::string& text) {
  try {
    parse_network(text);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Networks, SayWhatWouldBeRight) {
  EXPECT_EQ(network_error("token_ring"),
            "--network: there is no 'token_ring'; there are ethernet25, infiniband200, "
            "nvlink_infiniband");
  EXPECT_EQ(network_error("ethernet25,gbit"),
            "--network: 'gbit' has no value; write it as key=number");
  EXPECT_EQ(network_error("ethernet25,gbit=0"),
            "--network: gbit is '0', it must be a number from 1e-06 on");
  EXPECT_EQ(network_error("ethernet25,latency_us=-1"),
            "--network: latency_us is '-1', it must be a number from 0 on");
  EXPECT_EQ(network_error("ethernet25,latency_us=1x"),
            "--network: latency_us is '1x', it must be a number from 0 on");
  EXPECT_EQ(network_error("ethernet25,ranks_per_node=1.5"),
            "--network: ranks_per_node must be a whole number up to 1024");
  EXPECT_EQ(network_error("ethernet25,color=1"),
            "--network: there is no 'color'; what can be changed is latency_us, gbit, "
            "inside_latency_us, inside_gbit, overhead_us, copy_gbit and ranks_per_node");
}

}  // namespace
}  // namespace syncnorm
