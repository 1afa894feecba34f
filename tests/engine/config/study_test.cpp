// Studies: which runs they have, in which order, under which names, and their mistakes.
#include "engine/config/study.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/engine/config/config_test_files.h"

namespace syncnorm {
namespace {

class StudyFiles : public ::testing::Test {
 protected:
  Study load(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return load_study(folder_.write("s.yaml", text), overrides);
  }
  std::string load_error(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return folder_.without_folder(error_of([&] { load(text, overrides); }));
  }
  static std::vector<std::string> names(const Study& study) {
    std::vector<std::string> names;
    for (const StudyRun& run : study.runs) names.push_back(run.name);
    return names;
  }

  TemporaryFolder folder_;
};

TEST_F(StudyFiles, CompareIsAProductWithTheLastKeyFastest) {
  const Study study = load(
      "name: st\n"
      "compare:\n"
      "  norm: [bn, gn]\n"
      "  seed: [1, 2, 3]\n");
  EXPECT_EQ(study.name, "st");
  EXPECT_EQ(study.run_dir, "runs/st");
  EXPECT_EQ(study.varied, (std::vector<std::string>{"norm", "seed"}));
  EXPECT_EQ(names(study), (std::vector<std::string>{"st/norm=bn,seed=1", "st/norm=bn,seed=2",
                                                    "st/norm=bn,seed=3", "st/norm=gn,seed=1",
                                                    "st/norm=gn,seed=2", "st/norm=gn,seed=3"}));
  const StudyRun& run = study.runs[4];
  EXPECT_EQ(run.settings,
            (std::vector<std::pair<std::string, std::string>>{{"norm", "gn"}, {"seed", "2"}}));
  EXPECT_EQ(run.loaded.experiment.norm.kind, NormKind::group);
  EXPECT_EQ(run.loaded.experiment.seed, 2u);
  EXPECT_EQ(run.loaded.experiment.run_dir, "runs/st/norm=gn,seed=2");
  EXPECT_EQ(folder_.without_folder(run.loaded.at("seed")), "s.yaml:4:13");
  EXPECT_EQ(parse_experiment_text(run.loaded.yaml, "again").yaml, run.loaded.yaml);
}

TEST_F(StudyFiles, RunsListAndProductTimesRuns) {
  const Study listed = load("name: st\nruns:\n  - {norm: bn}\n  - {optimizer.lr: 0.5, seed: 2}\n");
  EXPECT_EQ(names(listed), (std::vector<std::string>{"st/norm=bn", "st/optimizer.lr=0.5,seed=2"}));
  EXPECT_EQ(listed.varied, (std::vector<std::string>{"norm", "optimizer.lr", "seed"}));
  EXPECT_EQ(listed.runs[1].loaded.experiment.optimizer.lr, 0.5);

  const Study both = load("name: st\ncompare: {seed: [1, 2]}\nruns: [{norm: bn}, {norm: ln}]\n");
  EXPECT_EQ(names(both), (std::vector<std::string>{"st/seed=1,norm=bn", "st/seed=1,norm=ln",
                                                   "st/seed=2,norm=bn", "st/seed=2,norm=ln"}));
}

TEST_F(StudyFiles, AnEntryOfRunsMayHaveAProductOfItsOwn) {
  const Study study = load(
      "name: st\nruns:\n"
      "  - {norm: bn, compare: {batch_per_replica: [1, 2], seed: [1, 2]}}\n"
      "  - {norm: gn, batch_per_replica: 4}\n");
  EXPECT_EQ(names(study),
            (std::vector<std::string>{
                "st/norm=bn,batch_per_replica=1,seed=1", "st/norm=bn,batch_per_replica=1,seed=2",
                "st/norm=bn,batch_per_replica=2,seed=1", "st/norm=bn,batch_per_replica=2,seed=2",
                "st/norm=gn,batch_per_replica=4"}));
  EXPECT_EQ(study.runs[2].loaded.experiment.batch_per_replica, 2);
}

TEST_F(StudyFiles, BestOfIsTheFastestAxisAndIsNamed) {
  const Study study = load(
      "name: st\n"
      "data: {validation: 10}\n"
      "target_accuracy: 0.5\n"
      "best_of: {optimizer.lr: [0.1, 0.2]}\n"
      "runs: [{norm: bn}, {norm: gn}]\n");
  EXPECT_EQ(names(study), (std::vector<std::string>{
                              "st/norm=bn,optimizer.lr=0.1", "st/norm=bn,optimizer.lr=0.2",
                              "st/norm=gn,optimizer.lr=0.1", "st/norm=gn,optimizer.lr=0.2"}));
  EXPECT_EQ(study.best_of, std::vector<std::string>{"optimizer.lr"});
  EXPECT_EQ(study.varied, (std::vector<std::string>{"norm", "optimizer.lr"}));
  EXPECT_EQ(study.target_accuracy, 0.5);
  EXPECT_EQ(study.runs[1].loaded.experiment.optimizer.lr, 0.2);
  const Study plain = load("compare: {seed: [1]}\n");
  EXPECT_TRUE(plain.best_of.empty());
  EXPECT_EQ(plain.target_accuracy, 0.0);
}

TEST_F(StudyFiles, ThoseOfTheReferenceAreValid) {
  const std::string page = config_reference_markdown(), opening = "```yaml\n";
  const std::size_t chapter = page.find("## Studies"), end = page.find("\n## ", chapter);
  std::vector<std::size_t> runs;
  for (std::size_t at = page.find(opening, chapter); at < end; at = page.find(opening, at + 1)) {
    const std::size_t begin = at + opening.size();
    runs.push_back(load(page.substr(begin, page.find("```", begin) - begin)).runs.size());
  }
  EXPECT_EQ(runs, (std::vector<std::size_t>{8, 36}));
}

TEST_F(StudyFiles, SettingsReplaceTheFileAndTheCommandLineReplacesTheRest) {
  folder_.write("base.yaml", "epochs: 5\nreplicas: 4\noptimizer: {lr: 0.5}\n");
  const Study study = load(
      "_base_: base.yaml\n"
      "name: st\n"
      "run_dir: out\n"
      "compare:\n"
      "  steps: [1, 2]\n"
      "  global_batch: [16, 32]\n",
      {"optimizer.lr=0.25", "run_dir=elsewhere", "name=renamed"});
  ASSERT_EQ(study.runs.size(), 4u);
  EXPECT_EQ(study.name, "renamed");
  EXPECT_EQ(study.run_dir, "elsewhere");
  const Experiment& last = study.runs[3].loaded.experiment;
  EXPECT_EQ(last.steps, 2);
  EXPECT_EQ(last.epochs, 0);
  EXPECT_EQ(last.replicas, 16);
  EXPECT_EQ(last.optimizer.lr, 0.25);
  EXPECT_EQ(last.name, "renamed");
  EXPECT_EQ(last.run_dir, "elsewhere/steps=2,global_batch=32");
}

TEST_F(StudyFiles, NamesAreSafeAndUnique) {
  const Study study = load(
      "name: st\n"
      "compare:\n"
      "  model.hidden: [[32, 16], []]\n"
      "  data.path: [a/b, a-b, \"c d/../γ\"]\n");
  std::set<std::string> unique;
  for (const StudyRun& run : study.runs) {
    const std::string folder = run.name.substr(3);
    EXPECT_EQ(folder.find_first_of("/ \"[]{}\\"), std::string::npos) << folder;
    EXPECT_TRUE(unique.insert(folder).second) << folder;
  }
  EXPECT_EQ(study.runs[1].name, "st/model.hidden=32,16,data.path=a-b");
  EXPECT_EQ(study.runs[0].name, "st/model.hidden=32,16,data.path=a-b-ae0266c7");

  std::string text = "name: st\ncompare:\n  data.path:\n";
  for (int i = 0; i < 3; ++i) text += "    - " + std::string(400, 'x') + std::to_string(i) + "\n";
  const Study with_long_names = load(text);
  unique.clear();
  for (const StudyRun& run : with_long_names.runs) {
    EXPECT_LE(run.name.size(), 200u);
    EXPECT_TRUE(unique.insert(run.name).second) << run.name;
  }
}

TEST_F(StudyFiles, Mistakes) {
  const std::vector<std::pair<const char*, const char*>> table = {
      {"seed: 1\n",
       "s.yaml:1:1: this file is no study, it has neither `compare` nor `runs`; use `syncnorm "
       "train`"},
      {"compare: [1]\n",
       "s.yaml:1:10: compare: expected a map from key paths to lists; write `norm: [bn, syncbn]` "
       "under it"},
      {"compare: {}\n",
       "s.yaml:1:10: compare: expected a map from key paths to lists; write `norm: [bn, syncbn]` "
       "under it"},
      {"compare: {seed: 1}\n", "s.yaml:1:17: compare.seed: expected a list, got '1'; write [1]"},
      {"compare: {seed: []}\n", "s.yaml:1:17: compare.seed: the list is empty; give it values"},
      {"compare: {seed: [1, x, 1]}\n",
       "s.yaml:1:21: seed: 'x' is not an integer; give an integer from 0 to 18446744073709551615\n"
       "s.yaml:1:24: compare.seed: '1' is listed twice; list it once"},
      {"compare: {sede: [1]}\n", "s.yaml:1:11: sede: unknown key; did you mean `seed`?"},
      {"compare: {name: [a]}\n",
       "s.yaml:1:11: name: the study names its runs and their folders itself; remove it"},
      {"compare: {norm: [bn], norm.kind: [group]}\n",
       "s.yaml:1:23: norm.kind: norm.kind is varied at s.yaml:1:11 already; vary it in one place"},
      {"compare: {epochs: [1], steps: [2]}\n",
       "s.yaml:1:24: steps: epochs is varied at s.yaml:1:11 already; vary it in one place"},
      {"compare: {seed: [1]}\nbest_of: {optimizer.lr: [0.1, 0.2]}\n",
       "s.yaml:2:11: best_of: chooses on the validation split, and data.validation is 0; hold "
       "training images out, as `data: {validation: 5000}`"},
      {"best_of: {optimizer.lr: [0.1]}\n",
       "s.yaml:1:1: this file is no study, it has neither `compare` nor `runs`; use `syncnorm "
       "train`"},
      {"compare: {norm: [bn]}\nbest_of: {seed: [1, 2]}\n",
       "s.yaml:2:11: best_of.seed: a seed is no setting to choose; seeds are repetitions, list "
       "them under compare"},
      {"compare: {norm: [bn]}\nbest_of: [1]\n",
       "s.yaml:2:10: best_of: expected a map from key paths to lists; write `optimizer.lr: [0.01, "
       "0.1]` under it"},
      {"compare: {optimizer.lr: [1]}\ndata: {validation: 5}\nbest_of: {optimizer.lr: [2]}\n",
       "s.yaml:3:11: optimizer.lr: optimizer.lr is varied at s.yaml:1:11 already; vary it in one "
       "place"},
      {"compare: {norm: [bn]}\ntarget_accuracy: 85\n",
       "s.yaml:2:18: target_accuracy: '85' is out of range; give a number in (0, 1]"},
      {"runs: [{norm: bn, compare: {seed: 1}}]\n",
       "s.yaml:1:35: runs[0].compare.seed: expected a list, got '1'; write [1]"},
      {"runs: [{norm: bn, compare: 3}]\n",
       "s.yaml:1:28: runs[0].compare: expected a map from key paths to lists; write `norm: [bn, "
       "syncbn]` under it"},
      {"runs: {seed: 1}\n", "s.yaml:1:7: runs: expected a list, got a map; write [a, b]"},
      {"runs: []\n", "s.yaml:1:7: runs: the list is empty; give it runs"},
      {"runs: [1, {}]\n",
       "s.yaml:1:8: runs[0]: expected a map from key paths to values; write `{norm: gn, seed: "
       "2}`\n"
       "s.yaml:1:11: runs[1]: expected a map from key paths to values; write `{norm: gn, seed: "
       "2}`"},
      {"runs: [{seed: 1}, {seed: 1}]\n",
       "s.yaml:1:19: runs[1]: the same run is at s.yaml:1:8; list it once"},
      {"runs: [{norm: bn, norm.kind: group}]\n",
       "s.yaml:1:30: norm.kind: given twice (at s.yaml:1:15); give it once"},
      {"compare: {seed: [1, 2]}\nruns: [{seed: 3}]\n",
       "s.yaml:2:9: seed: seed is varied at s.yaml:1:11 already; vary it in one place"},
      {"compare: {replicas: [2, 4, 6]}\nnorm: {synced_replicas: 4}\n",
       "s.yaml:1:22: norm.synced_replicas: 4 is more than the 2 replicas; give all, 1 or 2 (in "
       "the run replicas=2)\n"
       "s.yaml:1:28: norm.synced_replicas: 4 does not divide the 6 replicas; give all, 1, 2, 3 or "
       "6 (in the run replicas=6)"},
      {"compare: {norm.synced_replicas: [2, 3], seed: [1, 2]}\n",
       "s.yaml:1:37: norm.synced_replicas: 3 does not divide the 8 replicas; give all, 1, 2, 4 or "
       "8 (in the run norm.synced_replicas=3, seed=1)"},
  };
  for (const auto& [text, message] : table) EXPECT_EQ(load_error(text), message) << text;
}

TEST_F(StudyFiles, OverridesOfVariedKeysAreRefused) {
  const std::string text = "compare: {norm: [bn, gn], steps: [1, 2]}\n";
  EXPECT_EQ(
      load_error(text, {"norm=ln", "norm.kind=layer"}),
      "command line: norm: the study varies norm.kind (at s.yaml:1:11); change it there\n"
      "command line: norm.kind: given twice; give it once\n"
      "command line: norm.kind: the study varies norm.kind (at s.yaml:1:11); change it there");
  EXPECT_EQ(load_error(text, {"epochs=3"}),
            "command line: epochs: the study varies steps (at s.yaml:1:27); change it there");
  EXPECT_EQ(load(text, {"norm.eps=0.5"}).runs[3].loaded.experiment.norm.eps, 0.5);
}

TEST_F(StudyFiles, TheCommandLineMayGiveTheStudysOwnKeys) {
  const std::string text = "name: st\ndata: {validation: 100}\ncompare: {norm: [bn, gn]}\n";
  const Study study = load(text, {"best_of={optimizer.lr: [0.1, 0.2]}", "target_accuracy=0.5",
                                  "compare.norm=[ln]", "compare.seed=[1, 2]"});
  EXPECT_EQ(study.best_of, std::vector<std::string>{"optimizer.lr"});
  EXPECT_EQ(study.target_accuracy, 0.5);
  EXPECT_EQ(names(study),
            (std::vector<std::string>{
                "st/norm=ln,seed=1,optimizer.lr=0.1", "st/norm=ln,seed=1,optimizer.lr=0.2",
                "st/norm=ln,seed=2,optimizer.lr=0.1", "st/norm=ln,seed=2,optimizer.lr=0.2"}));
  const Study same = load(text, {"best_of.optimizer.lr=[0.1, 0.2]"});
  EXPECT_EQ(same.best_of, study.best_of);
  EXPECT_EQ(names(load("name: st\n", {"runs=[{norm: bn}, {norm: gn}]"})),
            (std::vector<std::string>{"st/norm=bn", "st/norm=gn"}));
  EXPECT_EQ(load_error(text, {"best_of=3"}),
            "command line: best_of: expected a map from key paths to lists; write "
            "`optimizer.lr: [0.01, 0.1]` under it");
  EXPECT_EQ(load_error(text, {"best_of.optimizer.lr=3"}),
            "command line: best_of.optimizer.lr: expected a list, got '3'; write [3]");
  EXPECT_EQ(load_error(text, {"best_of.optimizer.momentun=[0.1]"}),
            "command line: optimizer.momentun: unknown key; did you mean `optimizer.momentum`?");
}

TEST_F(StudyFiles, TooManyRuns) {
  std::string list = "[1";
  for (int i = 2; i <= 101; ++i) list += ", " + std::to_string(i);
  list += "]";
  EXPECT_EQ(load_error("compare: {seed: " + list + ", epochs: " + list + "}\n"),
            "s.yaml:1:1: the study has more than 10000 runs; make it smaller");
  EXPECT_EQ(load_error("runs: [{norm: bn, compare: {seed: " + list + ", epochs: " + list + "}}]\n"),
            "s.yaml:1:19: runs[0].compare: the study has more than 10000 runs; make it smaller");
}

}  // namespace
}  // namespace syncnorm
