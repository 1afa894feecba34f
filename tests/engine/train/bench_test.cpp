// Measurements of `bench step` on a device with queues.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <thread>

#include "comm/observed.h"
#include "engine/train/bench.h"
#include "tests/engine/emulated_gpu.h"
#include "tests/engine/remote_device.h"

namespace syncnorm::test {
namespace {

/// An experiment on a device with one rank, whose reductions go through a communicator that counts.
struct BenchRun {
  BenchRun(const std::string& settings, Device& chosen, bool force, bool record = false)
      : device(chosen),
        loaded(parse_experiment_text(settings +
                                         "data: {dataset: synthetic, synthetic: {classes: 5, "
                                         "height: 8, width: 8, channels: 1, train_samples: 44, "
                                         "test_samples: 20}}\nmodel: {architecture: resnet8}\n",
                                     "test.yaml")),
        dataset(load_dataset(loaded.experiment.data, loaded.experiment.seed,
                             loaded.experiment.global_batch())) {
    TrainerOptions options;
    options.force_reductions = force;
    options.device_communicator = force ? counted.get() : nullptr;
    options.record_steps = record;
    setup = std::make_unique<Setup>(loaded, dataset, device, *self, options);
  }

  /// The parameters in the model's order. That of the flat buffer follows the schedule.
  std::vector<float> parameters() {
    setup->memory.parameters.pull();
    const auto flat = setup->memory.parameters.host<float>();
    std::vector<float> all;
    for (std::size_t p = 0; p < setup->graph.parameters.size(); ++p) {
      const auto one = flat.subspan(setup->full->program().parameter_offset[p],
                                    setup->graph.parameters[p].count());
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }

  Device& device;
  const LoadedExperiment loaded;
  const Dataset dataset;
  const std::unique_ptr<Communicator> self = make_self_communicator();
  const std::unique_ptr<Communicator> on_device = make_self_communicator(
      [this](void* to, const void* from, std::size_t bytes) { device.copy(to, from, bytes); });
  std::map<DataType, int> collectives;
  const std::unique_ptr<Communicator> counted = make_observed_communicator(
      *on_device, {[this](const CollectiveCall& call) { ++collectives[call.type]; }, 0.0});
  std::unique_ptr<Setup> setup;
};

std::map<ReductionKind, int> kinds_of(const StepBench& bench) {
  std::map<ReductionKind, int> kinds;
  for (const ReductionBench& reduction : bench.reductions) ++kinds[reduction.kind];
  return kinds;
}

class ForcedReductions : public ::testing::TestWithParam<std::string> {};

// The host cannot read the device's memory here, so a copy by the host would end the test.
TEST_P(ForcedReductions, AllGoThroughTheCommunicator) {
  RemoteDevice device(make_cpu_device());
  BenchRun run(GetParam(), device, true);
  const StepBench bench = bench_steps(*run.setup, {1, 1, 1, false, false});
  const std::map<ReductionKind, int> kinds = kinds_of(bench);
  // Seven messages each way: five norms alone, two with their projections.
  EXPECT_EQ(kinds.at(ReductionKind::forward_statistics), 7);
  EXPECT_EQ(kinds.at(ReductionKind::backward_statistics), 7);
  EXPECT_GE(kinds.at(ReductionKind::gradient), 1);
  EXPECT_EQ(kinds.at(ReductionKind::loss), 1);
  for (const ReductionBench& reduction : bench.reductions) EXPECT_GT(reduction.bytes, 0u);
  constexpr int kSteps = 5;  // warm-up, the same for both kinds of step, and both kinds
  const int groups = static_cast<int>(run.setup->groups->groups().size());
  EXPECT_EQ(run.collectives[DataType::f64], kSteps * (14 * groups + 1));
  EXPECT_GE(run.collectives[DataType::f32], kSteps * kinds.at(ReductionKind::gradient));
}

TEST_P(ForcedReductions, ChangeNoBit) {
  std::vector<std::vector<float>> ends;
  for (const bool force : {false, true}) {
    EmulatedGpu device;
    BenchRun run(GetParam(), device, force, true);
    bench_steps(*run.setup, {2, 3, 4, false, false});
    EXPECT_GT(device.replays, 0);
    ends.push_back(run.parameters());
    EXPECT_EQ(run.collectives.empty(), !force);
  }
  EXPECT_EQ(ends[0], ends[1]);
}

INSTANTIATE_TEST_SUITE_P(
    Norms, ForcedReductions,
    ::testing::Values(
        "replicas: 1\nbatch_per_replica: 4\nnorm: syncbn\n",
        "replicas: 1\nbatch_per_replica: 4\nnorm: syncbn\nreduction: fastest\n",
        "replicas: 4\nbatch_per_replica: 2\nnorm: syncbn\n",
        "replicas: 4\nbatch_per_replica: 2\nnorm: {kind: batch, synced_replicas: 2}\n"));

/// A device whose kernels take at least kKernelSeconds each.
class SlowDevice final : public Device {
 public:
  static constexpr double kKernelSeconds = 2e-4;
  void use_storage(Storage storage, bool emulate) override { cpu_->use_storage(storage, emulate); }
  std::unique_ptr<Kernel> compile(const Op& op) override {
    return std::make_unique<SlowKernel>(cpu_->compile(op));
  }
  Buffer allocate(std::size_t bytes) override { return cpu_->allocate(bytes); }
  std::size_t packed_bytes(const ConvPack& op) override { return cpu_->packed_bytes(op); }
  std::size_t workspace_bytes(const PoolForward& op) override { return cpu_->workspace_bytes(op); }
  std::string description() const override { return "slow"; }

