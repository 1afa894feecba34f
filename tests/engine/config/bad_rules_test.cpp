// Bad configurations whose keys are good one by one, each with its whole message.
#include <gtest/gtest.h>

#include "tests/engine/config/bad_config.h"

namespace syncnorm {
namespace {

TEST(BadRules, KeysOfOneKindOfNorm) {
  expect_messages({
      {"norm: {kind: batch, channels_per_group: 4}\n",
       "a.yaml:1:41: norm.channels_per_group: only kind: group and evonorm_s0 read it; set one of "
       "them, or leave it out"},
      {"norm: {frozen: affine}\n",
       "a.yaml:1:16: norm.frozen: only kind: frozen reads it; set `norm.kind: frozen`, or leave it "
       "out"},
      {"norm: {kind: group, groups: 4, channels_per_group: 4}\n",
       "a.yaml:1:52: norm.channels_per_group: norm.groups is given as well (at a.yaml:1:29); give "
       "one of them"},
      {"norm: {kind: frozen, frozen: all}\n",
       "a.yaml:1:30: norm.frozen: 'all' is not a choice; give both, statistics or affine"},
      {"norm: {kind: group, channels_per_group: 0}\n",
       "a.yaml:1:41: norm.channels_per_group: '0' is out of range; give an integer from 1 to "
       "1048576"},
      {"replicas: 4\nnorm: {kind: frozen, frozen: affine, synced_replicas: 3}\n",
       "a.yaml:2:55: norm.synced_replicas: 3 does not divide the 4 replicas; give all, 1, 2 or 4"},
  });
}

TEST(BadRules, RulesBetweenKeys) {
  expect_messages({
      {"epochs: 3\nsteps: 5\n",
       "a.yaml:2:8: steps: epochs is given as well (at a.yaml:1:9); give one of them"},
      {"replicas: 4\nglobal_batch: 8\n",
       "a.yaml:2:15: global_batch: replicas is given as well (at a.yaml:1:11); give one of them"},
      {"global_batch: 15\n",
       "a.yaml:1:15: global_batch: 15 is not a multiple of batch_per_replica, 2; give one that is"},
      {"global_batch: 16\nbatch_per_replica: 3\n",
       "a.yaml:2:20: global_batch: 16 is not a multiple of batch_per_replica, 3; give one that is"},
      {"global_batch: 2000000\n",
       "a.yaml:1:15: global_batch: makes 1000000 replicas; at most 65536 are possible"},
      {"replicas: 65536\nbatch_per_replica: 65536\n",
       "a.yaml:2:20: batch_per_replica: makes a global batch of 4294967296; at most 2147483647 "
       "samples are possible"},
      {"norm: {synced_replicas: 3}\n",
       "a.yaml:1:25: norm.synced_replicas: 3 does not divide the 8 replicas; give all, 1, 2, 4 or "
       "8"},
      {"norm: {synced_replicas: 16}\n",
       "a.yaml:1:25: norm.synced_replicas: 16 is more than the 8 replicas; give all, 1, 2, 4 or 8"},
      {"norm: {synced_replicas: 4}\nreplicas: 6\n",
       "a.yaml:2:11: norm.synced_replicas: 4 does not divide the 6 replicas; give all, 1, 2, 3 or "
       "6"},
      {"norm: {synced_replicas: 4}\nglobal_batch: 12\n",
       "a.yaml:2:15: norm.synced_replicas: 4 does not divide the 6 replicas; give all, 1, 2, 3 or "
       "6"},
      {"schedule: {kind: step}\n",
       "a.yaml:1:18: schedule.milestones: kind: step needs milestones; give a list of steps, for "
       "example [1000, 2000]"},
      {"schedule: {kind: step, milestones: [5, 5]}\n",
       "a.yaml:1:36: schedule.milestones: must increase from entry to entry; sort them, without "
       "repetitions"},
      {"schedule: {kind: step, milestones: [5, 0]}\n",
       "a.yaml:1:40: schedule.milestones[1]: '0' is out of range; give an integer ≥ 1"},
      {"schedule: {milestones: [5]}\n",
       "a.yaml:1:24: schedule.milestones: only kind: step reads milestones; set `schedule.kind: "
       "step`, or remove them"},
      {"schedule: {kind: cosine, milestones: [5]}\n",
       "a.yaml:1:38: schedule.milestones: only kind: step reads milestones; set `schedule.kind: "
       "step`, or remove them"},
      {"norm: {kind: none, noise: true}\n",
       "a.yaml:1:27: norm.noise: stands behind a normalization, and kind: none has none; give "
       "another kind, or leave noise out"},
      {"norm: {kind: group, over: channels}\n",
       "a.yaml:1:27: norm.over: channels is for layer norm; give `kind: layer`, or leave over out"},
      {"norm: {kind: rms, tlu: true}\n",
       "a.yaml:1:24: norm.tlu: is the activation of FRN; give `kind: frn`, or leave tlu out"},
      {"norm: {kind: momentum, renormalize: true}\n",
       "a.yaml:1:37: norm.renormalize: is for kind: batch; kind: momentum has statistics of its "
       "own; "
       "leave it out, or give `kind: batch`"},
      {"norm: {kind: momentum, deviation: l1}\n",
       "a.yaml:1:35: norm.deviation: is for kind: batch; kind: momentum has statistics of its own; "
       "leave it out, or give `kind: batch`"},
      {"norm: {momentum_images: 32}\n",
       "a.yaml:1:25: norm.momentum_images: only kind: momentum reads it; set `norm.kind: "
       "momentum`, "
       "or leave it out"},
      {"norm: {kind: group, momentum_ramp: 5}\n",
       "a.yaml:1:36: norm.momentum_ramp: only kind: momentum reads it; set `norm.kind: momentum`, "
       "or leave it out"},
      {"norm: {window: 4}\n",
       "a.yaml:1:16: norm.window: only kind: mabn and cross_iteration read it; set one of them, or "
       "leave it out"},
      {"norm: {kind: momentum, window_start: 4}\n",
       "a.yaml:1:38: norm.window_start: only kind: mabn and cross_iteration read it; set one of "
       "them, or leave it out"},
      {"norm: {kind: cross_iteration, window: 1}\n",
       "a.yaml:1:39: norm.window: of one update is batch norm; give 2 or more, or `kind: batch`"},
      {"norm: {kind: cross_iteration, weights: centered}\n",
       "a.yaml:1:40: norm.weights: kind: cross_iteration follows the change of plain weights; "
       "leave "
       "out one of the two"},
      {"norm: {weights: centered, layers: [{match: \"*\", kind: cross_iteration}]}\n",
       "a.yaml:1:35: norm.weights: kind: cross_iteration follows the change of plain weights; "
       "leave "
       "out one of the two"},
      {"norm: {kind: mabn, precise_samples: 64}\n",
       "a.yaml:1:37: norm.precise_samples: kind: mabn keeps no mean and variance that samples "
       "could "
       "replace; leave it out, or give another kind"},
      {"replicas: 4\nnorm: {kind: evonorm_b0, synced_replicas: 3}\n",
       "a.yaml:2:43: norm.synced_replicas: 3 does not divide the 4 replicas; give all, 1, 2 or 4"},
      {"norm: {noise_scale: 0.9}\n",
       "a.yaml:1:21: norm.noise_scale: '0.9' is out of range; give a number ≥ 1"},
      {"optimizer: {nesterov: true, momentum: 0}\n",
       "a.yaml:1:39: optimizer.nesterov: needs a momentum above 0; set `optimizer.momentum: 0.9`, "
       "or nesterov to false"},
  });
}

TEST(BadRules, EvaluationStatistics) {
  expect_messages({
      {"evaluation: {statistics: []}\n",
       "a.yaml:1:26: evaluation.statistics: is empty; give at least one, such as [running]"},
      {"evaluation: {statistics: batch}\n",
       "a.yaml:1:26: evaluation.statistics: expected a list, got 'batch'; write [batch]"},
      {"evaluation: {statistics: [running, population]}\n",
       "a.yaml:1:36: evaluation.statistics[1]: 'population' is not a choice; give running, "
       "precise, "
       "batch, test_set or mixed"},
      {"evaluation: {statistics: [batch, batch]}\n",
       "a.yaml:1:34: evaluation.statistics[1]: 'batch' is listed twice; list it once"},
      {"norm: gn\nevaluation: {statistics: [running, batch]}\n",
       "a.yaml:2:26: evaluation.statistics: kind: group has no statistics over the batch; give "
       "[running], or a norm over the batch"},
      {"norm: frozen\nevaluation: {statistics: [test_set]}\n",
       "a.yaml:2:26: evaluation.statistics: kind: frozen has no statistics over the batch; give "
       "[running], or a norm over the batch"},
      {"norm: {deviation: l1}\nevaluation: {statistics: [running, test_set]}\n",
       "a.yaml:2:26: evaluation.statistics: others than running work with deviation: l2 only; "
       "leave out one of the two"},
      {"evaluation: {statistics: [mixed]}\n",
       "a.yaml:1:26: evaluation.mixed_weights: validation images choose among several weights; set "
       "data.validation to their number, or give one weight, as [0.1]"},
      {"evaluation: {statistics: [mixed], mixed_weights: []}\n",
       "a.yaml:1:50: evaluation.mixed_weights: is empty; give at least one weight in [0, 1]"},
      {"evaluation: {mixed_weights: [0.5, 1.5]}\n",
       "a.yaml:1:35: evaluation.mixed_weights[1]: '1.5' is out of range; give a number in [0, 1]"},
      {"evaluation: {batch: -1}\n",
       "a.yaml:1:21: evaluation.batch: '-1' is out of range; give an integer from 0 to 1048576"},
      {"evaluation: {precise_samples: 0}\n",
       "a.yaml:1:31: evaluation.precise_samples: '0' is out of range; give an integer ≥ 1"},
  });
}

TEST(BadRules, AveragedWeights) {
  expect_messages({
      {"ema: {decay: 1}\n", "a.yaml:1:14: ema.decay: '1' is out of range; give a number in [0, 1)"},
      {"ema: {decay: 0.9, every: 0}\n",
       "a.yaml:1:26: ema.every: '0' is out of range; give an integer ≥ 1"},
      {"ema: {every: 2}\n",
       "a.yaml:1:14: ema.every: there is no average without a decay; give ema.decay, as 0.999, or "
       "leave it out"},
      {"ema: {decay: 0.9, statistics: latest}\n",
       "a.yaml:1:31: ema.statistics: 'latest' is not a choice; give average, copy or precise"},
      {"ema: {decay: 0.9, statistics: precise}\nnorm: gn\n",
       "a.yaml:2:7: ema.statistics: precise is for norms over the batch with deviation: l2; give "
       "average or copy"},
      {"ema: {decay: 0.9, statistics: precise}\nnorm: {deviation: linf}\n",
       "a.yaml:2:19: ema.statistics: precise is for norms over the batch with deviation: l2; give "
       "average or copy"},
  });
}

}  // namespace
}  // namespace syncnorm
