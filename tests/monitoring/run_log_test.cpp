// The run folder: exact numbers, the cut on resume, torn lines.
#include "monitoring/run_log.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "monitoring/console.h"
#include "monitoring/run_csv.h"
#include "monitoring/tensorboard.h"
#include "tests/temporary_folder.h"

namespace syncnorm::test {
namespace {

namespace fs = std::filesystem;

class RunLogTest : public ::testing::Test {
 protected:
  RunLogTest() {
    start_.name = "test";
    start_.run_dir = (folder_ / "run").string();
    start_.total_steps = 10;
    start_.config_yaml = "name: test\n";
  }
  std::vector<nlohmann::json> events() const {
    std::ifstream in(folder_ / "run" / "metrics.jsonl");
    std::vector<nlohmann::json> list;
    for (std::string line; std::getline(in, line);) list.push_back(nlohmann::json::parse(line));
    return list;
  }
  static StepEvent step(std::int64_t number, double loss) {
    StepEvent event;
    event.step = number;
    event.loss = loss;
    return event;
  }

  const test::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
  StartEvent start_;
};

TEST_F(RunLogTest, TheFirstStepCanBeSeenAtOnce) {
  RunLog log(nullptr);
  log.on_start(start_);
  log.on_step(step(1, 2.5));
  const auto list = events();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[1]["loss"], 2.5);
}

TEST_F(RunLogTest, LossesReadBackToTheSameBits) {
  RunLog log(nullptr);
  log.on_start(start_);
  const std::vector<double> losses = {0.1 + 0.2, 2.302585092994046, 5e-324, 1.7976931348623157e308};
  for (std::size_t i = 0; i < losses.size(); ++i)
    log.on_step(step(static_cast<std::int64_t>(i) + 1, losses[i]));
  log.on_step(step(5, std::nan("")));
  log.on_end({});
  const auto list = events();
  ASSERT_EQ(list.size(), 7u);
  EXPECT_EQ(list[0]["event"], "start");
  for (std::size_t i = 0; i < losses.size(); ++i)
    EXPECT_EQ(list[i + 1]["loss"].get<double>(), losses[i]);
  EXPECT_EQ(list[5]["loss"], "nan");
  EXPECT_TRUE(fs::exists(folder_ / "run" / "config.yaml"));
  EXPECT_TRUE(fs::exists(folder_ / "run" / "summary.json"));
}

TEST_F(RunLogTest, ResumingCutsBackToTheCheckpoint) {
  {
    RunLog log(nullptr);
    log.on_start(start_);
    for (int i = 1; i <= 6; ++i) log.on_step(step(i, i));
    log.on_end({});
  }
  std::ofstream(folder_ / "run" / "metrics.jsonl", std::ios::app) << "{\"event\":\"step\",\"st";
  RunLog log(nullptr);
  start_.first_step = 4;
  log.on_start(start_);
  log.on_resume({4, "checkpoints/step-4", ""});
  log.on_step(step(5, 50.0));
  log.on_end({});
  std::vector<std::string> kinds;
  for (const auto& event : events()) kinds.push_back(event["event"]);
  EXPECT_EQ(kinds, (std::vector<std::string>{"start", "step", "step", "step", "step", "start",
                                             "resume", "step", "end"}));
  EXPECT_EQ(events()[7]["loss"].get<double>(), 50.0);
  EXPECT_FALSE(events()[6].contains("note"));
}

TEST_F(RunLogTest, ConsolePrintsPlainLinesOrABar) {
  for (const bool terminal : {false, true}) {
    std::ostringstream out;
    Console console(out, terminal ? Console::Columns([] { return 80; }) : nullptr);
    console.on_start(start_);
    StepEvent last = step(10, 0.5);
    last.samples = 16;
    last.seconds = 0.5;
    console.on_step(last);
    EXPECT_NE(out.str().find("step 10/10"), std::string::npos);
    EXPECT_NE(out.str().find("32 images/s"), std::string::npos);
    EXPECT_EQ(out.str().find('\r') != std::string::npos, terminal);
  }
}

/// What a terminal shows of the line that was drawn last.
std::string last_line(const std::string& out) {
  const std::string text = out.substr(out.rfind("\033[K") + 3);
  return text.substr(0, text.find('\n'));
}

int width_of(const std::string& text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u;
  }));
}

