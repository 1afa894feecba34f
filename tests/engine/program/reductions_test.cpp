// The reductions of a program: their number and sizes for every kind of norm.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/engine/program/program_texts.h"

namespace syncnorm::test {
namespace {

TEST(Reductions, OneEachWayWithTheFewestValues) {
  const Workbench setup(resnet("syncbn"));
  const Program& program = setup.executor->program();
  std::multiset<std::size_t> forward, backward;
  for (const ReductionSpec& spec : statistics(program))
    (spec.kind == ReductionKind::forward_statistics ? forward : backward).insert(spec.count);
  std::multiset<std::size_t> expected_forward, expected_backward;
  for (const std::size_t channels : {16, 16, 16, 32, 64}) {
    expected_forward.insert(2 * channels + 1);
    expected_backward.insert(2 * channels);
  }
  // The last norm of a block and its projection shortcut share a message.
  for (const std::size_t channels : {32, 64}) {
    expected_forward.insert(2 * (2 * channels + 1));
    expected_backward.insert(2 * 2 * channels);
  }
  EXPECT_EQ(forward, expected_forward);
  EXPECT_EQ(backward, expected_backward);
}

TEST(Reductions, LocalNormsReduceNoStatistics) {
  for (const char* norm :
       {"bn", "gn", "ln", "{kind: layer, over: channels}", "in", "rms", "{kind: frn, tlu: true}",
        "{kind: evonorm_s0, groups: 2}", "dyt", "derf", "none",
        "{kind: momentum, synced_replicas: 1}", "{kind: mabn, synced_replicas: 1}",
        "{kind: evonorm_b0, synced_replicas: 1}"}) {
    const Workbench setup(resnet(norm));
    EXPECT_TRUE(statistics(setup.executor->program()).empty()) << norm;
  }
}

TEST(Reductions, OnlyBatchNormsReduceAndShareTheirMessages) {
  const auto counts = [](const std::string& norm) {
    const Workbench setup(resnet(norm));
    std::multiset<std::size_t> found;
    for (const ReductionSpec& spec : statistics(setup.executor->program()))
      if (spec.kind == ReductionKind::forward_statistics) found.insert(spec.count);
    return found;
  };
  EXPECT_EQ(counts("{kind: batch, layers: [{match: \"*.bn2\", kind: group}]}"),
            (std::multiset<std::size_t>{33, 33, 65, 65, 129, 129}));  // each shortcut alone
  EXPECT_EQ(counts("{kind: group, layers: [{match: layer3.0.*, kind: batch}]}"),
            (std::multiset<std::size_t>{129, 2 * 129}));
  EXPECT_EQ(counts("{kind: batch, layers: [{match: layer3.0.bn2, deviation: l1}, {match: "
                   "\"layer[12]*\", kind: none}]}"),
            (std::multiset<std::size_t>{33, 129, 129, 129, 128}));  // Σ|x − μ| and its Σ sign
}

// The last norms of the first blocks of ResNet-50's four stages share a message with their
// projection shortcut: 49 reductions each way for 53 norms.
TEST(Reductions, ResNet50HasFortyNineEachWay) {
  const LoadedExperiment loaded = parse_experiment_text(resnet("syncbn", 2, "resnet50"), "test");
  const Graph graph = build_model(loaded.experiment, {32, 32, 3}, 10);
  const auto device = make_cpu_device();
  ProgramOptions options;
  options.replicas = options.batch_per_replica = 2;
  options.global_samples = 4;
  options.synced_replicas = loaded.experiment.norm.synced_replicas;
  const Program program = compile_program(graph, *device, options);
  EXPECT_EQ(count<BatchNormalize>(program), 53);
  const auto specs = statistics(program);
  const auto forward = std::count_if(specs.begin(), specs.end(), [](const ReductionSpec& spec) {
    return spec.kind == ReductionKind::forward_statistics;
  });
  EXPECT_EQ(forward, 49);
  EXPECT_EQ(static_cast<std::ptrdiff_t>(specs.size()) - forward, 49);
}

// L1 needs the mean first: 2C more. The largest deviation is a maximum of C, its places 2C.
TEST(Reductions, OtherDeviationsTakeOneOrTwoMoreForward) {
  const auto counts = [](const std::string& deviation) {
    const Workbench setup(
        "replicas: 2\nbatch_per_replica: 2\nsteps: 1\nnorm: {kind: batch, deviation: " + deviation +
        "}\nmodel: {layers: [flatten, {type: linear, out: 7}, norm, {type: linear, out: 5}]}\n");
    std::vector<std::size_t> out;
    for (const ReductionSpec& spec : statistics(setup.executor->program())) {
      out.push_back(spec.count);
      EXPECT_EQ(spec.combine == Combine::max, deviation == "linf" && spec.count == 7);
    }
    return out;
  };
  EXPECT_EQ(counts("l2"), (std::vector<std::size_t>{15, 14}));
  EXPECT_EQ(counts("l1"), (std::vector<std::size_t>{15, 14, 14}));
  EXPECT_EQ(counts("linf"), (std::vector<std::size_t>{15, 7, 14, 14}));
}

// EvoNorm-B0 sends C values back: only the batch's deviation depends on other replicas.
TEST(Reductions, EvoNormB0SendsOneSumPerChannelBack) {
  const Workbench setup(
      "replicas: 2\nbatch_per_replica: 2\nsteps: 1\nnorm: {kind: evonorm_b0}\n"
      "model: {layers: [flatten, {type: linear, out: 7}, norm, {type: linear, out: 5}]}\n");
  std::vector<std::size_t> counts;
  for (const ReductionSpec& spec : statistics(setup.executor->program()))
    counts.push_back(spec.count);
  EXPECT_EQ(counts, (std::vector<std::size_t>{15, 7}));
}

TEST(Reductions, AnEvaluationReducesNothingWhateverTheNorm) {
  for (const char* norm :
       {"bn", "syncbn", "gn", "{kind: batch, deviation: linf}", "{kind: batch, renormalize: true}",
        "{kind: momentum}", "{kind: mabn}", "{kind: evonorm_b0}"}) {
    const Workbench setup(resnet(std::string(norm) == "gn" ? "{kind: group, groups: 2}" : norm));
    ProgramOptions options = setup.executor->program().options;
    options.mode = ProgramMode::evaluation;
    const Program program = compile_program(setup.graph, *setup.device, options,
                                            setup.executor->program().parameter_offset);
    EXPECT_TRUE(program.reductions.empty()) << norm;
    EXPECT_EQ(count<BatchMoments>(program), 0) << norm;
  }
}

}  // namespace
}  // namespace syncnorm::test
