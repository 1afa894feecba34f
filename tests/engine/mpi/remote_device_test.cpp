// Reductions between ranks from and to a device whose memory the host cannot touch.
#include <gtest/gtest.h>

#include "engine/program/queued_reduction.h"
#include "tests/comm/mpi/world.h"
#include "tests/engine/emulated_gpu.h"
#include "tests/engine/program/program_fixture.h"
#include "tests/engine/remote_device.h"

namespace syncnorm::test {
namespace {

// Statistics, gradients and the loss, small and sliced messages, one group and several.
TEST(RemoteDevice, ReducesWithTheSameBits) {
  for (const char* norm : {"bn", "syncbn", "{kind: batch, synced_replicas: 2}",
                           "{kind: batch, deviation: linf}", "gn"})
    for (const char* reduction : {"reproducible", "fastest"}) {
      const std::string yaml = std::string("replicas: 8\nbatch_per_replica: 2\nsteps: 1\nnorm: ") +
                               norm + "\nreduction: " + reduction +
                               "\nmodel: {architecture: resnet8}\n";
      SCOPED_TRACE(yaml);
      Workbench here(yaml, {8, 8, 1}, 5, {}, &world());
      auto device = std::make_unique<RemoteDevice>(make_cpu_device());
      QueuedCommunicator queued(world(), *device);
      Workbench there(yaml, {8, 8, 1}, 5, {}, &queued, std::move(device));
      EXPECT_EQ(here.run(), there.run());
      EXPECT_EQ(here.gradients, there.gradients);
    }
}

// On some numbers of ranks a group lies within one rank; forced, it communicates like the others.
TEST(RemoteDevice, ForcedGroupsReduceOnTheDevice) {
  RemoteDevice device(make_cpu_device());
  QueuedCommunicator queued(world(), device);
  const StatisticsGroups groups(queued, {8, world().size()}, 2, true);
  for (const LocalGroup& group : groups.groups()) {
    EXPECT_EQ(group.comm->size(), static_cast<int>(group.blocks.size()));
    QueuedReductionOptions options;
    options.blocks = group.blocks;
    options.count = options.stride = 3;
    options.forced = true;
    const auto sum = make_queued_reduction<double>(device, *group.comm, options, nullptr);
    EXPECT_GT(sum->bytes_sent(), 0u);
    std::vector<double> leaves, result(3);
    for (int r = group.local.begin; r < group.local.end; ++r)
      leaves.insert(leaves.end(), 3, 1.0 + r);
    const Buffer there = device.allocate(leaves.size() * sizeof(double)),
                 total = device.allocate(result.size() * sizeof(double));
    device.copy(there.data(), leaves.data(), there.bytes());
    sum->start({there.data(), 3 * sizeof(double), total.data()});
    sum->wait();
    device.copy(result.data(), total.data(), total.bytes());
    device.synchronize();
    EXPECT_EQ(result, std::vector<double>(3, 3.0 + 2.0 * group.members.begin));
  }
}

/// The mean loss and the gradients of two steps on our CUDA kernels, of which the second is
/// recorded and replayed.
std::pair<double, std::vector<float>> on_emulated_gpu(const std::string& yaml, Communicator& comm) {
  auto device = std::make_unique<RemoteDevice>(std::make_unique<EmulatedGpu>());
  RemoteDevice& remote = *device;
  QueuedCommunicator queued(comm, remote);
  Workbench bench(yaml, {8, 8, 1}, 5, {}, &queued, std::move(device));
  const double loss = bench.run();
  remote.set_state(bench.state);
  remote.begin_recording();
  bench.executor->run_loaded(bench.state);
  const auto recording = remote.end_recording();
  remote.zero(bench.memory.gradients.data(), bench.memory.gradients.bytes());
  remote.replay(*recording);
  const std::vector<float> first = bench.gradients;
  remote.copy(bench.gradients.data(), bench.memory.gradients.data(),
              bench.gradients.size() * sizeof(float));
  remote.synchronize();
  EXPECT_EQ(first, bench.gradients);
  return {loss, bench.gradients};
}

TEST(EmulatedGpu, HasTheSameBitsOnAnyNumberOfRanks) {
  for (const char* norm : {"syncbn", "{kind: batch, synced_replicas: 4}", "gn"}) {
    const std::string yaml = std::string("replicas: 8\nbatch_per_replica: 1\nsteps: 1\nnorm: ") +
                             norm + "\nmodel: {architecture: resnet8}\n";
    SCOPED_TRACE(yaml);
    const auto alone = make_self_communicator();
    EXPECT_EQ(on_emulated_gpu(yaml, world()), on_emulated_gpu(yaml, *alone));
  }
}

}  // namespace
}  // namespace syncnorm::test
