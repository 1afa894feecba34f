// A step allocates nothing after warm-up, on any device. On the CPU every operator new of this
// process is counted while steps run, but for those that libraries make inside their own calls; in
// the emulation of CUDA every allocation of device memory; on a GPU (SYNCNORM_TEST_GPU) operator
// new, and its free memory is compared, which includes what cuDNN holds.
#include <gtest/gtest.h>

#include <cstdlib>
#include <tuple>

#include "engine/train/steps.h"
#include "tests/engine/emulated_gpu.h"
#include "tests/engine/program/program_fixture.h"
#include "tests/kernels/counting_new.h"

namespace syncnorm::test {
namespace {

constexpr const char* kCpu = "cpu";
constexpr const char* kEmulated = "cuda_emulated";
constexpr const char* kGpu = "cuda";

std::vector<const char*> devices() {
  std::vector<const char*> names = {kCpu, kEmulated};
  if (std::getenv("SYNCNORM_TEST_GPU") != nullptr) names.push_back(kGpu);
  return names;
}

std::unique_ptr<Device> make(const std::string& name) {
  if (name == kCpu) return make_cpu_device();
  if (name == kGpu) return make_cuda_device(0);
  return std::make_unique<EmulatedGpu>();
}

class StepAllocations : public ::testing::TestWithParam<std::tuple<const char*, std::string>> {};

TEST_P(StepAllocations, NoneAfterWarmUp) {
  const auto& [name, settings] = GetParam();
  Workbench bench(
      "replicas: 4\nbatch_per_replica: 2\nsteps: 1\noptimizer: {clip_norm: 1.0}\n" + settings,
      {8, 8, 3}, 5, {}, nullptr, make(name));
  Device& device = *bench.device;
  bench.memory.parameters.push();
  Optimizer optimizer(bench.graph, bench.executor->program(), bench.loaded.experiment.optimizer,
                      device);
  Steps steps(device, optimizer, bench.memory, bench.executor->queued(), true);
  const BatchView batch{bench.images.data(), bench.labels.data(), bench.ids.data()};
  const auto run = [&](int count) {
    for (int step = 0; step < count; ++step) {
      steps.start(*bench.executor, bench.state, batch);
      if (steps.in_flight() == steps.most_in_flight()) steps.finish(60.0);
      ++bench.state.step;
    }
    while (steps.in_flight() > 0) steps.finish(60.0);
    device.synchronize();
  };
  run(5);  // the third is recorded where the device can
  const std::size_t free = device.free_bytes();
  const std::uint64_t on_device = emulation::device_allocations();
  const int on_host = allocations_in([&] { run(5); });
  EXPECT_EQ(device.free_bytes(), free);
  EXPECT_EQ(emulation::device_allocations(), on_device);
  if (name != std::string(kEmulated)) EXPECT_EQ(on_host, 0);  // there a launch itself allocates
}

INSTANTIATE_TEST_SUITE_P(
    Models, StepAllocations,
    ::testing::Combine(
        ::testing::ValuesIn(devices()),
        ::testing::Values(
            "norm: syncbn\nmodel: {architecture: resnet8}\n",
            "norm: {kind: batch, synced_replicas: 2}\nmodel: {architecture: resnet8}\n",
            "norm: bn\nmodel: {architecture: resnet8}\nreduction: fastest\n",
            "norm: gn\nmodel: {architecture: resnet8}\n",
            "norm: ln\nmodel: {architecture: mlp, dropout: 0.5, activation: tanh}\n")));

TEST(StepAllocations, TheCounterCounts) { EXPECT_GE(allocations_in(allocate_visibly), 1); }

}  // namespace
}  // namespace syncnorm::test
