// Checkpoint folders: whole or not at all, verified, pruned by the rules.
#include "engine/state/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "base/error.h"
#include "engine/state/checkpoint_writer.h"
#include "tests/temporary_folder.h"

namespace syncnorm::test {
namespace {

namespace fs = std::filesystem;

class Checkpoints : public ::testing::Test {
 protected:
  static Checkpoint at(std::int64_t step, bool last = false, std::int64_t best = -1) {
    Checkpoint c;
    c.step = step;
    c.epoch = 2;
    c.sample_position = 48;
    c.config = "name: x\n";
    c.data_fingerprint = "abc";
    c.best_step = best;
    c.best_score = 0.1 + 0.2;
    c.input = {8, 9, 3, 2, true, {0.1f, 0.2f, 0.3f}, {1.0f, 0.5f, 0.25f}, {"sky", "sea"}};
    c.last = last;
    c.files = {{"model.safetensors", std::string(1000, 'm')}, {"optimizer.safetensors", "o"}};
    return c;
  }
  static void change(const fs::path& path, std::size_t place) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<long>(place));
    const char c = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<long>(place));
    file.put(c);
  }

  const test::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST_F(Checkpoints, WhatIsSavedIsRead) {
  CheckpointFolder checkpoints(folder_, 2);
  const auto [path, bytes] = checkpoints.save(at(7, true, 5));
  EXPECT_EQ(path, folder_ / "step-7");
  EXPECT_GT(bytes, 1001);
  const Checkpoint read = read_checkpoint(path);
  EXPECT_EQ(read.step, 7);
  EXPECT_EQ(read.epoch, 2);
  EXPECT_EQ(read.sample_position, 48);
  EXPECT_EQ(read.config, "name: x\n");
  EXPECT_EQ(read.best_step, 5);
  EXPECT_EQ(read.best_score, 0.1 + 0.2);
  EXPECT_EQ(to_json(read.input), to_json(at(7).input));
  EXPECT_EQ(read.input.mean, at(7).input.mean);
  EXPECT_TRUE(read.last);
  EXPECT_EQ(read.files, at(7).files);
}

TEST_F(Checkpoints, OneOfAnEarlierVersionDoesNotDescribeItsInput) {
  CheckpointFolder checkpoints(folder_, 2);
  Checkpoint old = at(3);
  old.input = {};
  EXPECT_FALSE(read_checkpoint(checkpoints.save(old).first).input.known());
}

TEST_F(Checkpoints, AnInputThatIsNoneIsRefused) {
  CheckpointFolder checkpoints(folder_, 2);
  Checkpoint wrong = at(3);
  wrong.input.mean = {0.5f};
  EXPECT_THROW(read_checkpoint(checkpoints.save(wrong).first), CheckpointError);
  wrong = at(4);
  wrong.input.class_names = {"one"};
  EXPECT_THROW(read_checkpoint(checkpoints.save(wrong).first), CheckpointError);
}

TEST_F(Checkpoints, PruningKeepsTheNewestStepZeroTheBestAndTheLast) {
  CheckpointFolder checkpoints(folder_, 2);
  for (const std::int64_t step : {0, 10, 20, 30}) checkpoints.save(at(step, false, 10));
  EXPECT_EQ(checkpoints.steps(), (std::vector<std::int64_t>{0, 10, 20, 30}));
  checkpoints.save(at(40, true, 10));
  EXPECT_EQ(checkpoints.steps(), (std::vector<std::int64_t>{0, 10, 30, 40}));
  for (const std::int64_t step : {50, 60, 70}) checkpoints.save(at(step, false, 10));
  EXPECT_EQ(checkpoints.steps(), (std::vector<std::int64_t>{0, 10, 40, 60, 70}));
}

TEST_F(Checkpoints, AnInterruptedWriteIsNeverSeen) {
  CheckpointFolder checkpoints(folder_, 2);
  checkpoints.save(at(10));
  // What a killed process leaves behind: a temporary folder, with or without its manifest.
  fs::create_directories(folder_ / ".step-20.tmp");
  std::ofstream(folder_ / ".step-20.tmp" / "model.safetensors") << "half";
  std::vector<std::string> passed_over;
  EXPECT_EQ(checkpoints.newest_valid(passed_over), folder_ / "step-10");
  EXPECT_TRUE(passed_over.empty());
  checkpoints.save(at(20));
  EXPECT_EQ(checkpoints.newest_valid(passed_over), folder_ / "step-20");
  EXPECT_FALSE(fs::exists(folder_ / ".step-20.tmp"));
}

TEST_F(Checkpoints, DamageIsFoundAndPassedOver) {
  CheckpointFolder checkpoints(folder_, 3);
  checkpoints.save(at(10));
  checkpoints.save(at(20));
  checkpoints.save(at(30));
  change(folder_ / "step-30" / "model.safetensors", 500);
  fs::resize_file(folder_ / "step-20" / "optimizer.safetensors", 0);
  std::vector<std::string> passed_over;
  EXPECT_EQ(checkpoints.newest_valid(passed_over), folder_ / "step-10");
  ASSERT_EQ(passed_over.size(), 2u);
  EXPECT_NE(passed_over[0].find("step-30/model.safetensors: checksum"), std::string::npos);
  EXPECT_NE(passed_over[1].find("step-20/optimizer.safetensors: 0 bytes instead of 1"),
            std::string::npos);
}

