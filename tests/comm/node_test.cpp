// Which ranks share a machine, and the refusal of ranks that would share a GPU.
#include "comm/node.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace syncnorm {
namespace {

std::string refusal(const std::vector<std::string>& units, bool allowed = false) {
  try {
    check_units(units, allowed);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Node, OneRankIsTheFirst) {
  const auto comm = make_self_communicator();
  EXPECT_EQ(local_rank(*comm), 0);
  EXPECT_EQ(ranks_of_this_node(*comm), std::vector<int>{0});
}

TEST(Node, RanksMayNotShareAGpu) {
  EXPECT_EQ(refusal({"GPU-a", "GPU-b"}), "");
  EXPECT_EQ(refusal({"", "", ""}), "");  // processors can be shared
  EXPECT_THAT(refusal({"GPU-a", "GPU-b", "GPU-a"}),
              testing::HasSubstr("ranks 0 and 2 would share the GPU GPU-a (2 ranks in all)"));
  EXPECT_THAT(refusal({"GPU-a", "GPU-a"}), testing::HasSubstr("allow_shared_gpu: true"));
  EXPECT_EQ(refusal({"GPU-a", "GPU-a"}, true), "");
}

}  // namespace
}  // namespace syncnorm
