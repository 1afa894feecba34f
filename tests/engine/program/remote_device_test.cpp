// Programs on a device whose memory the host cannot touch give the bits that they give on the CPU.
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "engine/program/nonfinite.h"
#include "tests/engine/program/program_fixture.h"
#include "tests/engine/remote_device.h"

namespace syncnorm::test {
namespace {

/// Two steps of everything that a program has, on both kinds of device.
void expect_same_bits(const std::string& yaml, const std::vector<int>& samples = {}) {
  SCOPED_TRACE(yaml);
  Workbench here(yaml, {8, 8, 3}, 5, samples);
  Workbench there(yaml, {8, 8, 3}, 5, samples, nullptr,
                  std::make_unique<RemoteDevice>(make_cpu_device()));
  for (int step = 0; step < 2; ++step) {
    for (Workbench* setup : {&here, &there}) {
      setup->state.step = static_cast<std::uint64_t>(step);
      setup->state.update_running = true;
    }
    EXPECT_EQ(here.step(), there.step());
    ASSERT_EQ(here.gradients, there.gradients);
    EXPECT_NE(here.gradients, std::vector<float>(here.gradients.size()));
  }
  there.memory.running.pull();
  const auto running = here.memory.running.host<float>(),
             other = there.memory.running.host<float>();
  EXPECT_TRUE(std::equal(running.begin(), running.end(), other.begin(), other.end()));
}

TEST(RemoteDevice, EveryNorm) {
  for (const char* norm :
       {"bn",
        "syncbn",
        "{kind: batch, synced_replicas: 2}",
        "{kind: group, groups: 2}",
        "ln",
        "{kind: layer, over: channels}",
        "in",
        "rms",
        "{kind: frn, tlu: true}",
        "{kind: evonorm_s0, groups: 2}",
        "dyt",
        "derf",
        "none",
        "{kind: batch, deviation: l1}",
        "{kind: batch, deviation: linf}",
        "{kind: batch, renormalize: true, r_max: 1.5, d_max: 0.5}",
        "{kind: momentum, momentum_images: 8, momentum_ramp: 3}",
        "{kind: momentum, momentum_images: 8, synced_replicas: 1}",
        "{kind: mabn, window: 2, window_start: 0}",
        "{kind: mabn, window: 1, synced_replicas: 1}",
        "{kind: cross_iteration, window: 3, window_start: 0}",
        "{kind: cross_iteration, window: 2, synced_replicas: 1, window_start: 0}",
        "{kind: evonorm_b0}",
        "{kind: evonorm_b0, synced_replicas: 1}",
        "{kind: switchable}",
        "{kind: batch, weights: normalized}"})
    for (const char* reduction : {"reproducible", "fastest"})
      for (const auto yaml : {every_layer_yaml, enlarging_yaml})
        expect_same_bits(yaml(norm, std::string("reduction: ") + reduction + "\n"));
}

TEST(RemoteDevice, TheTimeInFlightOfQueuedReductionsIsNotMeasured) {
  const std::string yaml = every_layer_yaml("syncbn");
  Workbench here(yaml),
      there(yaml, {8, 8, 3}, 5, {}, nullptr, std::make_unique<RemoteDevice>(make_cpu_device()));
  const auto in_flight = [](Workbench& setup) {
    setup.step();
    double seconds = 0.0;
    for (const ReductionTiming& timing : setup.executor->reductions().timings())
      seconds += timing.in_flight;
    return seconds;
  };
  EXPECT_GT(in_flight(here), 0.0);
  EXPECT_EQ(in_flight(there), 0.0);
}

TEST(RemoteDevice, GradientsOfManyReplicasAreFoldedThere) {
  expect_same_bits(
      "replicas: 7\nbatch_per_replica: 2\nsteps: 1\nnorm: bn\nmodel: {architecture: resnet8}\n");
}

TEST(RemoteDevice, EmptyAndPartialReplicas) {
  const std::string model = "norm: syncbn\nmodel: {architecture: resnet8}\n";
  expect_same_bits("replicas: 4\nbatch_per_replica: 2\nsteps: 1\n" + model, {2, 1, 0, 0});
}

TEST(RemoteDevice, FindsWhereValuesStopBeingFinite) {
  const std::string yaml = every_layer_yaml("syncbn");
  Workbench here(yaml),
      there(yaml, {8, 8, 3}, 5, {}, nullptr, std::make_unique<RemoteDevice>(make_cpu_device()));
  std::vector<int> found;
  for (Workbench* setup : {&here, &there}) {
    setup->run();
    const BatchView batch{setup->images.data(), setup->labels.data(), setup->ids.data()};
    EXPECT_EQ(find_nonfinite(*setup->executor, setup->state, batch).instruction, -1);
    setup->images[7] = std::numeric_limits<float>::infinity();
    setup->run();
    const NonFinite first = find_nonfinite(*setup->executor, setup->state, batch);
    EXPECT_NE(first.values, "");
    found.push_back(first.instruction);
  }
  EXPECT_GE(found[0], 0);
  EXPECT_EQ(found[0], found[1]);
}

TEST(RemoteDevice, SaysForWhatItHasNoMemory) {
  const std::string yaml =
      "replicas: 2\nbatch_per_replica: 2\nsteps: 1\nnorm: syncbn\nmodel: {architecture: resnet8}\n";
  std::set<std::string> seen;
  for (std::size_t most = 1 << 12; most < (1 << 24); most += most / 4) {
    auto device = std::make_unique<RemoteDevice>(make_cpu_device());
    device->most_bytes = most;
    try {
      const Workbench bench(yaml, {8, 8, 1}, 5, {}, nullptr, std::move(device));
    } catch (const InputError& error) {
      seen.insert(error.what());
    }
  }
  for (const char* what : {"parameters", "gradients", "packed weights", "activations"})
    EXPECT_TRUE(seen.contains(std::string("no memory for ") + what + ": the GPU is full")) << what;
}

TEST(RemoteDevice, AMirrorShowsTheHostPyTorchsLayoutOfWeights) {
  RemoteDevice device(make_cpu_device());
  const std::vector<WeightBlock> blocks = {{2, 3, 5, 4}, {70, 2, 3, 1}, {80, 4, 1, 9}};
  std::vector<float> values(120);
  std::iota(values.begin(), values.end(), 0.0f);
  Mirror mirror(device, values.size() * sizeof(float), blocks);
  std::copy(values.begin(), values.end(), mirror.host<float>().begin());
  mirror.push();
  EXPECT_TRUE(std::equal(values.begin(), values.end(), mirror.host<float>().begin()));
  std::vector<float> there(values.size()), expected = values;
  device.copy(there.data(), mirror.device<float>(), mirror.bytes());
  device.synchronize();
  to_channels_last(blocks, expected);
  EXPECT_EQ(there, expected);
  std::fill(mirror.host<float>().begin(), mirror.host<float>().end(), 0.0f);
  mirror.pull();
  EXPECT_TRUE(std::equal(values.begin(), values.end(), mirror.host<float>().begin()));
}

using RemoteDeviceDeathTest = ::testing::Test;

TEST(RemoteDeviceDeathTest, ItsMemoryReallyCannotBeTouched) {
  RemoteDevice device(make_cpu_device());
  const Buffer buffer = device.allocate(64);
  EXPECT_DEATH(*reinterpret_cast<volatile char*>(buffer.data()) = 1, "");
}

}  // namespace
}  // namespace syncnorm::test
