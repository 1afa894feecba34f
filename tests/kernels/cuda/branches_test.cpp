// Work that runs side by side on streams of its own, now and in a recorded step.
#include "kernels/cuda/branches.h"

#include <gtest/gtest.h>

#include "kernels/cuda/convert.h"
#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

class BranchesTest : public testing::Test {
 protected:
  static constexpr int kCount = 6;
  static constexpr std::size_t kSize = 100;

  void SetUp() override {
    for (int i = 0; i < kCount; ++i) {
      from_.emplace_back(*device_, random_normal(kSize, static_cast<unsigned>(i)));
      to_.emplace_back(*device_, kSize);
    }
  }
  void copy_all() {
    branches_.run(context_, kCount, [&](int i, int branch) {
      EXPECT_EQ(branch, i % cuda::Branches::kMost);
      const auto n = static_cast<std::size_t>(i);
      cuda::convert(context_, Storage::f32, Storage::f32, from_[n].pointer(), to_[n].pointer(),
                    kSize);
    });
  }
  void expect_copies() {
    for (std::size_t i = 0; i < kCount; ++i) EXPECT_EQ(to_[i].values(), from_[i].values());
  }

  std::unique_ptr<Device> device_ = cuda::make_device(0);
  cuda::Context context_;
  cuda::Branches branches_;
  std::vector<Floats> from_, to_;
};

TEST_F(BranchesTest, AllIsDoneWhenTheStreamGoesOn) {
  const cudaStream_t before = context_.stream;
  copy_all();
  EXPECT_EQ(context_.stream, before);
  ASSERT_EQ(cudaStreamSynchronize(context_.stream), cudaSuccess);
  expect_copies();
}

TEST_F(BranchesTest, ARecordedStepContainsThem) {
  ASSERT_EQ(cudaStreamBeginCapture(context_.stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  copy_all();
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(context_.stream, &graph), cudaSuccess);
  EXPECT_NE(to_[0].values(), from_[0].values());
  cudaGraphExec_t step = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&step, graph, 0), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(step, context_.stream), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(context_.stream), cudaSuccess);
  expect_copies();
  cudaGraphExecDestroy(step);
  cudaGraphDestroy(graph);
}

TEST_F(BranchesTest, AMistakeInOneLeavesTheStreamAsItWas) {
  const cudaStream_t before = context_.stream;
  EXPECT_THROW(branches_.run(context_, 2, [](int, int) { throw std::logic_error("no"); }),
               std::logic_error);
  EXPECT_EQ(context_.stream, before);
}

}  // namespace
}  // namespace syncnorm::test