TEST_F(RunLogTest, TheConsolesLineFitsTheTerminal) {
  for (const int columns : {1, 20, 60, 80, 90, 200}) {
    std::ostringstream out;
    Console console(out, [columns] { return columns; });
    console.on_start(start_);
    StepEvent half = step(5, 0.5);
    half.samples = 16;
    half.seconds = 0.5;
    console.on_step(half);
    const std::string line = last_line(out.str());
    EXPECT_LT(width_of(line), columns) << line;
    EXPECT_EQ(line.find("█░") != std::string::npos, columns >= 80) << line;
    if (columns >= 80) EXPECT_NE(line.find("0:03 left"), std::string::npos) << line;
    if (columns == 20) EXPECT_EQ(line, "step 5/10  epoch 0 ");
  }
}

TEST_F(RunLogTest, TheEndSaysWhereTheTimeWent) {
  EndEvent end;
  end.seconds = 80.0;
  end.reduction_share = 0.25;
  end.data_share = 0.125;
  end.evaluation_seconds = 15.0;
  end.checkpoint_seconds = 5.0;
  const std::string line =
      "  the time went to: computing 50.0%, exposed reductions 20.0%, waiting for data 10.0%, "
      "evaluation 15.0%, checkpoints 5.0% of 100.0 s\n";
  for (const char* status : {"done", "stopped", "diverged"}) {
    std::ostringstream out;
    Console console(out);
    end.status = status;
    console.on_end(end);
    EXPECT_TRUE(out.str().ends_with(line)) << out.str();
    EXPECT_EQ(out.str().find("done in 1:20") != std::string::npos, end.status == "done");
  }
  std::ostringstream out;
  Console(out).on_end({});  // nothing was done
  EXPECT_EQ(out.str(), "");
}

TEST_F(RunLogTest, TheEndNamesCorruptImages) {
  EndEvent end;
  end.reads_files = true;
  for (const char* name : {"a", "b", "c", "d", "e", "f"})
    end.corrupt.emplace_back(name, "is empty");
  std::ostringstream out;
  Console(out).on_end(end);
  EXPECT_TRUE(out.str().starts_with("  6 corrupt images\n    a: is empty\n")) << out.str();
  EXPECT_EQ(out.str().find("    f:"), std::string::npos);
  EXPECT_NE(out.str().find("    and more; metrics.jsonl names all of them\n"), std::string::npos);
}

TEST_F(RunLogTest, TheTableHasTheNumbersOfTheLog) {
  {
    RunLog log(nullptr);
    log.on_start(start_);
    log.on_step(step(1, 0.1 + 0.2));
    EvalEvent eval;
    eval.step = 1;
    eval.split = "a,\"b";
    eval.loss = std::nan("");
    log.on_eval(eval);
  }
  std::ofstream(folder_ / "run" / "metrics.jsonl", std::ios::app) << "{\"event\":\"step\",\"st";
  EXPECT_EQ(run_csv(folder_ / "run"),
            "event,step,epoch,split,loss,lr,samples,seconds,accuracy,data_seconds,"
            "reduction_seconds\r\n"
            "step,1,0,,0.30000000000000004,0.0,0,0.0,0.0,0.0,0.0\r\n"
            "eval,1,0,\"a,\"\"b\",nan,,,0.0,0.0,,\r\n");
  EXPECT_THROW(run_csv(folder_), InputError);
}

TEST(Crc32c, KnownAnswers) {
  // RFC 3720, appendix B.4; "123456789" is the usual check value.
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

}  // namespace
}  // namespace syncnorm::test
