// What a training step and an evaluation really send, counted on every rank of a real MPI job.
#include <gtest/gtest.h>

#include <set>

#include "comm/observed.h"
#include "comm/reduction.h"
#include "engine/state/running.h"
#include "engine/train/evaluate.h"
#include "tests/comm/mpi/world.h"
#include "tests/engine/program/program_fixture.h"

namespace syncnorm::test {
namespace {

constexpr int kReplicas = 8;

std::string resnet(const std::string& norm) {
  return "replicas: 8\nbatch_per_replica: 2\nsteps: 1\nnorm: " + norm +
         "\nmodel: {architecture: resnet8}\n";
}

/// Subtrees that the block of this rank consists of: what it sends per value.
std::size_t subtrees() {
  const Interval own = Placement{kReplicas, world().size()}.block(world().rank());
  return tree_fold_leaves(own, kReplicas).subtrees.size();
}

/// The world, with a list of the collectives that were started on it and its subgroups.
struct Counted {
  std::vector<CollectiveCall> calls;
  std::unique_ptr<Communicator> comm = make_observed_communicator(
      world(), {[this](const CollectiveCall& call) { calls.push_back(call); }, 0.0});

  /// Values sent in f64 collectives but those of the loss, which has four of its own.
  std::multiset<std::size_t> statistics() const {
    std::multiset<std::size_t> sent;
    for (const CollectiveCall& call : calls)
      if (call.type == DataType::f64 && call.sent != kLossValues * subtrees())
        sent.insert(call.sent);
    return sent;
  }
  std::size_t of(DataType type) const {
    std::size_t count = 0;
    for (const CollectiveCall& call : calls) count += call.type == type;
    return count;
  }
};

/// Collectives that the buckets of the gradient take: a sliced one two, a gathered one one.
std::size_t gradient_collectives(const Program& program) {
  std::size_t collectives = 0;
  for (const ReductionSpec& spec : program.reductions)
    if (spec.kind == ReductionKind::gradient)
      collectives += spec.count * sizeof(float) > ReductionPlan::kLargeBytes ? 2 : 1;
  return collectives;
}

TEST(Collectives, SyncBatchNormSendsOneMessageEachWay) {
  Counted counted;
  Workbench setup(resnet("syncbn"), {8, 8, 1}, 5, {}, counted.comm.get());
  setup.run();
  std::multiset<std::size_t> expected;
  if (world().size() > 1) {
    for (const std::size_t channels : {16, 16, 16, 32, 64}) {
      expected.insert((2 * channels + 1) * subtrees());
      expected.insert(2 * channels * subtrees());
    }
    for (const std::size_t channels : {32, 64}) {  // last norm of a block and its projection
      expected.insert(2 * (2 * channels + 1) * subtrees());
      expected.insert(2 * 2 * channels * subtrees());
    }
  }
  EXPECT_EQ(counted.statistics(), expected);
}

TEST(Collectives, OtherNormsSendNothingButGradientsAndTheLoss) {
  for (const char* norm :
       {"bn", "gn", "ln", "{kind: layer, over: channels}", "in", "rms", "{kind: frn, tlu: true}",
        "{kind: evonorm_s0, groups: 2}", "dyt", "derf", "frozen", "none",
        "{kind: batch, deviation: l1, synced_replicas: 1}", "{kind: momentum, synced_replicas: 1}",
        "{kind: mabn, synced_replicas: 1}", "{kind: cross_iteration, synced_replicas: 1}",
        "{kind: evonorm_b0, synced_replicas: 1}", "{kind: switchable, synced_replicas: 1}"}) {
    Counted counted;
    Workbench setup(resnet(norm), {8, 8, 1}, 5, {}, counted.comm.get());
    setup.run();
    EXPECT_TRUE(counted.statistics().empty()) << norm;
    EXPECT_EQ(counted.calls.empty(), world().size() == 1) << norm;
    if (world().size() > 1)
      EXPECT_EQ(counted.of(DataType::f32), gradient_collectives(setup.executor->program())) << norm;
  }
}

TEST(Collectives, AGroupInsideARankSendsNothing) {
  const int ranks = world().size();
  for (const int synced : {2, 4}) {
    Counted counted;
    Workbench setup(resnet("{kind: batch, synced_replicas: " + std::to_string(synced) + "}"),
                    {8, 8, 1}, 5, {}, counted.comm.get());
    setup.run();
    const Interval own = Placement{kReplicas, ranks}.block(world().rank());
    const bool whole = own.begin % synced == 0 && own.end % synced == 0;
    EXPECT_EQ(counted.statistics().empty(), whole) << "groups of " << synced;
    for (const CollectiveCall& call : counted.calls)
      if (call.type == DataType::f64 && call.sent != kLossValues * subtrees())
        EXPECT_LE(call.ranks, synced);
  }
}

TEST(Collectives, OtherDeviationsTakeOneOrTwoMessagesMore) {
  if (world().size() != 2) GTEST_SKIP() << "counted on two ranks";
  for (const auto& [deviation, forward] : {std::pair{"l1", 2}, {"linf", 3}}) {
    Counted counted;
    Workbench setup(resnet(std::string("{kind: batch, deviation: ") + deviation + "}"), {8, 8, 1},
                    5, {}, counted.comm.get());
    setup.run();
    EXPECT_EQ(static_cast<int>(counted.statistics().size()), 9 * (forward + 1)) << deviation;
  }
}

TEST(Collectives, EvaluationSendsItsSumsAndOnlyAveragesSeveralGroups) {
  for (const auto& [norm, groups] : {std::pair{"syncbn", 1}, {"bn", 8}, {"frozen", 1}, {"gn", 1}}) {
    Counted counted;
    Workbench setup(resnet(norm), {8, 8, 1}, 5, {}, counted.comm.get());
    const Program& program = setup.executor->program();
    RunningStatistics running(program, *counted.comm, setup.placement, setup.memory);
    running.initialize();
    counted.calls.clear();
    running.average();
    const bool averages = groups > 1 && world().size() > 1;
    EXPECT_EQ(counted.calls.size(), averages ? 1u : 0u) << norm;
    if (averages) EXPECT_EQ(counted.calls[0].sent, subtrees() * program.running_floats);

    DataConfig data;
    data.dataset = DatasetKind::synthetic;
    data.synthetic = {5, 8, 8, 1, 64, 120};
    const Dataset dataset = load_dataset(data, 1, 16);
    Evaluator evaluator(setup.graph, setup.loaded.experiment, program.parameter_offset, dataset,
                        *setup.device, *counted.comm, setup.memory);
    counted.calls.clear();
    std::vector<std::uint32_t> samples(120);
    for (std::uint32_t i = 0; i < 120; ++i) samples[i] = i;
    evaluator.run(dataset.test, samples);
    // At most three chunks have loss, correct, samples and weights; each class has three counts.
    EXPECT_EQ(counted.calls.size(), 1u) << norm;
    EXPECT_LE(counted.calls[0].sent, 3u * 4u + 3u * 5u) << norm;
  }
}

TEST(Collectives, AnObservedStepHasTheSameBits) {
  Counted counted;
  Workbench plain(resnet("syncbn"), {8, 8, 1}, 5, {}, &world());
  Workbench observed(resnet("syncbn"), {8, 8, 1}, 5, {}, counted.comm.get());
  EXPECT_EQ(plain.run(), observed.run());
  for (std::size_t p = 0; p < plain.graph.parameters.size(); ++p)
    for (std::size_t i = 0; i < plain.gradient(p).size(); ++i)
      ASSERT_EQ(plain.gradient(p)[i], observed.gradient(p)[i]);
}

TEST(Collectives, WithoutOverlapTheBitsAreTheSame) {
  Workbench setup(resnet("syncbn"), {8, 8, 1}, 5, {}, &world());
  const double loss = setup.run();
  std::vector<float> gradients;
  for (std::size_t p = 0; p < setup.graph.parameters.size(); ++p)
    gradients.insert(gradients.end(), setup.gradient(p).begin(), setup.gradient(p).end());
  setup.executor->reductions().set_overlap(false);
  EXPECT_EQ(setup.run(), loss);
  std::size_t at = 0;
  for (std::size_t p = 0; p < setup.graph.parameters.size(); ++p)
    for (const float value : setup.gradient(p)) ASSERT_EQ(value, gradients[at++]);
}

}  // namespace
}  // namespace syncnorm::test
