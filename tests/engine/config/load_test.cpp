// Good configurations: values, origins, and the resolved text that reads back to the same.
#include "engine/config/load.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <tuple>

#include "engine/config/names.h"
#include "engine/config/schema.h"
#include "tests/engine/config/config_test_files.h"

namespace syncnorm {
namespace {

LoadedExperiment parse(const std::string& text) { return parse_experiment_text(text, "a.yaml"); }

std::map<std::string, std::string> values_of(const LoadedExperiment& loaded) {
  std::map<std::string, std::string> values;
  for (const ResolvedValue& value : loaded.values) values[value.path] = value.value;
  return values;
}

TEST(Load, DefaultsAreThoseOfTheExperiment) {
  const Experiment e = parse("{}").experiment;
  const Experiment defaults;
  EXPECT_EQ(e.name, defaults.name);
  EXPECT_EQ(e.seed, defaults.seed);
  EXPECT_EQ(e.replicas, defaults.replicas);
  EXPECT_EQ(e.epochs, defaults.epochs);
  EXPECT_EQ(e.steps, 0);
  EXPECT_EQ(e.model.hidden, defaults.model.hidden);
  EXPECT_EQ(e.optimizer.eps, defaults.optimizer.eps);
  EXPECT_EQ(e.norm.synced_replicas, defaults.replicas);
  EXPECT_EQ(e.run_dir, "runs/experiment");
}

TEST(Load, ReadsNumbersToTheNearestDouble) {
  const auto lr = [](const std::string& text) {
    return parse("optimizer: {lr: " + text + "}").experiment.optimizer.lr;
  };
  EXPECT_EQ(lr("1"), 1.0);
  EXPECT_EQ(lr("1.0"), 1.0);
  EXPECT_EQ(lr("1e-3"), 1e-3);
  EXPECT_EQ(lr(".5"), 0.5);
  EXPECT_EQ(lr("1.5E+2"), 150.0);
  EXPECT_EQ(std::bit_cast<std::uint64_t>(lr("-0.0")), 0u);
  EXPECT_EQ(parse("seed: 18446744073709551615").experiment.seed, 18446744073709551615u);
  EXPECT_EQ(parse("epochs: 2147483647").experiment.epochs, 2147483647);
}

TEST(Load, SyncedReplicasAreResolved) {
  EXPECT_EQ(parse("replicas: 4\nnorm: {synced_replicas: all}").experiment.norm.synced_replicas, 4);
  EXPECT_EQ(parse("replicas: 4\nnorm: {synced_replicas: 2}").experiment.norm.synced_replicas, 2);
  EXPECT_EQ(parse("global_batch: 32\nnorm: syncbn").experiment.norm.synced_replicas, 16);
  // Kinds without shared statistics do not look at it, so a number that does not fit is kept.
  const LoadedExperiment group = parse("replicas: 8\nnorm: {kind: group, synced_replicas: 3}");
  EXPECT_EQ(group.experiment.norm.synced_replicas, 1);
  EXPECT_EQ(values_of(group)["norm.synced_replicas"], "3");
  EXPECT_EQ(values_of(parse("norm: syncbn"))["norm.synced_replicas"], "all");
}

TEST(Load, EvaluationStatisticsOfANormWithoutThem) {
  const std::string all =
      "norm: {kind: frozen, frozen: affine}\nevaluation: {statistics: [batch]}\n";
  EXPECT_EQ(parse(all).experiment.evaluation.statistics, std::vector{EvaluationStatistics::batch});
  // A later layer that chooses another norm leaves the list of its base out.
  const auto of = [](const std::vector<std::string>& overrides) {
    return parse_experiment_text("evaluation: {statistics: [batch, running]}\n", "a.yaml",
                                 overrides)
        .experiment.evaluation;
  };
  EXPECT_EQ(of({}).statistics.size(), 2u);
  EXPECT_TRUE(of({"norm=gn"}).only_running());
  EXPECT_THROW(of({"norm=gn", "evaluation.statistics=[batch]"}), InputError);
}

TEST(Load, EvaluationBatchIsWhatSharesStatistics) {
  const auto batch = [](const std::string& text) {
    return parse("replicas: 4\nbatch_per_replica: 3\n" + text).experiment.evaluation_batch();
  };
  EXPECT_EQ(batch("norm: bn"), 3);
  EXPECT_EQ(batch("norm: syncbn"), 12);
  EXPECT_EQ(batch("norm: {synced_replicas: 2}"), 6);
  EXPECT_EQ(batch("norm: syncbn\nevaluation: {batch: 5}"), 5);
}

TEST(Load, AliasesAndQuotesAreOrdinaryYaml) {
  const Experiment e = parse(
                           "name: &n \"quoted\"\n"
                           "run_dir: *n\n"
                           "model: {hidden: &h [4, 5]}\n"
                           "schedule: {kind: 'step', milestones: *h}\n")
                           .experiment;
  EXPECT_EQ(e.name, "quoted");
  EXPECT_EQ(e.run_dir, "quoted");
  EXPECT_EQ(e.schedule.milestones, (std::vector<int>{4, 5}));
}

TEST(Load, Layers) {
  const LoadedExperiment loaded = parse(
      "model:\n"
      "  layers:\n"
      "    - {type: conv, out: 16, kernel: 3, padding: 1, bias: false}\n"
      "    - norm\n"
      "    - {type: relu, name: stem}\n"
      "    - {type: max_pool, kernel: 2}\n"
      "    - {type: average_pool, kernel: 3, stride: 1, padding: 1}\n"
      "    - {type: dropout, p: 0.25, input: stem}\n"
      "    - {type: add, from: stem}\n"
      "    - {type: linear, out: 10}\n");
  const std::vector<LayerSpec>& layers = loaded.experiment.model.layers;
  ASSERT_EQ(layers.size(), 8u);
  EXPECT_EQ(layers[0].type, LayerType::conv);
  EXPECT_EQ(layers[0].out, 16);
  EXPECT_EQ(layers[0].kernel, 3);
  EXPECT_EQ(layers[0].stride, 1);
  EXPECT_EQ(layers[0].padding, 1);
  EXPECT_FALSE(layers[0].bias);
  EXPECT_EQ(layers[0].mark, "a.yaml:3:7");
  EXPECT_EQ(layers[1].type, LayerType::norm);
  EXPECT_EQ(layers[1].mark, "a.yaml:4:7");
  EXPECT_EQ(layers[2].name, "stem");
  EXPECT_EQ(layers[3].stride, 2);
  EXPECT_EQ(layers[4].stride, 1);
  EXPECT_EQ(layers[5].p, 0.25);
  EXPECT_EQ(layers[5].input, "stem");
  EXPECT_EQ(layers[6].from, std::vector<std::string>{"stem"});
  EXPECT_TRUE(layers[7].bias);
  const LoadedExperiment again = parse(loaded.yaml);
  EXPECT_EQ(again.yaml, loaded.yaml);
  ASSERT_EQ(again.experiment.model.layers.size(), layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerSpec& a = layers[i];
    const LayerSpec& b = again.experiment.model.layers[i];
    EXPECT_EQ(std::tie(a.type, a.name, a.input, a.from, a.out, a.kernel, a.stride, a.padding,
                       a.bias, a.p),
              std::tie(b.type, b.name, b.input, b.from, b.out, b.kernel, b.stride, b.padding,
                       b.bias, b.p));
  }
}

TEST(Load, LayersThatEnlargeMaps) {
  const LoadedExperiment loaded = parse(
      "model:\n"
      "  layers:\n"
      "    - {type: conv_transpose, out: 4, kernel: 3, stride: 2, padding: 1, output_padding: 1, "
      "groups: 2, name: a}\n"
      "    - {type: upsample, scale: 3}\n"
      "    - {type: upsample, to: a, mode: bilinear, align_corners: true, name: b}\n"
      "    - {type: concat, from: [a, b, input]}\n"
      "    - {type: concat, from: a}\n"
      "    - {type: multiply, from: b}\n");
  const std::vector<LayerSpec>& layers = loaded.experiment.model.layers;
  ASSERT_EQ(layers.size(), 6u);
  EXPECT_EQ(layers[0].output_padding, 1);
  EXPECT_EQ(layers[0].groups, 2);
  EXPECT_EQ(layers[1].scale, 3);
  EXPECT_EQ(layers[1].mode, UpsampleMode::nearest);
  EXPECT_EQ(layers[2].to, "a");
  EXPECT_EQ(layers[2].mode, UpsampleMode::bilinear);
  EXPECT_TRUE(layers[2].align_corners);
  EXPECT_EQ(layers[3].from, (std::vector<std::string>{"a", "b", "input"}));
  EXPECT_EQ(layers[4].from, (std::vector<std::string>{"a"}));
  EXPECT_EQ(layers[5].from, (std::vector<std::string>{"b"}));
  EXPECT_NE(loaded.yaml.find("{type: upsample, mode: nearest, scale: 3, align_corners: false}"),
            std::string::npos)
      << loaded.yaml;
  const LoadedExperiment again = parse(loaded.yaml);
  EXPECT_EQ(again.yaml, loaded.yaml);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerSpec &a = layers[i], &b = again.experiment.model.layers[i];
    EXPECT_EQ(std::tie(a.type, a.name, a.from, a.output_padding, a.groups, a.mode, a.scale, a.to,
                       a.align_corners),
              std::tie(b.type, b.name, b.from, b.output_padding, b.groups, b.mode, b.scale, b.to,
                       b.align_corners));
  }
}

TEST(Load, TheResolvedTextReadsBackToTheSameBits) {
  const LoadedExperiment first = parse(
      "name: null-like\n"
      "steps: 12\n"
      "global_batch: 24\n"
      "norm: {synced_replicas: 6, eps: 1.2345678901234567e-7}\n"
      "optimizer: {lr: 0.30000000000000004, weight_decay: 4.9e-324, eps: 2.5e-300}\n"
      "fault: {deadline: 0.1234567890123456789}\n"
      "run_dir: \"with \\\"quotes\\\", # and: γ \\\\ \"\n"
      "data: {path: 'null', augment: [cutout, random_crop]}\n"
      "model: {hidden: []}\n");
  const LoadedExperiment second = parse(first.yaml);
  EXPECT_EQ(second.yaml, first.yaml);
  EXPECT_EQ(values_of(second), values_of(first));
  const Experiment& a = first.experiment;
  const Experiment& b = second.experiment;
  for (const auto& [x, y] : {std::pair(a.norm.eps, b.norm.eps),
                             {a.optimizer.lr, b.optimizer.lr},
                             {a.optimizer.weight_decay, b.optimizer.weight_decay},
                             {a.optimizer.eps, b.optimizer.eps},
                             {a.fault.deadline, b.fault.deadline}}) {
    EXPECT_EQ(std::bit_cast<std::uint64_t>(x), std::bit_cast<std::uint64_t>(y));
  }
  EXPECT_EQ(b.run_dir, "with \"quotes\", # and: γ \\ ");
  EXPECT_EQ(b.data.path, "null");
  EXPECT_EQ(b.norm.synced_replicas, 6);
  EXPECT_EQ(b.replicas, 12);
  EXPECT_EQ(b.steps, 12);
  EXPECT_EQ(b.epochs, 0);
}

/// Keys that follow from another one, and so change with it.
const std::map<std::string, std::set<std::string>> kFollowers = {
    {"name", {"run_dir"}},
    {"steps", {"epochs"}},
    {"global_batch", {"replicas"}},
    {"norm.channels_per_group", {"norm.groups", "norm.synced_replicas"}},
    {"norm.window", {"norm.momentum", "norm.r_max", "norm.renormalize_start"}},
    {"norm.window_start", {"norm.momentum", "norm.r_max", "norm.renormalize_start"}},
    {"norm.tlu", {"norm.eps"}}};

TEST(Schema, EveryKeyChangesItsOwnValueAndNoOther) {
  const std::vector<std::string> candidates = {"true",
                                               "false",
                                               "4",
                                               "2",
                                               "0.5",
                                               "64",
                                               "[random_crop]",
                                               "[{type: linear, out: 3}]",
                                               "[3, 4]",
                                               "[0.5, 0.25, 0.125]",
                                               "[{match: x, kind: layer}]",
                                               "skipinit",
                                               "adaptive",
                                               "[batch, running]",
                                               "copy",
                                               "skip",
                                               "affine",
                                               "other",
                                               "cuda",
                                               "fastest",
                                               "synthetic",
                                               "lenet",
                                               "resnet18",
                                               "gelu",
                                               "after_activation",
                                               "lecun",
                                               "group",
                                               "channels",
                                               "l1",
                                               "standardized",
                                               "alpha",
                                               "adam",
                                               "cosine",
                                               "127.0.0.1:80",
                                               "x.prom",
                                               "http://h"};
  const std::map<std::string, std::string> kNeeds = {
      {"schedule.milestones", "schedule.kind=step"},
      {"norm.channels_per_group", "norm.kind=group"},
      {"norm.frozen", "norm.kind=frozen"},
      {"norm.momentum_images", "norm.kind=momentum"},
      {"norm.momentum_ramp", "norm.kind=momentum"},
      {"norm.window", "norm.kind=mabn"},
      {"norm.window_start", "norm.kind=mabn"},
      {"ema.every", "ema.decay=0.5"},
      {"ema.statistics", "ema.decay=0.5"},
      {"norm.over", "norm.kind=layer"},
      {"norm.tlu", "norm.kind=frn"},
      {"metrics.user", "metrics.password_file=p"},
      {"metrics.password_file", "metrics.user=u"},
      {"metrics.file_sd_dir", "metrics.prometheus=true"},
      {"probes.landscape_from", "probes.landscape_to=9"}};
  const std::map<std::string, std::string> defaults = values_of(parse("{}"));
  for (const config::SchemaKey& key : config::make_schema().keys) {
    if (key.path == "precision") continue;  // has a single choice
    const std::string section = config::section_of(key.path);
    bool changed = false;
    for (const std::string& candidate : candidates) {
      std::vector<std::string> overrides = {key.path + "=" + candidate};
      const auto needs = kNeeds.find(key.path);
      if (needs != kNeeds.end()) overrides.push_back(needs->second);
      LoadedExperiment loaded;
      try {
        loaded = parse_experiment_text("{}", "a.yaml", overrides);
      } catch (const InputError&) {
        continue;
      }
      std::map<std::string, std::string> values = values_of(loaded);
      if (values == defaults) continue;
      changed = true;
      const LoadedExperiment again = parse(loaded.yaml);
      EXPECT_EQ(values_of(again), values) << key.path;
      const auto followers = kFollowers.find(key.path);
      for (const auto& [path, value] : defaults) {
        const bool may_change =
            path == key.path ||
            (followers != kFollowers.end() && followers->second.contains(path)) ||
            (needs != kNeeds.end() && needs->second.starts_with(path + "="));
        if (may_change) continue;
        EXPECT_EQ(values[path], value) << key.path << " changed " << path;
      }
      if (key.path != "global_batch") {
        const auto before = defaults.find(key.path);
        EXPECT_TRUE(before == defaults.end() || before->second != values[key.path]) << key.path;
        EXPECT_EQ(loaded.at(key.path), "command line");
      }
      break;
    }
    EXPECT_TRUE(changed) << "no candidate changes " << key.path;
  }
}

TEST(Schema, EveryRowIsDocumentedAndInASection) {
  const config::Schema schema = config::make_schema();
  std::set<std::string> paths;
  for (const config::SchemaKey& key : schema.keys) {
    EXPECT_TRUE(paths.insert(key.path).second) << key.path << " is listed twice";
    EXPECT_FALSE(key.meaning.empty()) << key.path;
    EXPECT_FALSE(key.type.empty()) << key.path;
    const std::string section = config::section_of(key.path);
    EXPECT_TRUE(section.empty() || schema.is_section(section)) << key.path;
  }
}

TEST(Load, PrintConfigShowsOrigins) {
  const LoadedExperiment loaded =
      parse_experiment_text("optimizer:\n  lr: 0.5\n", "a.yaml", {"seed=2"});
  const std::string text = print_config(loaded);
  EXPECT_TRUE(
      text.starts_with("name: experiment                         # default\n"
                       "seed: 2                                  # command line\n"))
      << text;
  EXPECT_NE(text.find("optimizer.lr: 0.5                        # a.yaml:2:7\n"), std::string::npos)
      << text;
}

TEST(Load, NamesOfChoices) {
  EXPECT_EQ(name_of(NormKind::batch), "batch");
  EXPECT_EQ(name_of(ScheduleKind::polynomial), "polynomial");
}

TEST(Reference, HelpListsEveryKeyWithItsDefault) {
  const std::string help = schema_help();
  for (const config::SchemaKey& key : config::make_schema().keys) {
    EXPECT_NE(help.find("  " + key.path + " "), std::string::npos) << key.path;
    EXPECT_NE(help.find(key.meaning), std::string::npos) << key.path;
  }
  EXPECT_NE(help.find("number ≥ 0; default 0.1\n"), std::string::npos);
}

TEST(Reference, TheBlocksOfThePageAreValid) {
  const std::string page = config_reference_markdown();
  const std::string opening = "```yaml\n";
  std::vector<std::string> blocks;
  for (std::size_t at = page.find(opening); at != std::string::npos;
       at = page.find(opening, at + 1)) {
    const std::size_t begin = at + opening.size();
    blocks.push_back(page.substr(begin, page.find("```", begin) - begin));
  }
  ASSERT_EQ(blocks.size(), 8u);  // two are studies, the last is a trace: tests/cli/test_trace.py
  EXPECT_EQ(parse(blocks[0]).yaml, parse("{}").yaml);
  EXPECT_EQ(parse(blocks[1]).experiment.norm_rules.size(), 2u);
  EXPECT_EQ(parse(blocks[2]).experiment.model.layers.size(), 9u);
  EXPECT_EQ(parse(blocks[3]).experiment.data.images.corrupt, CorruptPolicy::skip);
  EXPECT_EQ(parse(blocks[4]).experiment.data.dataset, DatasetKind::segmentation_folder);
}

}  // namespace
}  // namespace syncnorm
