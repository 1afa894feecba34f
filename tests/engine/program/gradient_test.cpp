// The gradient of whole programs against finite differences of the loss, for every layer and norm.
//
// Along a random direction in one parameter tensor, the central difference of the loss must be the
// gradient's component. Losses are summed in double from f32 activations: a step of 1e-3 leaves an
// absolute error below 1e-3.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/program/program_fixture.h"

namespace syncnorm::test {
namespace {

double component(Workbench& setup, std::size_t p, const std::vector<float>& direction) {
  double sum = 0.0;
  for (std::size_t i = 0; i < direction.size(); ++i)
    sum += static_cast<double>(setup.gradient(p)[i]) * static_cast<double>(direction[i]);
  return sum;
}

double difference(Workbench& setup, std::size_t p, const std::vector<float>& direction,
                  float step) {
  const std::vector<float> start(setup.parameter(p).begin(), setup.parameter(p).end());
  const auto loss_at = [&](float sign) {
    for (std::size_t i = 0; i < start.size(); ++i)
      setup.parameter(p)[i] = start[i] + sign * step * direction[i];
    return setup.run();
  };
  const double up = loss_at(1.0f), down = loss_at(-1.0f);
  std::copy(start.begin(), start.end(), setup.parameter(p).begin());
  return (up - down) / (2.0 * static_cast<double>(step));
}

void check_every_parameter(Workbench& setup) {
  // A shorter step passes fewer kinks, which EvoNorm-B0 has where its deviations are equal.
  const bool kinks = setup.loaded.experiment.norm.kind == NormKind::evonorm_b0;
  for (std::size_t p = 0; p < setup.graph.parameters.size(); ++p) {
    RandomStream random(11, RandomPurpose::initialization, 2, p);
    std::vector<float> direction(setup.parameter(p).size());
    for (float& d : direction)
      d = random.normal() / std::sqrt(static_cast<float>(direction.size()));
    setup.run();
    const double expected = component(setup, p, direction);
    const double measured = difference(setup, p, direction, kinks ? 3e-4f : 1e-3f);
    EXPECT_NEAR(expected, measured, 1e-3 + 0.01 * std::abs(expected))
        << setup.graph.parameters[p].name;
  }
}

class EveryNorm : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryNorm, GradientOfEveryLayerIsTheSlopeOfTheLoss) {
  Workbench setup(every_layer_yaml(GetParam()));
  setup.make_history();
  check_every_parameter(setup);
}

TEST_P(EveryNorm, GradientHoldsWithMergedReplicas) {
  Workbench setup(every_layer_yaml(GetParam(), "reduction: fastest\n"));
  setup.make_history();
  check_every_parameter(setup);
}

TEST_P(EveryNorm, GradientHoldsWithLayersThatEnlargeMaps) {
  for (const char* reduction : {"reproducible", "fastest"}) {
    Workbench setup(enlarging_yaml(GetParam(), std::string("reduction: ") + reduction + "\n"));
    setup.make_history();
    check_every_parameter(setup);
  }
}

TEST_P(EveryNorm, InBf16LossAndGradientAreThoseOfF32ToItsPrecision) {
  for (const auto yaml : {every_layer_yaml, enlarging_yaml}) {
    Workbench exact(yaml(GetParam(), ""));
    Workbench narrow(yaml(GetParam(), "precision: bf16_emulated\n"));
    EXPECT_NEAR(narrow.run(), exact.run(), 0.02);
    double squares = 0.0, errors = 0.0;
    for (std::size_t p = 0; p < exact.graph.parameters.size(); ++p)
      for (std::size_t i = 0; i < exact.gradient(p).size(); ++i) {
        const double e = exact.gradient(p)[i];
        squares += e * e;
        errors += std::pow(narrow.gradient(p)[i] - e, 2.0);
      }
    EXPECT_GT(errors, 0.0) << "nothing was stored in bf16";
    EXPECT_LE(std::sqrt(errors), 0.05 * std::sqrt(squares));
  }
}

TEST_P(EveryNorm, GradientHoldsWithFusedResidualBlocks) {
  Workbench setup("replicas: 2\nbatch_per_replica: 2\nsteps: 1\nnorm: " + GetParam() +
                      "\nloss: {label_smoothing: 0.1}\nmodel: {architecture: resnet8}\n",
                  {8, 8, 1});
  setup.make_history();
  for (std::size_t p = 0; p < setup.graph.parameters.size(); ++p) {
    // ReLU makes the loss piecewise smooth: check the whole gradient along itself with a small
    // step.
    setup.run();
    std::vector<float> direction(setup.gradient(p).begin(), setup.gradient(p).end());
    double square = 0.0;
    for (const float d : direction) square += static_cast<double>(d) * static_cast<double>(d);
    if (square < 1e-10) continue;
    for (float& d : direction) d /= static_cast<float>(std::sqrt(square));
    // With linf a channel's maximum may pass from one value to another within the step; a scalar of
    // a layer moves all its values, many of them over ReLU's kink.
    const bool fine = GetParam().find("linf") != std::string::npos || direction.size() == 1;
    const double measured = difference(setup, p, direction, fine ? 5e-4f : 2e-3f);
    EXPECT_NEAR(std::sqrt(square), measured, 2e-3 + 0.03 * std::sqrt(square))
        << setup.graph.parameters[p].name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Norms, EveryNorm,
    ::testing::Values(
        "bn", "syncbn", "{kind: group, groups: 2}", "ln", "in", "rms", "none",
        "{kind: batch, affine: false}", "{kind: batch, deviation: l1}",
        "{kind: momentum, momentum_images: 12}",
        "{kind: momentum, momentum_images: 24, synced_replicas: 1, affine: false}",
        "{kind: evonorm_b0}", "{kind: evonorm_b0, synced_replicas: 1, affine: false}",
        "{kind: evonorm_b0, noise: true}", "{kind: mabn}", "{kind: cross_iteration}",
        "{kind: cross_iteration, synced_replicas: 1, affine: false}",
        "{kind: mabn, synced_replicas: 1, affine: false, weights: centered}",
        "{kind: batch, weights: centered}", "{kind: batch, deviation: linf}",
        "{kind: batch, deviation: l1, synced_replicas: 1}", "{kind: layer, affine: false}",
        "{kind: layer, over: channels}", "{kind: layer, over: channels, affine: false}",
        "{kind: rms, affine: false}", "{kind: frn}", "{kind: frn, tlu: true}",
        "{kind: frn, tlu: true, affine: false}", "{kind: evonorm_s0, groups: 2}",
        "{kind: evonorm_s0, groups: 1, affine: false}", "dyt", "derf", "{kind: dyt, affine: false}",
        "{kind: derf, affine: false}", "{kind: none, weights: normalized}",
        "{kind: batch, weights: normalized}", "{kind: group, groups: 2, weights: standardized}",
        "{kind: rms, weights: standardized}", "{kind: batch, noise: true}",
        "{kind: batch, synced_replicas: 1, noise: true}", "{kind: group, channels_per_group: 2}",
        "{kind: group, groups: 2, noise: true}", "{kind: switchable}",
        "{kind: switchable, synced_replicas: 1, affine: false}",
        "{kind: batch, layers: [{match: \"*2\", kind: group, groups: 2}]}",
        "{kind: layer, layers: [{match: \"*2\", kind: batch, noise: true}]}",
        "{kind: frn, tlu: true, layers: [{match: \"*2\", kind: batch}]}",
        "{kind: evonorm_b0, layers: [{match: \"*2\", kind: batch}]}",
        "{kind: batch, layers: [{match: \"*2\", deviation: l1}]}"));

// Every parameter is moved away from its start, so the gains of the branches are not 0.
TEST(Gradient, HoldsWithScaledBranches) {
  for (const char* norm : {"none", "bn", "{kind: group, groups: 2}"}) {
    SCOPED_TRACE(norm);
    Workbench setup(std::string("replicas: 2\nbatch_per_replica: 3\nsteps: 1\nnorm: ") + norm +
                        "\nmodel: {architecture: resnet8, activation: tanh, residual: {kind: "
                        "skipinit}}\n",
                    {8, 8, 1});
    check_every_parameter(setup);
  }
}

TEST(Gradient, HoldsWithDilatedAndGroupedConvolutions) {
  for (const char* norm :
       {"none", "syncbn", "{kind: group, groups: 2}", "{kind: cross_iteration}",
        "{kind: batch, weights: normalized}", "{kind: group, groups: 2, weights: standardized}"}) {
    SCOPED_TRACE(norm);
    Workbench setup(
        std::string("replicas: 2\nbatch_per_replica: 3\nsteps: 1\nnorm: ") + norm +
        "\nmodel:\n  layers:\n"
        "    - {type: conv, out: 6, kernel: 3, padding: 2, dilation: 2, bias: false}\n"
        "    - norm\n"
        "    - silu\n"
        "    - {type: conv, out: 6, kernel: 3, padding: 1, groups: 6, bias: false}\n"
        "    - norm\n"
        "    - hard_swish\n"
        "    - {type: conv, out: 4, kernel: 3, stride: 2, padding: 2, dilation: 2, groups: 2}\n"
        "    - norm\n"
        "    - silu\n"
        "    - global_pool\n"
        "    - {type: linear, out: 5}\n");
    check_every_parameter(setup);
  }
}

TEST(Gradient, MaxPoolingPassesItToThePlaceOfTheMaximum) {
  Workbench setup(
      "replicas: 2\nbatch_per_replica: 3\nsteps: 1\nnorm: none\n"
      "model:\n  layers:\n"
      "    - {type: conv, out: 4, kernel: 3}\n"
      "    - {type: max_pool, kernel: 3, stride: 2, padding: 1}\n"
      "    - flatten\n"
      "    - {type: linear, out: 5}\n");
  check_every_parameter(setup);
}

TEST(Gradient, AlphaDropoutPassesItWhereValuesAreKept) {
  for (const char* mode : {"reproducible", "fastest"}) {
    Workbench setup(
        std::string("replicas: 2\nbatch_per_replica: 3\nsteps: 1\nnorm: none\nreduction: ") + mode +
        "\nmodel:\n  layers:\n"
        "    - flatten\n"
        "    - {type: linear, out: 12}\n"
        "    - tanh\n"
        "    - {type: alpha_dropout, p: 0.4}\n"
        "    - {type: linear, out: 5}\n");
    check_every_parameter(setup);
  }
}

TEST(Gradient, NormalizedWeightsOfUnevenReplicas) {
  for (const char* mode : {"reproducible", "fastest"}) {
    Workbench setup(std::string("replicas: 3\nbatch_per_replica: 3\nsteps: 1\nreduction: ") + mode +
                        "\nnorm: {kind: none, weights: normalized}\n"
                        "model: {architecture: mlp, hidden: [7], activation: tanh}\n",
                    {4, 4, 1}, 5, {3, 1, 0});
    check_every_parameter(setup);
  }
}

TEST(Gradient, HoldsWhereBranchesAreInterleaved) {
  Workbench setup(kTwoBranches);
  check_every_parameter(setup);
}

TEST(Gradient, ASmallerLastBatchHasTheMeanOverItsOwnSize) {
  // Replicas of 3, 1 and 0 samples: gradient checked the same way, statistics over 4 samples.
  Workbench setup(
      "replicas: 3\nbatch_per_replica: 3\nsteps: 1\nnorm: syncbn\n"
      "model: {architecture: mlp, hidden: [7], activation: tanh}\n",
      {4, 4, 1}, 5, {3, 1, 0});
  check_every_parameter(setup);
}

// Three branches whose norms' outputs are added one after another: all three wait for the last
// one's sums, unless something reads a part of the sum in between.
TEST(Gradient, NormsOfParallelBranchesShareAMessage) {
  for (const bool read_between : {false, true})
    for (const char* norm :
         {"syncbn", "{kind: batch, renormalize: true}", "bn", "{kind: batch, deviation: l1}",
          "{kind: group, groups: 2}", "{kind: momentum, momentum_images: 9}", "{kind: evonorm_b0}",
          "{kind: mabn}"}) {
      SCOPED_TRACE(std::string(norm) + (read_between ? ", read in between" : ""));
      Workbench setup(std::string("replicas: 2\nbatch_per_replica: 3\nsteps: 1\nnorm: ") + norm +
                      "\nmodel:\n  layers:\n"
                      "    - {type: conv, out: 4, kernel: 3, padding: 1}\n"
                      "    - {type: tanh, name: stem}\n"
                      "    - {type: conv, out: 6, kernel: 1, bias: false}\n"
                      "    - {type: norm, name: a}\n"
                      "    - {type: conv, out: 6, kernel: 1, bias: false, input: stem}\n"
                      "    - norm\n"
                      "    - {type: add, from: a, name: ab}\n" +
                      (read_between ? "    - {type: tanh, name: reader}\n" : "") +
                      "    - {type: conv, out: 6, kernel: 3, padding: 1, bias: false, input: " +
                      (read_between ? "reader" : "stem") +
                      "}\n"
                      "    - norm\n"
                      "    - {type: add, from: ab}\n"
                      "    - gelu\n"
                      "    - global_pool\n"
                      "    - {type: linear, out: 5}\n");
      setup.make_history();
      const std::string kind = norm;
      const bool renormalized = kind == "{kind: batch, renormalize: true}";
      // What renormalization takes for constant does change along a difference.
      if (!renormalized) check_every_parameter(setup);
      std::vector<std::size_t> forward;
      for (const ReductionSpec& spec : setup.executor->program().reductions)
        if (spec.kind == ReductionKind::forward_statistics) forward.push_back(spec.count);
      if (setup.executor->program().reduces_statistics() && kind.find("l1") == kind.npos)
        EXPECT_EQ(forward, read_between ? (std::vector<std::size_t>{26, 13})
                                        : (std::vector<std::size_t>{39}));
      else
        EXPECT_EQ(forward.size(), kind == "{kind: batch, deviation: l1}" ? 6u : 0u);
    }
}

// Six replicas in groups of three are two experiments of three: the members of a group, its
// statistics and its gradients. Three is no square root of six, no power of two, and no whole
// subtree of the sum over six.
TEST(Gradient, GroupsOfThreeAreTwoExperimentsOfThree) {
  for (const char* more : {"", ", deviation: l1", ", deviation: linf", ", renormalize: true"}) {
    const auto yaml = [&](int replicas) {
      return "replicas: " + std::to_string(replicas) +
             "\nbatch_per_replica: 2\nsteps: 1\n"
             "norm: {kind: batch, synced_replicas: 3" +
             more + "}\nmodel: {architecture: resnet8}\n";
    };
    Workbench six(yaml(6)), first(yaml(3)), second(yaml(3));
    const std::size_t half = first.images.size();
    std::copy_n(six.images.begin(), half, first.images.begin());
    std::copy_n(six.images.begin() + static_cast<std::ptrdiff_t>(half), half,
                second.images.begin());
    std::copy_n(six.labels.begin(), 6, first.labels.begin());
    std::copy_n(six.labels.begin() + 6, 6, second.labels.begin());
    const auto train = [](Workbench& setup) {
      setup.state.step = 1;  // renormalize: its limits have opened
      setup.state.update_running = true;
      setup.step();
      return setup.executor->loss()[0];
    };
    const double whole = train(six), parts = train(first) + train(second);
    EXPECT_NEAR(whole, parts, 1e-12 * whole) << more;
    EXPECT_GT(std::abs(first.executor->loss()[0] - second.executor->loss()[0]), 1e-3 * whole);
    for (std::size_t p = 0; p < six.graph.parameters.size(); ++p)
      for (std::size_t i = 0; i < six.gradient(p).size(); ++i) {
        const float mean = (first.gradient(p)[i] + second.gradient(p)[i]) / 2.0f;
        ASSERT_NEAR(six.gradient(p)[i], mean, 1e-6f + 1e-5f * std::abs(mean))
            << six.graph.parameters[p].name << more;
      }
    // The running pairs of a group are its experiment's to the bit.
    const auto running = six.memory.running.host<float>();
    const std::size_t one = six.executor->program().running_floats;
    ASSERT_GE(running.size(), 2 * one);
    const auto a = first.memory.running.host<float>(), b = second.memory.running.host<float>();
    for (std::size_t i = 0; i < one; ++i) {
      ASSERT_EQ(running[i], a[i]) << i << more;
      ASSERT_EQ(running[running.size() / 2 + i], b[i]) << i << more;
    }
  }
}

TEST(Gradient, EmptyReplicasChangeNothing) {
  const auto yaml = [](int replicas) {
    return "replicas: " + std::to_string(replicas) +
           "\nbatch_per_replica: 4\nsteps: 1\nnorm: syncbn\n"
           "model: {architecture: mlp, hidden: [7]}\n";
  };
  Workbench one(yaml(1), {4, 4, 1});
  Workbench three(yaml(3), {4, 4, 1}, 5, {4, 0, 0});
  std::copy(one.images.begin(), one.images.end(), three.images.begin());
  std::copy(one.labels.begin(), one.labels.end(), three.labels.begin());
  EXPECT_EQ(one.run(), three.run());
  for (std::size_t p = 0; p < one.graph.parameters.size(); ++p)
    for (std::size_t i = 0; i < one.gradient(p).size(); ++i)
      ASSERT_EQ(one.gradient(p)[i], three.gradient(p)[i]) << one.graph.parameters[p].name;
}

}  // namespace
}  // namespace syncnorm::test
