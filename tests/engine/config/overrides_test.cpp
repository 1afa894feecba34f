// key.path=value arguments: what they set, and what is wrong with them.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/engine/config/config_test_files.h"

namespace syncnorm {
namespace {

Experiment with(const std::vector<std::string>& overrides) {
  return parse_experiment_text("name: t\nseed: 3\n", "a.yaml", overrides).experiment;
}

std::string error_with(const std::vector<std::string>& overrides) {
  return text_error("name: t\nseed: 3\n", overrides);
}

TEST(Overrides, SetValuesOfEveryKind) {
  const Experiment e = with({"data.augment=[random_crop]", "model.hidden=[32,16]", "norm=gn",
                             "optimizer.lr=.5", "data.shuffle=false", "seed=7", "run_dir=a b",
                             "data.path=x=y", "schedule={kind: step, milestones: [3]}"});
  EXPECT_EQ(e.data.augment, std::vector<AugmentKind>{AugmentKind::random_crop});
  EXPECT_EQ(e.model.hidden, (std::vector<int>{32, 16}));
  EXPECT_EQ(e.norm.kind, NormKind::group);
  EXPECT_EQ(e.optimizer.lr, 0.5);
  EXPECT_FALSE(e.data.shuffle);
  EXPECT_EQ(e.seed, 7u);
  EXPECT_EQ(e.run_dir, "a b");
  EXPECT_EQ(e.data.path, "x=y");
  EXPECT_EQ(e.schedule.kind, ScheduleKind::step);
  EXPECT_EQ(e.schedule.milestones, std::vector<int>{3});
  EXPECT_EQ(with({"name=other"}).run_dir, "runs/other");
}

TEST(Overrides, NormShortFormsLeaveTheOtherKeys) {
  const auto norm = [](const std::string& word) {
    return parse_experiment_text("norm: {kind: batch, synced_replicas: 2, groups: 4, eps: 0.5}\n",
                                 "a.yaml", {"norm=" + word})
        .experiment.norm;
  };
  EXPECT_EQ(norm("bn").kind, NormKind::batch);
  EXPECT_EQ(norm("bn").synced_replicas, 1);
  EXPECT_EQ(norm("bn").eps, 0.5);
  EXPECT_EQ(norm("syncbn").kind, NormKind::batch);
  EXPECT_EQ(norm("syncbn").synced_replicas, 8);
  EXPECT_EQ(norm("gn").kind, NormKind::group);
  EXPECT_EQ(norm("gn").groups, 4);
  EXPECT_EQ(norm("ln").kind, NormKind::layer);
  EXPECT_EQ(norm("in").kind, NormKind::instance);
  EXPECT_EQ(norm("rms").kind, NormKind::rms);
  EXPECT_EQ(norm("dyt").kind, NormKind::dyt);
  EXPECT_EQ(norm("derf").kind, NormKind::derf);
  EXPECT_EQ(norm("none").kind, NormKind::none);
}

TEST(Overrides, Mistakes) {
  const std::vector<std::pair<std::vector<std::string>, const char*>> table = {
      {{"seed"}, "command line: 'seed' has no '='; write key.path=value"},
      {{"seed:1"},
       "command line: 'seed:1' has no '='; write = instead of the colon: key.path=value"},
      {{"=1"}, "command line: '=1' has no key before '='; write key.path=value"},
      {{""}, "command line: '' has no '='; write key.path=value"},
      {{"seed="}, "command line: seed: has no value; write seed=value"},
      {{"seed=~"}, "command line: seed: has no value; write seed=value"},
      {{"sede=1"}, "command line: sede: unknown key; did you mean `seed`?"},
      {{"lr=1"}, "command line: lr: unknown key; belongs under optimizer: `optimizer.lr`"},
      {{"optimizer.lrr=1"},
       "command line: optimizer.lrr: unknown key; did you mean `optimizer.lr`?"},
      {{"optimiser.lr=1"}, "command line: optimiser.lr: unknown key; did you mean `optimizer.lr`?"},
      {{"optimizer..lr=1"},
       "command line: optimizer..lr: unknown key; did you mean `optimizer.lr`?"},
      {{"optimizer.lr.x=1"},
       "command line: optimizer.lr.x: unknown key; did you mean `optimizer.lr`?"},
      {{"a\x1b.b=1"},
       "command line: a key has other characters than letters, digits, '_', '.' and '-'; write "
       "key.path=value"},
      {{"optimizer.lr=fast"},
       "command line: optimizer.lr: 'fast' is not a number; give a number ≥ 0"},
      {{"optimizer=sgd"},
       "command line: optimizer: expected a map of keys, got 'sgd'; write `optimizer: {kind: "
       "...}`"},
      {{"optimizer.lr={a: 1}"},
       "command line: optimizer.lr: expected a number ≥ 0, got a map; give one value"},
      {{"optimizer.lr=1", "optimizer.lr=2"},
       "command line: optimizer.lr: given twice; give it once"},
      {{"optimizer.lr=1", "optimizer={lr: 2}"},
       "command line: optimizer.lr: given twice; give it once"},
      {{"norm=bn", "norm.synced_replicas=2"},
       "command line: norm.synced_replicas: given twice; give it once"},
      {{"epochs=1", "steps=2"}, "command line: steps: epochs is given as well; give one of them"},
      {{"global_batch=15"},
       "command line: global_batch: 15 is not a multiple of batch_per_replica, 2; give one that "
       "is"},
      {{"norm.synced_replicas=3"},
       "command line: norm.synced_replicas: 3 does not divide the 8 replicas; give all, 1, 2, 4 "
       "or 8"},
      {{"model.hidden=[1"},
       "command line: model.hidden: a list is used as a key; write a name, or close the bracket"},
      {{"model.hidden=[1, x]"},
       "command line: model.hidden[1]: 'x' is not an integer; give an integer from 1 to 1048576"},
      {{"name='a"},
       "command line: name: not valid YAML, illegal EOF in scalar; check indentation, quotes and "
       "brackets"},
      {{"optimizer={lr: 1, lr: 2}"}, "command line: optimizer.lr: duplicate key; remove one"},
      {{"seed=1\n---\n2"}, "command line: seed: a second document begins; keep only one"},
      {{"_base_=b.yaml"},
       "command line: _base_: unknown key; it may only stand at the top level of a file"},
      {{"compare.seed=[1]"},
       "command line: compare.seed: unknown key; belongs at the top level: `seed`"},
  };
  for (const auto& [overrides, message] : table) EXPECT_EQ(error_with(overrides), message);
}

}  // namespace
}  // namespace syncnorm
