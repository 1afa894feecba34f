// What the passes promise: fusion, schedule, buckets, places in the arena, memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "engine/program/nonfinite.h"
#include "engine/program/passes.h"
#include "tests/engine/program/program_texts.h"

namespace syncnorm::test {
namespace {

/// The layers of `Kind` that run between the start of a reduction and its wait.
template <class Kind>
std::vector<std::string> layers_under(const Program& program, const std::string& reduction) {
  std::vector<std::string> layers;
  bool in_flight = false;
  for (const Instruction& i : program.instructions) {
    if (i.kind != InstructionKind::compute) {
      if (program.reductions[static_cast<std::size_t>(i.reduction)].name != reduction) continue;
      in_flight = i.kind == InstructionKind::reduce_start;
    } else if (in_flight && std::holds_alternative<Kind>(i.op)) {
      layers.push_back(i.layer);
    }
  }
  return layers;
}

TEST(Fuse, NormAddAndReluAreOneOperationBothWays) {
  const Workbench setup(resnet("syncbn"));
  const Program& program = setup.executor->program();
  EXPECT_EQ(count<ActivationForward>(program), 0);
  EXPECT_EQ(count<ActivationBackward>(program), 0);
  EXPECT_EQ(count<BatchNormalize>(program), 9);  // 7 and two projection shortcuts
  // The gradients of a block's input meet inside the norm below; nothing is added on its own but
  // where the block's input is no norm's output. In ResNets it always is.
  EXPECT_EQ(count<Add>(program), 0);
}

TEST(Fuse, WithoutNormsAddAndActivationStay) {
  const Workbench setup(resnet("none"));
  EXPECT_EQ(count<Add>(setup.executor->program()), 3 + 3);  // forward sums, and gradients that meet
  EXPECT_EQ(count<ActivationForward>(setup.executor->program()), 7);
}

TEST(Lower, AnEvaluationDropsNothing) {
  Workbench setup(
      "norm: none\nmodel: {layers: [flatten, {type: dropout, p: 0.5}, {type: alpha_dropout, p: "
      "0.5}, {type: linear, out: 5}]}\n");
  EXPECT_EQ(count<Dropout>(setup.executor->program()), 2);  // no gradient goes back to the image
  ProgramOptions options = setup.executor->program().options;
  options.mode = ProgramMode::evaluation;
  EXPECT_EQ(count<Dropout>(compile_program(setup.graph, *setup.device, options,
                                           setup.executor->program().parameter_offset)),
            0);
}

TEST(Weights, AreComputedOnceAndTheirGradientIsCarriedOnBehindEveryWgrad) {
  const auto expect_weights = [](const std::string& weights, long convs, long linears) {
    const Workbench setup(resnet("{kind: batch, weights: " + weights + "}"));
    const Program& program = setup.executor->program();
    EXPECT_EQ(count<WeightNormalize>(program), convs + linears);
    EXPECT_EQ(count<WeightNormalizeBackward>(program), convs + linears);
    for (std::size_t i = 0; i < program.instructions.size(); ++i) {
      const Instruction& instruction = program.instructions[i];
      if (instruction.kind != InstructionKind::compute) continue;
      if (std::holds_alternative<WeightNormalize>(instruction.op)) {
        EXPECT_EQ(instruction.pass, Pass::prepare);
        EXPECT_EQ(instruction.scope, Scope::once);
      }
      if (std::holds_alternative<WeightNormalizeBackward>(instruction.op)) {
        const Instruction& wgrad = program.instructions[i - 1];
        EXPECT_EQ(wgrad.layer, instruction.layer);
        EXPECT_EQ(wgrad.args[2], instruction.args[0]);  // what wgrad wrote
      }
    }
  };
  expect_weights("plain", 0, 0);
  expect_weights("normalized", 9, 1);
  expect_weights("standardized", 9, 0);
}

TEST(Lower, FirstLayerHasNoInputGradient) {
  const Workbench setup(resnet("syncbn"));
  EXPECT_EQ(count<ConvForward>(setup.executor->program()), 9);
  EXPECT_EQ(count<ConvDgrad>(setup.executor->program()), 8);
  EXPECT_EQ(count<ConvWgrad>(setup.executor->program()), 9);
}

// Six convolutions, of which four have an input gradient, and two transposed ones, which run the
// other way.
TEST(Lower, ATransposedConvolutionIsTheOneThatItMirrors) {
  const Workbench setup(enlarging_yaml("syncbn"));
  const Program& program = setup.executor->program();
  EXPECT_EQ(count<ConvForward>(program), 6 + 2);
  EXPECT_EQ(count<ConvDgrad>(program), 4 + 2);
  EXPECT_EQ(count<ConvWgrad>(program), 8);
  EXPECT_EQ(count<AddBias>(program), 1);
  EXPECT_EQ(count<BiasGradient>(program), 1);
  EXPECT_EQ(count<UpsampleForward>(program), 3);
  EXPECT_EQ(count<UpsampleBackward>(program), 3);
  EXPECT_EQ(count<Concat>(program), 1);
  EXPECT_EQ(count<SliceChannels>(program), 3);
  EXPECT_EQ(count<Multiply>(program), 3);
  EXPECT_EQ(count<MultiplyBackward>(program), 3);
}

// The bias changes what the convolution wrote: it must not move before it, under the reduction that
// the convolution waits for.
TEST(Overlap, ABiasStaysBehindItsTransposedConvolution) {
  const Workbench setup(enlarging_yaml("syncbn"));
  const std::vector<Instruction>& list = setup.executor->program().instructions;
  const auto position = [&](auto matches) {
    return std::find_if(list.begin(), list.end(),
                        [&](const Instruction& i) {
                          return i.pass == Pass::forward && i.layer == "conv_transpose4" &&
                                 matches(i.op);
                        }) -
           list.begin();
  };
  const auto conv = position([](const Op& op) { return std::holds_alternative<ConvDgrad>(op); });
  const auto bias = position([](const Op& op) { return std::holds_alternative<AddBias>(op); });
  EXPECT_LT(conv, bias);
  EXPECT_LT(bias, static_cast<std::ptrdiff_t>(list.size()));
}

// What needs no gradient gets none: the image in a Concat, and a factor that follows from it.
TEST(Lower, GradientsGoToTrainedLayersOnly) {
  const Workbench setup(
      "replicas: 1\nbatch_per_replica: 2\nnorm: none\nmodel:\n  layers:\n"
      "    - {type: conv, out: 3, kernel: 1, name: a}\n"
      "    - {type: multiply, from: input}\n"
      "    - {type: concat, from: input}\n"
      "    - global_pool\n"
      "    - {type: linear, out: 5}\n");
  const Program& program = setup.executor->program();
  EXPECT_EQ(count<SliceChannels>(program), 1);
  for (const Instruction& instruction : program.instructions)
    if (std::holds_alternative<MultiplyBackward>(instruction.op) &&
        instruction.kind == InstructionKind::compute) {
      EXPECT_GE(instruction.args[3], 0);
      EXPECT_EQ(instruction.args[4], kAbsent);
    }
}

TEST(Fusion, NoiseBehindOneNormLeavesTheOthersFused) {
  const auto fused = [](const std::string& norm) {
    const Workbench setup(resnet(norm));
    int count = 0;
    for (const Instruction& i : setup.executor->program().instructions)
      if (const auto* op = std::get_if<BatchNormalize>(&i.op)) count += op->relu ? 1 : 0;
    return count;
  };
  EXPECT_EQ(fused("bn"), 7);
  EXPECT_EQ(fused("{kind: batch, noise: true}"), 0);
  EXPECT_EQ(fused("{kind: batch, layers: [{match: bn1, noise: true}]}"), 6);
}

TEST(Schedule, TheShortcutsConvolutionRunsUnderTheFirstNormsReduction) {
  const Workbench setup(resnet("syncbn"));
  const Program& program = setup.executor->program();
  for (const std::string block : {"layer2.0", "layer3.0"}) {
    EXPECT_EQ(layers_under<ConvForward>(program, block + ".bn1 statistics"),
              std::vector<std::string>{block + ".downsample.0"});
    EXPECT_EQ(layers_under<BatchMoments>(program, block + ".bn1 statistics"),
              std::vector<std::string>{block + ".downsample.1"});
  }
  EXPECT_TRUE(layers_under<ConvForward>(program, "layer1.0.bn1 statistics").empty());
}

/// Position of the first instruction of `layer` that is an Op, or a start or wait of its
/// statistics.
template <class Op>
std::size_t position(const Program& program, const std::string& layer) {
  for (std::size_t i = 0; i < program.instructions.size(); ++i) {
    const Instruction& in = program.instructions[i];
    if (in.layer == layer && in.kind == InstructionKind::compute &&
        std::holds_alternative<Op>(in.op))
      return i;
  }
  return SIZE_MAX;
}
std::size_t position(const Program& program, const std::string& layer, InstructionKind kind) {
  for (std::size_t i = 0; i < program.instructions.size(); ++i) {
    const Instruction& in = program.instructions[i];
    if (in.layer == layer && in.kind == kind && in.pass == Pass::forward) return i;
  }
  return SIZE_MAX;
}

TEST(Overlap, IndependentBranchesTakeTurns) {
  Workbench setup(kTwoBranches);
  const Program& program = setup.executor->program();
  const auto start = [&](const char* l) {
    return position(program, l, InstructionKind::reduce_start);
  };
  const auto wait = [&](const char* l) {
    return position(program, l, InstructionKind::reduce_wait);
  };
  // Each branch's first reduction runs under the other one's convolution, and again the second's.
  EXPECT_LT(start("an1"), position<ConvForward>(program, "b1"));
  EXPECT_LT(position<ConvForward>(program, "b1"), wait("an1"));
  EXPECT_LT(start("bn1"), position<ConvForward>(program, "a2"));
  EXPECT_LT(position<ConvForward>(program, "a2"), wait("bn1"));
  EXPECT_LT(start("an2"), position<ConvForward>(program, "b2"));
  EXPECT_LT(position<ConvForward>(program, "b2"), wait("an2"));
  // Everything reads what was written before, in the new order too.
  std::vector<bool> written(program.tensors.size(), false);
  for (const Instruction& in : program.instructions) {
    if (in.pass == Pass::backward) continue;
    for (std::size_t a = 0; a < in.args.size(); ++a) {
      if (in.args[a] < 0) continue;
      const auto t = static_cast<std::size_t>(in.args[a]);
      const Tensor& tensor = program.tensors[t];
      if (a >= static_cast<std::size_t>(in.first_output)) {
        if (in.kind != InstructionKind::reduce_start) {
          written[t] = true;
          for (std::size_t v = 0; v < program.tensors.size(); ++v)
            if (program.tensors[v].whole == in.args[a] || tensor.whole == static_cast<int>(v))
              written[v] = true;
        }
      } else if (tensor.space == Space::arena && in.layer != "loss") {
        EXPECT_TRUE(written[t]) << in.layer << " reads " << tensor.name;
      }
    }
  }
  EXPECT_TRUE(std::isfinite(setup.run()));
}

TEST(Executor, AnEmptyGroupKeepsItsRunningStatistics) {
  Workbench setup(
      "replicas: 3\nbatch_per_replica: 3\nsteps: 1\nnorm: bn\nmodel: {architecture: lenet}\n",
      {12, 12, 1}, 5, {3, 2, 0});
  const auto floats = setup.executor->program().running_floats;
  for (float& value : setup.memory.running.host<float>()) value = 0.5f;
  setup.state.update_running = true;
  setup.executor->run(setup.state, {setup.images.data(), setup.labels.data(), setup.ids.data()});
  const auto running = setup.memory.running.host<float>();
  ASSERT_EQ(running.size(), 3 * floats);
  for (std::size_t i = 0; i < floats; ++i) {
    EXPECT_NE(running[i], 0.5f);
    EXPECT_NE(running[floats + i], 0.5f);
    EXPECT_EQ(running[2 * floats + i], 0.5f);
  }
}

TEST(Schedule, BackwardStatisticsFlyUnderWeightGradients) {
  const Workbench setup(resnet("syncbn", 2, "resnet20"));
  const Program& program = setup.executor->program();
  int covered = 0, backward = 0;
  for (std::size_t i = 0; i < program.instructions.size(); ++i) {
    const Instruction& start = program.instructions[i];
    if (start.kind != InstructionKind::reduce_start ||
        program.reductions[static_cast<std::size_t>(start.reduction)].kind !=
            ReductionKind::backward_statistics)
      continue;
    ++backward;
    for (std::size_t j = i + 1; j < program.instructions.size(); ++j) {
      const Instruction& next = program.instructions[j];
      if (next.kind == InstructionKind::reduce_wait && next.reduction == start.reduction) break;
      if (std::holds_alternative<ConvWgrad>(next.op) && next.kind == InstructionKind::compute) {
        ++covered;
        break;
      }
    }
  }
  EXPECT_EQ(backward, 19);  // of 21 norms, two share a message with another one
  // All but the last norm before the classifier, which has nothing to hide under.
  EXPECT_EQ(covered, 18);
}

TEST(Schedule, BucketsCoverEveryGradientOnceAndLeaveComplete) {
  Workbench setup(resnet("syncbn", 2, "resnet20"));
  ProgramOptions options = setup.executor->program().options;
  options.first_bucket_bytes = 10'000;
  options.bucket_bytes = 100'000;
  const Program program = compile_program(setup.graph, *setup.device, options);
  std::size_t at = 0;
  int buckets = 0;
  for (std::size_t r = 0; r < program.reductions.size(); ++r) {
    const ReductionSpec& spec = program.reductions[r];
    if (spec.kind != ReductionKind::gradient) continue;
    EXPECT_EQ(spec.offset, at);
    at += spec.count;
    ++buckets;
    bool started = false;
    for (const Instruction& i : program.instructions) {
      if (i.kind == InstructionKind::reduce_start && i.reduction == static_cast<int>(r))
        started = true;
      for (std::size_t a = static_cast<std::size_t>(i.first_output); a < i.args.size(); ++a) {
        if (i.args[a] < 0) continue;
        const Tensor& tensor = program.tensors[static_cast<std::size_t>(i.args[a])];
        const std::size_t first = tensor.offset / sizeof(float);
        if (tensor.space == Space::gradient && first >= spec.offset &&
            first < spec.offset + spec.count)
          EXPECT_FALSE(started) << tensor.name << " is written after its bucket left";
      }
    }
    EXPECT_TRUE(started);
  }
  EXPECT_EQ(at, program.parameter_floats);
  EXPECT_GT(buckets, 5);
}

TEST(Schedule, BucketsShrinkTowardsTheEnd) {
  // Nothing hides the last bucket, so it must be small: here at most 64 KiB and a convolution.
  Workbench setup(resnet("bn", 2, "resnet20"));
  std::vector<std::size_t> bytes;
  for (const ReductionSpec& spec : setup.executor->program().reductions)
    if (spec.kind == ReductionKind::gradient) bytes.push_back(spec.count * sizeof(float));
  ASSERT_GE(bytes.size(), 4u);
  EXPECT_GE(bytes.front(), setup.executor->program().trained_floats * sizeof(float) / 3);
  for (std::size_t b = 1; b < bytes.size(); ++b) EXPECT_LE(bytes[b], bytes[b - 1]);
  EXPECT_LE(bytes.back(), std::size_t{80} << 10);
}

/// Tensors that are alive at the same instruction must not share bytes.
void expect_no_overlap(Program program, int wave, int groups, int replicas) {
  const std::size_t total = allocate(program, wave, groups, replicas);
  struct Place {
    std::size_t first, last, begin, end;
  };
  std::vector<Place> places;
  for (std::size_t t = 0; t < program.tensors.size(); ++t) {
    const Tensor& tensor = program.tensors[t];
    if (tensor.space != Space::arena) continue;
    std::size_t first = SIZE_MAX, last = 0;
    for (std::size_t i = 0; i < program.instructions.size(); ++i)
      for (const int arg : program.instructions[i].args)
        if (arg == static_cast<int>(t)) {
          first = std::min(first, i);
          last = std::max(last, i);
        }
    if (first == SIZE_MAX) continue;
    if (tensor.persistent) {
      first = 0;
      last = SIZE_MAX;
    }
    const int copies = tensor.per == Per::once           ? 1
                       : tensor.per == Per::wave_replica ? wave
                       : tensor.per == Per::wave_group   ? groups
                                                         : replicas;
    const std::size_t end =
        tensor.offset + tensor.stride * static_cast<std::size_t>(copies - 1) + tensor.bytes;
    EXPECT_LE(end, total);
    for (const Place& other : places)
      if (first <= other.last && other.first <= last)
        ASSERT_TRUE(end <= other.begin || tensor.offset >= other.end) << tensor.name;
    places.push_back({first, last, tensor.offset, end});
  }
}

TEST(Allocate, LivesThatOverlapDoNotSharePlaces) {
  for (const char* norm :
       {"syncbn", "bn", "{kind: group, groups: 2}", "{kind: batch, deviation: linf}",
        "{kind: batch, renormalize: true, weights: normalized}"})
    for (const char* name : {"resnet8", "lenet", "mlp", "resnet20"}) {
      const Workbench setup(resnet(norm, 2, name), {28, 28, 3}, 10);
      expect_no_overlap(setup.executor->program(), 2, 1, 2);
      expect_no_overlap(setup.executor->program(), 1, 1, 2);
    }
}

TEST(Memory, LocalNormsNeedTheActivationsOfOneReplica) {
  const Workbench two(resnet("gn", 2)), sixteen(resnet("gn", 16));
  EXPECT_LE(sixteen.executor->arena_bytes(), two.executor->arena_bytes() + 14 * 64);
  const Workbench synced(resnet("syncbn", 16));
  EXPECT_GT(synced.executor->arena_bytes(), 8 * two.executor->arena_bytes());
}

TEST(Lower, AMovingAverageOfOneValueIsRefused) {
  const std::string one =
      "replicas: 4\nbatch_per_replica: 1\nsteps: 1\nmodel: {architecture: mlp, "
      "hidden: [8]}\nnorm: {kind: mabn, synced_replicas: ";
  try {
    const Workbench setup(one + "1}\n");
    FAIL() << "a single value was accepted";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("of which only the sign would be left"),
              std::string::npos)
        << error.what();
  }
  EXPECT_NO_THROW(Workbench(one + "2}\n"));
}

TEST(Lower, OneValuePerChannelIsRefusedFromShapes) {
  try {
    const Workbench setup(
        "replicas: 4\nbatch_per_replica: 1\nsteps: 1\nnorm: bn\n"
        "model: {architecture: mlp, hidden: [8]}\n");
    FAIL() << "batch normalization over one value was accepted";
  } catch (const InputError& error) {
    EXPECT_STREQ(
        error.what(),
        "norm: layer 'bn1': batch normalization over 1 replica sees one value per channel in a "
        "batch of 4 samples (one sample of a 1x1 map), which has no variance; raise "
        "batch_per_replica or norm.synced_replicas, set drop_last: true if it is the last "
        "batch, or use norm: gn, ln or none");
  }
  EXPECT_NO_THROW(
      Workbench("replicas: 4\nbatch_per_replica: 1\nsteps: 1\nnorm: syncbn\n"
                "model: {architecture: mlp, hidden: [8]}\n"));
}

TEST(Lower, ACrossIterationNormNeedsWeightsBeforeIt) {
  try {
    const Workbench setup(
        "replicas: 2\nbatch_per_replica: 4\nsteps: 1\nnorm: {kind: cross_iteration}\n"
        "model: {architecture: mlp, hidden: [8], norm_position: after_activation}\n");
    FAIL() << "a norm behind an activation was accepted";
  } catch (const InputError& error) {
    EXPECT_STREQ(
        error.what(),
        "norm: layer 'bn1': cross-iteration normalization follows the weights of the layer "
        "before it, and 'act1' has none; place it behind a convolution or a linear layer, "
        "or give this layer another norm in norm.layers");
  }
  EXPECT_NO_THROW(
      Workbench("replicas: 2\nbatch_per_replica: 4\nsteps: 1\nnorm: {kind: cross_iteration}\n"
                "model: {architecture: mlp, hidden: [8]}\n"));
}

// Each update's slopes lie where the checkpoint says, and the next update's loss depends on them.
TEST(Executor, ACrossIterationNormKeepsEveryUpdate) {
  Workbench setup(
      "replicas: 2\nbatch_per_replica: 3\nsteps: 1\nnorm: {kind: cross_iteration, "
      "synced_replicas: 1, window: 3, window_start: 0}\nmodel: {architecture: resnet8}\n",
      {8, 8, 1});
  setup.state.update_running = true;
  const Program& program = setup.executor->program();
  std::size_t weights = 0;
  for (const RunningSlot& slot : program.running) {
    ASSERT_EQ(slot.history.size(), 5U);
    EXPECT_EQ(slot.history[4].shape[1], slot.channels);
    weights += slot.history[4].count();
  }
  std::size_t convolutions = 0;
  for (const Parameter& parameter : setup.graph.parameters)
    if (parameter.shape.size() == 4) convolutions += parameter.count();
  EXPECT_EQ(weights, 2 * convolutions);
  const auto kept = [&](int group, int slot) {
    setup.memory.history.pull();
    return setup.memory.history
        .host<float>()[static_cast<std::size_t>(group) * program.history_floats +
                       program.running[0].history[0].offset + static_cast<std::size_t>(slot)];
  };
  const double alone = setup.step();
  for (const int group : {0, 1}) {
    EXPECT_EQ(kept(group, 0), 3.0f * 8 * 8);
    EXPECT_EQ(kept(group, 1), 0.0f);
  }
  ++setup.state.step;
  setup.parameter(0)[0] += 0.5f;
  const double with_first = setup.step();
  EXPECT_EQ(kept(1, 1), 3.0f * 8 * 8);
  for (float& value : setup.memory.history.host<float>()) value = 0.0f;
  setup.memory.history.push();
  EXPECT_NE(setup.step(), with_first);
  EXPECT_NE(with_first, alone);
}

TEST(Executor, NamesTheLayerWhereANanBegan) {
  Workbench setup(resnet("syncbn"));
  const auto& parameters = setup.graph.parameters;
  const auto found = std::find_if(parameters.begin(), parameters.end(), [](const Parameter& p) {
    return p.name == "layer2.0.conv1.weight";
  });
  setup.run();
  const BatchView batch{setup.images.data(), setup.labels.data(), setup.ids.data()};
  EXPECT_EQ(find_nonfinite(*setup.executor, setup.state, batch).instruction, -1);
  setup.parameter(static_cast<std::size_t>(found - parameters.begin()))[3] = INFINITY;
  const NonFinite first = find_nonfinite(*setup.executor, setup.state, batch);
  ASSERT_GE(first.instruction, 0);
  EXPECT_EQ(setup.executor->instruction_name(first.instruction), "layer 'layer2.0.conv1' (conv)");
  // One weight of one filter: some values of one channel, here all where an image touches it.
  EXPECT_THAT(first.values, ::testing::MatchesRegex("[0-9]+ of [0-9]+ values, the others from .*"));
}

TEST(Executor, RunningStatisticsFollowOnlyWhenAsked) {
  Workbench setup(resnet("syncbn"));
  const auto running = setup.memory.running.host<float>();
  setup.run();
  EXPECT_TRUE(std::all_of(running.begin(), running.end(), [](float v) { return v == 0.0f; }));
  setup.state.update_running = true;
  setup.executor->run(setup.state, {setup.images.data(), setup.labels.data(), setup.ids.data()});
  EXPECT_TRUE(std::any_of(running.begin(), running.end(), [](float v) { return v != 0.0f; }));
}

// As when activations are recomputed: the batch is seen twice and counts once.
TEST(Executor, ASecondForwardPassLeavesRunningStatisticsAsTheyAre) {
  Workbench setup(resnet("syncbn"));
  const BatchView batch{setup.images.data(), setup.labels.data(), setup.ids.data()};
  setup.state.update_running = true;
  setup.executor->run(setup.state, batch);
  const auto running = setup.memory.running.host<float>();
  const std::vector<float> once(running.begin(), running.end());
  find_nonfinite(*setup.executor, setup.state, batch);
  EXPECT_TRUE(std::equal(once.begin(), once.end(), running.begin()));
}

}  // namespace
}  // namespace syncnorm::test