 private:
  struct SlowKernel final : Kernel {
    explicit SlowKernel(std::unique_ptr<Kernel> made) : kernel(std::move(made)) {}
    void run(std::span<void* const> args, const StepState& state) override {
      std::this_thread::sleep_for(std::chrono::duration<double>(kKernelSeconds));
      kernel->run(args, state);
    }
    std::unique_ptr<Kernel> kernel;
  };
  std::unique_ptr<Device> cpu_ = make_cpu_device();
};

// Queued work takes no time here: kernels run when somebody waits.
TEST(BenchOfInstructions, WaitsForEachOnTheDevice) {
  for (const char* replicas : {"replicas: 1\nbatch_per_replica: 4\n",
                               "replicas: 2\nbatch_per_replica: 2\nreduction: fastest\n"}) {
    RemoteDevice device(std::make_unique<SlowDevice>());
    BenchRun run(std::string(replicas) + "norm: syncbn\n", device, true);
    const StepBench bench = bench_steps(*run.setup, {1, 1, 1, true, false});
    EXPECT_TRUE(bench.queued);
    std::map<std::string, int> passes;
    for (const OperationBench& operation : bench.operations) {
      SCOPED_TRACE(operation.pass + ": " + operation.operation);
      ++passes[operation.pass];
      if (operation.operation == "wait") continue;  // reductions are done where they start
      EXPECT_GE(operation.seconds, operation.instructions * SlowDevice::kKernelSeconds);
    }
    for (const char* pass : {"prepare", "forward", "backward", "update"})
      EXPECT_GE(passes[pass], 1) << pass;
  }
}

TEST(ForcedReductions, ANormPerDeviceSendsNoStatistics) {
  RemoteDevice device(make_cpu_device());
  BenchRun run("replicas: 2\nbatch_per_replica: 2\nnorm: bn\n", device, true);
  const std::map<ReductionKind, int> kinds =
      kinds_of(bench_steps(*run.setup, {1, 1, 1, false, false}));
  EXPECT_FALSE(kinds.contains(ReductionKind::forward_statistics));
  EXPECT_FALSE(kinds.contains(ReductionKind::backward_statistics));
  EXPECT_EQ(kinds.at(ReductionKind::loss), 1);
}

TEST(ForcedReductions, ThereAreNoneUnlessForced) {
  RemoteDevice device(make_cpu_device());
  BenchRun run("replicas: 1\nbatch_per_replica: 4\nnorm: syncbn\n", device, false);
  EXPECT_TRUE(bench_steps(*run.setup, {1, 1, 1, false, false}).reductions.empty());
}

}  // namespace
}  // namespace syncnorm::test
