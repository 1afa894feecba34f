// A step allocates nothing of ours after warm-up: every operator new of this process is counted
// while steps run, but for those that oneDNN makes inside its own calls.
#include <gtest/gtest.h>

#include "engine/train/optimizer.h"
#include "tests/engine/program/program_fixture.h"
#include "tests/kernels/counting_new.h"

namespace syncnorm::test {
namespace {

class StepAllocations : public ::testing::TestWithParam<std::string> {};

TEST_P(StepAllocations, NoneAfterWarmUp) {
  Workbench bench("replicas: 4\nbatch_per_replica: 2\nsteps: 1\noptimizer: {clip_norm: 1.0}\n" +
                  GetParam());
  Optimizer optimizer(bench.graph, bench.executor->program(), bench.loaded.experiment.optimizer,
                      *bench.device);
  bench.run();
  optimizer.update(bench.memory, bench.state, nullptr);
  EXPECT_EQ(allocations_in([&] {
              for (int i = 0; i < 5; ++i) {
                bench.run();
                optimizer.update(bench.memory, bench.state, nullptr);
              }
            }),
            0);
}

INSTANTIATE_TEST_SUITE_P(
    Models, StepAllocations,
    ::testing::Values("norm: syncbn\nmodel: {architecture: resnet8}\n",
                      "norm: {kind: batch, synced_replicas: 2}\nmodel: {architecture: resnet8}\n",
                      "norm: bn\nmodel: {architecture: resnet8}\nreduction: fastest\n",
                      "norm: gn\nmodel: {architecture: resnet8}\n",
                      "norm: ln\nmodel: {architecture: mlp, dropout: 0.5, activation: tanh}\n"));

TEST(StepAllocations, TheCounterCounts) { EXPECT_GE(allocations_in(allocate_visibly), 1); }

}  // namespace
}  // namespace syncnorm::test
