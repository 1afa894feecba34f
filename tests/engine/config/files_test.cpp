// Files that cannot be read, and inheritance with `_base_`.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "tests/engine/config/config_test_files.h"

namespace syncnorm {
namespace {

class ConfigFiles : public ::testing::Test {
 protected:
  std::string load_error(const std::string& name) {
    return folder_.without_folder(error_of([&] { load_experiment(folder_.path() / name); }));
  }

  TemporaryFolder folder_;
};

TEST_F(ConfigFiles, MissingAndFolders) {
  EXPECT_EQ(load_error("none.yaml"), "none.yaml: no such file; check the path");
  EXPECT_EQ(error_of([&] { load_experiment(folder_.path()); }),
            folder_.path().string() + ": is a folder; give a YAML file in it");
  EXPECT_EQ(error_of([] { load_experiment("/dev/null"); }),
            "/dev/null: is not a regular file; give a YAML file");
}

TEST_F(ConfigFiles, Unreadable) {
  const auto file = folder_.write("x/secret.yaml", "seed: 1\n");
  ASSERT_EQ(::chmod(file.c_str(), 0), 0);
  // Root reads everything, so root becomes somebody else for a moment.
  const bool root = ::geteuid() == 0;
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  constexpr uid_t kNobody = 65534;
  if (root) ASSERT_EQ(::seteuid(kNobody), 0);
  const std::string error = load_error("x/secret.yaml");
  if (root) ASSERT_EQ(::seteuid(0), 0);
  EXPECT_EQ(error, "x/secret.yaml: cannot be read (Permission denied); check its permissions");
}

TEST_F(ConfigFiles, BasesAreOverriddenKeyByKey) {
  folder_.write("parts/base.yaml",
                "_base_: deeper/root.yaml\n"
                "optimizer: {lr: 0.5, momentum: 0.8}\n"
                "data: {augment: [cutout, random_crop]}\n"
                "epochs: 7\n");
  folder_.write("parts/deeper/root.yaml",
                "seed: 9\n"
                "norm: {kind: group, groups: 4, eps: 0.01}\n"
                "replicas: 2\n");
  const auto file = folder_.write("a.yaml",
                                  "_base_: parts/base.yaml\n"
                                  "optimizer: {lr: 0.25}\n"
                                  "data: {augment: [horizontal_flip]}\n"
                                  "norm: syncbn\n"
                                  "steps: 11\n"
                                  "global_batch: 12\n");
  const LoadedExperiment loaded = load_experiment(file);
  const Experiment& e = loaded.experiment;
  EXPECT_EQ(e.seed, 9u);
  EXPECT_EQ(e.optimizer.lr, 0.25);
  EXPECT_EQ(e.optimizer.momentum, 0.8);
  EXPECT_EQ(e.data.augment, std::vector<AugmentKind>{AugmentKind::horizontal_flip});
  EXPECT_EQ(e.norm.kind, NormKind::batch);
  EXPECT_EQ(e.norm.groups, 4);
  EXPECT_EQ(e.norm.eps, 0.01);
  EXPECT_EQ(e.epochs, 0);
  EXPECT_EQ(e.steps, 11);
  EXPECT_EQ(e.replicas, 6);
  EXPECT_EQ(e.norm.synced_replicas, 6);
  EXPECT_EQ(folder_.without_folder(loaded.at("optimizer.lr")), "a.yaml:2:17");
  EXPECT_EQ(folder_.without_folder(loaded.at("optimizer.momentum")), "parts/base.yaml:2:32");
  EXPECT_EQ(folder_.without_folder(loaded.at("norm.groups")), "parts/deeper/root.yaml:2:29");
  EXPECT_EQ(folder_.without_folder(loaded.at("replicas")), "a.yaml:6:15");
  EXPECT_EQ(folder_.without_folder(loaded.at("data.limit")), "a.yaml");
  EXPECT_EQ(folder_.without_folder(loaded.at("data")), "a.yaml:3:17");

  const LoadedExperiment overridden = load_experiment(file, {"epochs=3", "replicas=5"});
  EXPECT_EQ(overridden.experiment.epochs, 3);
  EXPECT_EQ(overridden.experiment.steps, 0);
  EXPECT_EQ(overridden.experiment.replicas, 5);
  EXPECT_EQ(overridden.at("replicas"), "command line");
}

TEST_F(ConfigFiles, MilestonesOfABaseAreDroppedWithItsKind) {
  folder_.write("b.yaml", "schedule: {kind: step, milestones: [5, 9]}\n");
  const auto file = folder_.write("a.yaml", "_base_: b.yaml\nschedule: {kind: cosine}\n");
  const LoadedExperiment loaded = load_experiment(file);
  EXPECT_TRUE(loaded.experiment.schedule.milestones.empty());
  EXPECT_EQ(parse_experiment_text(loaded.yaml, "again").yaml, loaded.yaml);
}

TEST_F(ConfigFiles, MistakesInABaseAreReportedInTheBase) {
  folder_.write("b.yaml", "seed: x\n");
  folder_.write("a.yaml", "_base_: b.yaml\nseed: 1\nepochs: y\n");
  EXPECT_EQ(load_error("a.yaml"),
            "a.yaml:3:9: epochs: 'y' is not an integer; give an integer ≥ 1\n"
            "b.yaml:1:7: seed: 'x' is not an integer; give an integer from 0 to "
            "18446744073709551615");
}

TEST_F(ConfigFiles, AMissingBaseIsMissingAlsoFromTheWorkingFolder) {
  const std::filesystem::path file = folder_.write("here.yaml", "_base_: none.yaml\n");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(file.parent_path());
  std::string message;
  try {
    load_experiment("here.yaml");
  } catch (const InputError& error) {
    message = error.what();
  }
  std::filesystem::current_path(before);
  EXPECT_EQ(message, "here.yaml:1:9: _base_: none.yaml: no such file; check the path");
}

TEST_F(ConfigFiles, BadBases) {
  folder_.write("missing.yaml", "_base_: none.yaml\nseed: x\n");
  EXPECT_EQ(load_error("missing.yaml"),
            "missing.yaml:1:9: _base_: none.yaml: no such file; check the path\n"
            "missing.yaml:2:7: seed: 'x' is not an integer; give an integer from 0 to "
            "18446744073709551615");
  folder_.write("self.yaml", "_base_: self.yaml\n");
  EXPECT_EQ(load_error("self.yaml"),
            "self.yaml:1:9: _base_: the bases form a circle: self.yaml -> self.yaml; remove one of "
            "them");
  folder_.write("one.yaml", "_base_: sub/two.yaml\n");
  folder_.write("sub/two.yaml", "_base_: ../one.yaml\n");
  EXPECT_EQ(load_error("one.yaml"),
            "sub/two.yaml:1:9: _base_: the bases form a circle: one.yaml -> sub/two.yaml -> "
            "one.yaml; remove one of them");
  EXPECT_EQ(load_error("sub/two.yaml"),
            "sub/two.yaml:1:9: _base_: '../one.yaml' is outside the folder of the first file; move "
            "it there");
  folder_.write("absolute.yaml", "_base_: /etc/passwd\n");
  EXPECT_EQ(load_error("absolute.yaml"),
            "absolute.yaml:1:9: _base_: an absolute path; give one relative to the folder of this "
            "file");
  folder_.write("folder.yaml", "_base_: sub\n");
  EXPECT_EQ(load_error("folder.yaml"),
            "folder.yaml:1:9: _base_: sub: is a folder; give a YAML file in it");
  folder_.write("list.yaml", "_base_: [one.yaml]\n");
  EXPECT_EQ(load_error("list.yaml"),
            "list.yaml:1:9: _base_: expected a text, got a list; give one value");
  folder_.write("empty.yaml", "");
  folder_.write("on_empty.yaml", "_base_: empty.yaml\n");
  EXPECT_EQ(load_error("on_empty.yaml"),
            "empty.yaml:1:1: the file is empty; give at least `name: ...`");
  folder_.write("study.yaml", "compare: {seed: [1]}\n");
  folder_.write("on_study.yaml", "_base_: study.yaml\n");
  EXPECT_EQ(load_error("on_study.yaml"),
            "study.yaml:1:1: compare: a base is a plain experiment; move this key to the study's "
            "own file");
}

TEST_F(ConfigFiles, ALinkCannotLeaveTheFolder) {
  const TemporaryFolder elsewhere;
  const auto target = elsewhere.write("b.yaml", "seed: 2\n");
  std::filesystem::create_symlink(target, folder_.path() / "link.yaml");
  folder_.write("a.yaml", "_base_: link.yaml\n");
  EXPECT_EQ(load_error("a.yaml"),
            "a.yaml:1:9: _base_: 'link.yaml' is outside the folder of the first file; move it "
            "there");
  // A link inside the folder is fine.
  folder_.write("inside/c.yaml", "seed: 3\n");
  std::filesystem::create_symlink("inside/c.yaml", folder_.path() / "good.yaml");
  const auto file = folder_.write("d.yaml", "_base_: good.yaml\n");
  EXPECT_EQ(load_experiment(file).experiment.seed, 3u);
}

TEST_F(ConfigFiles, SixteenFilesMayInherit) {
  folder_.write("0.yaml", "seed: 77\n");
  for (int i = 1; i < 17; ++i) {
    folder_.write(std::to_string(i) + ".yaml", "_base_: " + std::to_string(i - 1) + ".yaml\n");
  }
  EXPECT_EQ(load_experiment(folder_.path() / "15.yaml").experiment.seed, 77u);
  EXPECT_EQ(load_error("16.yaml"),
            "1.yaml:1:9: _base_: more than 16 files inherit from each other; shorten the chain");
}

}  // namespace
}  // namespace syncnorm
