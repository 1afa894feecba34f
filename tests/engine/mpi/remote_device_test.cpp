// Reductions between ranks from and to a device whose memory the host cannot touch.
#include <gtest/gtest.h>

#include "tests/comm/mpi/world.h"
#include "tests/engine/program/program_fixture.h"
#include "tests/engine/remote_device.h"

namespace syncnorm::test {
namespace {

TEST(RemoteDevice, ReducesWithTheSameBits) {
  for (const char* norm : {"bn", "syncbn", "{kind: batch, synced_replicas: 2}",
                           "{kind: batch, deviation: linf}", "gn"})
    for (const char* reduction : {"reproducible", "fastest"}) {
      const std::string yaml = std::string("replicas: 8\nbatch_per_replica: 2\nsteps: 1\nnorm: ") +
                               norm + "\nreduction: " + reduction +
                               "\nmodel: {architecture: resnet8}\n";
      SCOPED_TRACE(yaml);
      Workbench here(yaml, {8, 8, 1}, 5, {}, &world());
      Workbench there(yaml, {8, 8, 1}, 5, {}, &world(),
                      std::make_unique<RemoteDevice>(make_cpu_device()));
      EXPECT_EQ(here.run(), there.run());
      EXPECT_EQ(here.gradients, there.gradients);
    }
}

}  // namespace
}  // namespace syncnorm::test
