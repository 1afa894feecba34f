// The watchdog of one rank. What it does for several is in tests/cli/test_faults.py.
#include "comm/watchdog.h"
#include "tests/temporary_folder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

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

/// Spins with the stack pointer at `top`, as generated code does that uses it for something else.
__attribute__((noinline)) void spin_with_stack_pointer(std::byte* top,
                                                       const std::atomic<int>& end) {
  asm volatile(
      "mov %%rsp, %%rbx\n"
      "mov %0, %%rsp\n"
      "1: pause\n"
      "cmpl $0, (%1)\n"
      "je 1b\n"
      "mov %%rbx, %%rsp\n"
      :
      : "r"(top), "r"(&end)
      : "rbx", "memory", "cc");
}

TEST_F(WatchdogTest, WritesNothingWhereTheStackPointerIsInTheHeap) {
  constexpr std::byte kUntouched{0xa5};
  std::vector<std::byte> heap(std::size_t{256} << 10, kUntouched);
  const auto comm = make_self_communicator();
  FlightRecorder recorder;
  const Watchdog watchdog(*comm, recorder, 1000.0, 0.0, folder_);
  std::atomic<int> spinning{0};
  std::thread other([&] {
    watchdog.leave_record("asked to");
    spinning = 1;
  });
  spin_with_stack_pointer(heap.data() + heap.size() / 2, spinning);
  other.join();
  EXPECT_TRUE(std::all_of(heap.begin(), heap.end(), [](std::byte b) { return b == kUntouched; }));
  const std::vector<FlightRecord> records = read_flight(folder_);
  ASSERT_EQ(records.size(), 1u);
  ASSERT_FALSE(records[0].stack.empty());
  EXPECT_NE(records[0].stack[0], "(the thread did not answer)");
}

TEST_F(WatchdogTest, IsPatientWhereARankRestsAndGoneWhenItLeaves) {
  be_silent(FlightKind::rest, 0.2, 1000.0, 1.0);
  be_silent(FlightKind::mark, 1000.0, 0.0, 0.0);
  EXPECT_TRUE(fs::is_empty(folder_));
}

}  // namespace
}  // namespace syncnorm::test
