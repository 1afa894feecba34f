// norm.layers: what an entry inherits, how it is printed, and its mistakes.
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/config/load.h"

namespace syncnorm {
namespace {

LoadedExperiment parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_experiment_text(text, "a.yaml", overrides);
}

std::vector<NormRule> rules(const std::string& text,
                            const std::vector<std::string>& overrides = {}) {
  return parse(text, overrides).experiment.norm_rules;
}

std::string refusal(const std::string& text) {
  try {
    parse(text);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(NormRules, AnEntryChangesItsKeysAndInheritsTheOthers) {
  const auto read = rules(
      "norm: {kind: group, groups: 4, eps: 1.0e-3, layers: [{match: a, groups: 2}, {match: [b, "
      "\"c*\"], kind: batch, momentum: 0.5}]}");
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[0].match, std::vector<std::string>{"a"});
  EXPECT_EQ(read[0].norm.kind, NormKind::group);
  EXPECT_EQ(read[0].norm.groups, 2);
  EXPECT_EQ(read[0].norm.eps, 1e-3);
  EXPECT_EQ(read[1].match, (std::vector<std::string>{"b", "c*"}));
  EXPECT_EQ(read[1].norm.kind, NormKind::batch);
  EXPECT_EQ(read[1].norm.momentum, 0.5);
  EXPECT_EQ(read[1].norm.groups, 4);
  EXPECT_EQ(read[1].norm.synced_replicas, 8);
}

TEST(NormRules, AnEntryInheritsFromLaterLayersToo) {
  const std::string text = "norm: {kind: group, layers: [{match: a, kind: layer}]}";
  const auto read = rules(text, {"norm.eps=0.25", "norm.groups=16"});
  EXPECT_EQ(read[0].norm.eps, 0.25);
  EXPECT_EQ(read[0].norm.groups, 16);
  EXPECT_TRUE(rules(text, {"norm.layers=[]"}).empty());
}

TEST(NormRules, AnotherKindDropsWhatItDoesNotRead) {
  const auto read = rules(
      "norm: {kind: frn, tlu: true, layers: [{match: a, kind: group}, {match: b, affine: false}]}");
  EXPECT_FALSE(read[0].norm.tlu);
  EXPECT_EQ(read[0].norm.eps, 1e-5);  // 1e-6 is FRN's own
  EXPECT_TRUE(read[1].norm.tlu);
  EXPECT_EQ(read[1].norm.eps, 1e-6);
  EXPECT_FALSE(read[1].norm.affine);
}

TEST(NormRules, SharedStatisticsOfAnyLayerCount) {
  EXPECT_EQ(parse("norm: {kind: group, layers: [{match: a, kind: batch}]}")
                .experiment.norm.synced_replicas,
            8);
  EXPECT_EQ(refusal("replicas: 4\nnorm: {kind: none, synced_replicas: 3, layers: [{match: a, kind: "
                    "batch}]}"),
            "a.yaml:2:48: norm.synced_replicas: 3 does not divide the 4 replicas; give all, 1, 2 "
            "or 4");
}

TEST(NormRules, ThePrintedTextReadsBackToTheSame) {
  const LoadedExperiment loaded = parse(
      "norm: {layers: [{match: \"layer[12].*\", kind: group, channels_per_group: 4}, {match: "
      "[a, 'b \"c\"'], kind: frozen, frozen: affine}]}");
  EXPECT_NE(loaded.yaml.find("layers: [{match: \"layer[12].*\", kind: group, channels_per_group: "
                             "4}, {match: [a, \"b \\\"c\\\"\"], kind: frozen, frozen: affine}]"),
            std::string::npos)
      << loaded.yaml;
  EXPECT_EQ(parse(loaded.yaml).yaml, loaded.yaml);
}

TEST(NormRules, MistakesNameTheEntryOrItsKey) {
  EXPECT_EQ(refusal("norm: {layers: {match: a}}"),
            "a.yaml:1:16: norm.layers: expected a list, got a map; write [a, b]");
  EXPECT_EQ(refusal("norm:\n  layers:\n    - gn"),
            "a.yaml:3:7: norm.layers[0]: expected a map, got 'gn'; write `{match: \"layer4.*\", "
            "kind: group}`");
  EXPECT_EQ(refusal("norm: {layers: [{kind: group}]}"),
            "a.yaml:1:17: norm.layers[0]: has no `match`; write `{match: \"layer4.*\", kind: "
            "group}`");
  EXPECT_EQ(refusal("norm: {layers: [{match: a}]}"),
            "a.yaml:1:17: norm.layers[0]: changes nothing; give a kind or another key of `norm` "
            "beside `match`");
  EXPECT_EQ(
      refusal("norm: {layers: [{match: [], kind: group}]}"),
      "a.yaml:1:25: norm.layers[0].match: the list is empty; give it patterns of layer names");
  EXPECT_EQ(refusal("norm: {layers: [{match: a, synced_replicas: 2}]}"),
            "a.yaml:1:28: norm.layers[0].synced_replicas: is one for all layers; give it in `norm` "
            "itself");
  EXPECT_NE(refusal("norm: {layers: [{match: a, grups: 2}]}")
                .find("a.yaml:1:28: norm.grups: unknown key; did you mean `norm.groups`?"),
            std::string::npos);
  EXPECT_EQ(refusal("norm: {layers: [{match: a, kind: group, tlu: true}]}"),
            "a.yaml:1:46: norm.tlu: is the activation of FRN; give `kind: frn`, or leave tlu out");
}

}  // namespace
}  // namespace syncnorm
