// Recordings of the CUDA device, on the emulated runtime: one that is interrupted leaves nothing.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/cuda/device.h"
#include "kernels/device.h"

namespace syncnorm::test {
namespace {

TEST(CudaRecording, ACancelledOneLeavesNothing) {
  const std::unique_ptr<Device> device = cuda::make_device(0);
  const Buffer memory = device->allocate(sizeof(std::int32_t));
  const auto value = [&] {
    std::int32_t read = 0;
    device->copy(&read, memory.data(), sizeof read);
    device->synchronize();
    return read;
  };
  const auto write = [&](std::int32_t number) {
    device->write(memory.data(), &number, sizeof number);
  };
  const auto ready = device->make_event();
  device->begin_recording();
  write(1);
  device->record(*ready);
  device->use_queue(Queue::communication);
  device->run_after(*ready);
  write(2);  // nothing waits for it: end_recording() would throw
  device->use_queue(Queue::compute);
  device->cancel_recording();
  EXPECT_EQ(value(), 0);
  // Queues run again at once, and another recording can be made.
  write(3);
  EXPECT_EQ(value(), 3);
  device->use_queue(Queue::communication);
  write(4);
  device->use_queue(Queue::compute);
  EXPECT_EQ(value(), 4);
  device->begin_recording();
  write(5);
  const auto recording = device->end_recording();
  EXPECT_EQ(value(), 4);
  device->replay(*recording);
  EXPECT_EQ(value(), 5);
}

}  // namespace
}  // namespace syncnorm::test
