// The watchdog of one rank. What it does for several is in tests/cli/test_faults.py.
#include "comm/watchdog.h"
#include "tests/temporary_folder.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace syncnorm::test {
namespace {

namespace fs = std::filesystem;

class WatchdogTest : public ::testing::Test {
 protected:
  WatchdogTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  /// Records one event, then nothing for `seconds`.
  void be_silent(FlightKind kind, double deadline, double patience, double seconds) {
    const auto comm = make_self_communicator();
    FlightRecorder recorder;
    const Watchdog watchdog(*comm, recorder, deadline, patience, folder_);
    recorder.record(kind, recorder.name("a long nap"), 5);
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  }

  const test::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST_F(WatchdogTest, EndsAProcessThatMakesNoProgress) {
  EXPECT_EXIT(be_silent(FlightKind::mark, 0.3, 0.0, 600.0), ::testing::ExitedWithCode(70),
              "syncnorm: rank 0: no progress for 0.3 s \\(fault.deadline\\); it is in a long nap, "
              "step 5; see syncnorm inspect --flight /");
}

TEST_F(WatchdogTest, LeavesTheEventsAndTheStack) {
  const auto comm = make_self_communicator();
  FlightRecorder recorder;
  const Watchdog watchdog(*comm, recorder, 1000.0, 0.0, folder_);
  recorder.record(FlightKind::mark, recorder.name("a mark"), 5);
  std::thread([&] { watchdog.leave_record("asked to"); }).join();
  const std::vector<FlightRecord> records = read_flight(folder_);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].reason, "asked to");
  ASSERT_EQ(records[0].events.size(), 1u);
  EXPECT_EQ(records[0].events[0].name, "a mark");
  EXPECT_GE(records[0].stack.size(), 3u);
}

TEST_F(WatchdogTest, IsPatientWhereARankRestsAndGoneWhenItLeaves) {
  be_silent(FlightKind::rest, 0.2, 1000.0, 1.0);
  be_silent(FlightKind::mark, 1000.0, 0.0, 0.0);
  EXPECT_TRUE(fs::is_empty(folder_));
}

}  // namespace
}  // namespace syncnorm::test