TEST_F(Checkpoints, BadManifestsAreRefused) {
  CheckpointFolder checkpoints(folder_, 3);
  const fs::path path = checkpoints.save(at(10)).first;
  const auto expect = [&](const std::string& manifest, const char* part) {
    std::ofstream(path / "manifest.json", std::ios::trunc) << manifest;
    try {
      read_checkpoint(path);
      ADD_FAILURE() << "accepted: " << manifest;
    } catch (const CheckpointError& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  expect("", "not a usable manifest");
  expect("{}", "not a usable manifest");
  expect(R"({"format_version": 99})", "format version 99 is not 1");
  const std::string head =
      R"({"format_version":1,"step":1,"epoch":1,"sample_position":0,"last":false,"best_step":-1,)"
      R"("best_validation_accuracy":0,"data_fingerprint":"","config":"","files":)";
  expect(head + R"({"../../etc/passwd":{"bytes":1,"crc32":"0"}}})", "leaves the folder");
  expect(head + R"({"absent":{"bytes":1,"crc32":"0"}}})", "is missing");
  expect(head + R"({"model.safetensors":{"bytes":-1,"crc32":"0"}}})", "bytes: expected a whole");
  expect(R"({"format_version":1,"step":1e300})", "step: expected a whole number from 0");
  fs::create_symlink("/etc/hostname", path / "link");
  expect(head + R"({"link":{"bytes":1,"crc32":"0"}}})", "symbolic links are not followed");
  EXPECT_THROW(read_checkpoint(folder_ / "step-99"), CheckpointError);
}

TEST_F(Checkpoints, AFileSystemThatRefusesIsAnError) {
  std::ofstream(folder_ / "file") << "x";
  CheckpointFolder checkpoints(folder_ / "file", 2);
  EXPECT_THROW(checkpoints.save(at(1)), CheckpointError);
}

TEST_F(Checkpoints, SavingAStepAgainReplacesItWhole) {
  CheckpointFolder checkpoints(folder_, 2);
  checkpoints.save(at(10));
  Checkpoint changed = at(10);
  changed.files["model.safetensors"] = "new";
  const fs::path path = checkpoints.save(changed).first;
  EXPECT_EQ(read_checkpoint(path).files.at("model.safetensors"), "new");
  EXPECT_FALSE(fs::exists(folder_ / ".step-10.old"));
}

TEST_F(Checkpoints, WhatAnInterruptedSaveLeftBehindIsCleaned) {
  CheckpointFolder checkpoints(folder_, 2);
  checkpoints.save(at(10));
  checkpoints.save(at(20));
  fs::create_directories(folder_ / ".step-30.tmp");
  fs::rename(folder_ / "step-20", folder_ / ".step-20.old");  // killed between two renames
  fs::copy(folder_ / "step-10", folder_ / ".step-10.old", fs::copy_options::recursive);
  checkpoints.clean();
  EXPECT_EQ(checkpoints.steps(), (std::vector<std::int64_t>{10, 20}));
  EXPECT_EQ(read_checkpoint(folder_ / "step-20").files, at(20).files);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 2);
}

TEST_F(Checkpoints, TheWriterTellsWhatCameOfEachInOrder) {
  std::ofstream(folder_ / "file") << "x";
  CheckpointWriter refused(CheckpointFolder(folder_ / "file", 2));
  refused.submit(at(1));
  const std::vector<CheckpointOutcome> problems = refused.drain();
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].problem.find("cannot create the folder"), std::string::npos);
  CheckpointWriter writer(CheckpointFolder(folder_, 9));
  for (const std::int64_t step : {1, 2, 3}) writer.submit(at(step));
  const std::vector<CheckpointOutcome> outcomes = writer.drain();
  ASSERT_EQ(outcomes.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(outcomes[i].step, static_cast<std::int64_t>(i) + 1);
    EXPECT_EQ(outcomes[i].problem, "");
    EXPECT_EQ(read_checkpoint(outcomes[i].path).step, outcomes[i].step);
  }
  EXPECT_TRUE(writer.finished().empty());
}

TEST_F(Checkpoints, TheWriterFinishesBeforeItLeaves) {
  { CheckpointWriter(CheckpointFolder(folder_, 9)).submit(at(5)); }
  EXPECT_EQ(read_checkpoint(folder_ / "step-5").step, 5);
}

TEST_F(Checkpoints, ADiskThatRefusesLeavesNothingBehind) {
  const auto faults = make_faults({"enospc@0:10:save.7"}, 0);
  CheckpointFolder checkpoints(folder_, 2, faults.get());
  EXPECT_THROW(checkpoints.save(at(10)), CheckpointError);
  EXPECT_TRUE(fs::is_empty(folder_));
  checkpoints.save(at(10));
  EXPECT_EQ(read_checkpoint(folder_ / "step-10").files, at(10).files);
}

TEST_F(Checkpoints, AShortWriteGoesOn) {
  const auto faults = make_faults({"short@0:10:save.4"}, 0);
  CheckpointFolder(folder_, 2, faults.get()).save(at(10));
  EXPECT_EQ(read_checkpoint(folder_ / "step-10").files, at(10).files);
}

TEST_F(Checkpoints, WhatIsNoFileIsRefused) {
  CheckpointFolder checkpoints(folder_, 2);
  const fs::path path = checkpoints.save(at(10)).first;
  fs::rename(path / "manifest.json", folder_ / "elsewhere");
  fs::create_symlink(folder_ / "elsewhere", path / "manifest.json");
  EXPECT_THROW(read_checkpoint(path), CheckpointError);
  fs::remove(path / "manifest.json");
  ASSERT_EQ(mkfifo((path / "manifest.json").c_str(), 0600), 0);  // reading it would never end
  EXPECT_THROW(read_checkpoint(path), CheckpointError);
}

}  // namespace
}  // namespace syncnorm::test
