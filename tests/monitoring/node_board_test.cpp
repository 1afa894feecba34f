// Shared numbers: no reader ever sees half of a write; one rank is a node of its own.
#include "monitoring/node_board.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "monitoring/run_values.h"

namespace syncnorm::test {
namespace {

TEST(SharedBlock, NothingCanBeReadBeforeTheFirstWrite) {
  std::vector<std::uint64_t> memory(SharedBlock::bytes(3) / 8);
  SharedBlock block(memory.data(), 3);
  std::vector<double> values(3);
  EXPECT_FALSE(block.read(values));
  block.write(std::vector<double>{1.0, 2.0, 3.0});
  ASSERT_TRUE(block.read(values));
  EXPECT_EQ(values, (std::vector<double>{1.0, 2.0, 3.0}));
}

TEST(SharedBlock, AReaderNeverSeesHalfOfAWrite) {
  constexpr std::size_t kValues = 200;
  std::vector<std::uint64_t> memory(SharedBlock::bytes(kValues) / 8);
  SharedBlock block(memory.data(), kValues);
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    std::vector<double> values(kValues);
    for (double i = 1.0; !stop; i += 1.0) {
      std::fill(values.begin(), values.end(), i);
      block.write(values);
    }
  });
  std::vector<double> seen(kValues);
  int reads = 0;
  double last = 0.0;
  while (reads < 2000) {
    if (!block.read(seen)) continue;
    ++reads;
    ASSERT_GE(seen[0], last);
    last = seen[0];
    for (const double value : seen) ASSERT_EQ(value, seen[0]);
  }
  stop = true;
  writer.join();
}

TEST(SharedBlock, AWriterThatDiedInTheMiddleIsNotReadAndNotWaitedFor) {
  std::vector<std::uint64_t> memory(SharedBlock::bytes(1) / 8);
  SharedBlock block(memory.data(), 1);
  block.write(std::vector<double>{1.0});
  memory[0] += 1;  // the sequence as it is during a write
  std::vector<double> values(1);
  EXPECT_FALSE(block.read(values));
}

TEST(NodeBoard, OneRankIsANodeOfItsOwnAndLeavesNothingBehind) {
  const std::unique_ptr<Communicator> comm = make_self_communicator();
  const auto names = [] {
    std::vector<std::string> list;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm"))
      if (entry.path().filename().string().starts_with("syncnorm-"))
        list.push_back(entry.path().filename().string());
    return list;
  };
  const auto before = names();
  NodeBoard board(*comm, {2, 5});
  EXPECT_EQ(names(), before);
  EXPECT_EQ(board.problem(), "");
  EXPECT_EQ(board.ranks(), std::vector<int>{0});
  EXPECT_TRUE(board.is_first());
  board.own(0).write(std::vector<double>{1.0, 2.0});
  board.own(1).write(std::vector<double>{3.0, 4.0, 5.0, 6.0, 7.0});
  std::vector<double> first(2), second(5);
  ASSERT_TRUE(board.block(0, 0).read(first));
  ASSERT_TRUE(board.block(0, 1).read(second));
  EXPECT_EQ(first[1], 2.0);
  EXPECT_EQ(second[4], 7.0);
}

TEST(RunValues, TravelAsNumbers) {
  RankValues sent;
  sent.steps = 7.0;
  sent.bytes[3] = 11.0;
  sent.publish_cpu_seconds = 0.5;
  std::vector<double> numbers(as_doubles(std::as_const(sent)).begin(),
                              as_doubles(std::as_const(sent)).end());
  ASSERT_EQ(numbers.size(), kCount<RankValues>);
  RankValues received;
  std::copy(numbers.begin(), numbers.end(), as_doubles(received).begin());
  EXPECT_EQ(received.steps, 7.0);
  EXPECT_EQ(received.bytes[3], 11.0);
  EXPECT_EQ(received.publish_cpu_seconds, 0.5);
}

}  // namespace
}  // namespace syncnorm::test
