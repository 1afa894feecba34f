// Flight records: the ring, the files, and whom they accuse.
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "comm/flight_report.h"
#include "tests/temporary_folder.h"

namespace syncnorm::test {
namespace {

namespace fs = std::filesystem;

FlightEvent event(FlightKind kind, std::int64_t step, int instruction, const std::string& name) {
  return {1, 100.0, kind, step, instruction, name};
}

FlightRecord record(int rank, int ranks, std::vector<FlightEvent> events) {
  return {"a-1", rank, ranks, 100.0, "because", std::move(events), {}};
}

const FlightEvent kStart = event(FlightKind::start, 3, 7, "reduction of bn1 statistics");
const FlightEvent kWait = event(FlightKind::wait, 3, 7, "reduction of bn1 statistics");

TEST(FlightRecorder, KeepsTheLastEvents) {
  FlightRecorder recorder;
  EXPECT_TRUE(recorder.last().empty());
  const int conv = recorder.name("conv1"), norm = recorder.name("bn1");
  EXPECT_EQ(recorder.name("conv1"), conv);
  for (int i = 1; i <= 1500; ++i)
    recorder.record(FlightKind::run, i % 2 == 0 ? conv : norm, i, i % 10);
  EXPECT_EQ(recorder.count(), 1500);
  const std::vector<FlightEvent> events = recorder.last();
  ASSERT_EQ(events.size(), FlightRecorder::kEvents);
  EXPECT_EQ(events.front().number, 501);
  EXPECT_EQ(events.front().name, "bn1");
  EXPECT_EQ(events.back().number, 1500);
  EXPECT_EQ(events.back().step, 1500);
  EXPECT_EQ(events.back().name, "conv1");
  EXPECT_LE(events.front().time, events.back().time);
}

TEST(FlightRecorder, RestsUntilTheNextEvent) {
  FlightRecorder recorder;
  const int name = recorder.name("x");
  recorder.record(FlightKind::rest, name, 1);
  EXPECT_TRUE(recorder.rests());
  recorder.record(FlightKind::mark, name, 1);
  EXPECT_FALSE(recorder.rests());
}

TEST(FlightFiles, WithNumbersThatCannotBeAreNoRecords) {
  const test::TemporaryFolder temporary;
  const fs::path& folder = temporary.path();
  for (const char* numbers : {R"("rank":0,"ranks":2147483647)", R"("rank":2,"ranks":2)",
                              R"("rank":-1,"ranks":2)", R"("rank":1e300,"ranks":2)"}) {
    std::ofstream(folder / "rank-0.jsonl")
        << R"({"event":"flight","launch":"a",)" << numbers << R"(,"time":1.0,"reason":"r"})";
    EXPECT_THROW(read_flight(folder), InputError) << numbers;
  }
}

TEST(FlightFiles, AreReadAsTheyWereWritten) {
  const test::TemporaryFolder temporary;
  const fs::path folder = temporary.path() / "flight";
  FlightRecord old = record(2, 3, {kStart});
  old.launch = "old";
  old.time = 50.0;
  write_flight(folder, old);
  FlightRecord one = record(1, 2, {kStart, kWait});
  one.stack = {"main", "run"};
  write_flight(folder, one);
  write_flight(folder, record(0, 2, {kStart}));
  std::ofstream(folder / "rank-1.jsonl", std::ios::app) << "{\"event\":\"run\",\"numb";
  const std::vector<FlightRecord> read = read_flight(folder);
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[1].rank, 1);
  EXPECT_EQ(read[1].ranks, 2);
  EXPECT_EQ(read[1].reason, "because");
  EXPECT_EQ(read[1].stack, one.stack);
  ASSERT_EQ(read[1].events.size(), 2u);
  EXPECT_EQ(read[1].events[1].kind, FlightKind::wait);
  EXPECT_EQ(read[1].events[1].name, kWait.name);
  EXPECT_EQ(read[1].events[1].step, 3);
  EXPECT_EQ(read[1].events[1].instruction, 7);
  fs::remove_all(folder);
  EXPECT_THROW(read_flight(folder), InputError);
}

TEST(FlightVerdict, ARankWithoutARecordIsMissing) {
  const FlightVerdict verdict =
      judge_flight({record(0, 3, {kStart, kWait}), record(2, 3, {kWait})});
  EXPECT_EQ(verdict.ranks, (std::vector<int>{1}));
  EXPECT_EQ(verdict.text,
            "rank 1 left no record: stopped, or gone; the others wait for reduction of bn1 "
            "statistics, step 3, instruction 7");
}

TEST(FlightVerdict, ARankThatHasNotArrivedIsMissing) {
  const FlightVerdict verdict =
      judge_flight({record(0, 2, {kStart, kWait}),
                    record(1, 2, {event(FlightKind::run, 3, 4, "layer 'conv1' (conv)")})});
  EXPECT_EQ(verdict.ranks, (std::vector<int>{1}));
  EXPECT_EQ(verdict.text,
            "rank 1 is missing from reduction of bn1 statistics, step 3, instruction 7; its last "
            "event is layer 'conv1' (conv), step 3, instruction 4");
}

/// It waits itself, for something that comes later.
TEST(FlightVerdict, ARankThatLeftOneOutIsMissing) {
  const FlightEvent later = event(FlightKind::wait, 4, 2, "reduction of loss");
  const FlightVerdict verdict = judge_flight(
      {record(0, 2, {event(FlightKind::run, 3, 1, "conv"), later}), record(1, 2, {kStart, kWait})});
  EXPECT_EQ(verdict.ranks, (std::vector<int>{0}));
}

TEST(FlightVerdict, WithoutAWaitTheOneThatIsBusy) {
  const FlightVerdict verdict =
      judge_flight({record(0, 1, {event(FlightKind::mark, 3, -1, "waiting for data")})});
  EXPECT_EQ(verdict.ranks, (std::vector<int>{0}));
  EXPECT_EQ(verdict.text, "rank 0 is held up in waiting for data, step 3");
}

TEST(FlightVerdict, NobodyIsAccusedWhenAllTakePart) {
  const FlightVerdict verdict =
      judge_flight({record(0, 2, {kStart, kWait}), record(1, 2, {kStart, kWait})});
  EXPECT_TRUE(verdict.ranks.empty());
  EXPECT_NE(verdict.text.find("all ranks take part in reduction of bn1"), std::string::npos);
}

}  // namespace
}  // namespace syncnorm::test
