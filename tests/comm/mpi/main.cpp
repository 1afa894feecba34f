// Runs the tests of this folder on every rank of an mpirun: all ranks run the same tests in the
// same order, rank 0 prints, the others print what fails, and the exit code is the worst of all
// ranks. SYNCNORM_TEST_COMMUNICATOR: "mpi", or "nccl" between GPUs (several ranks may share one),
// or "queued", which takes nccl's way on a device that the CPU stands in for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "comm/nccl/nccl.h"
#include "comm/node.h"
#include "tests/comm/mpi/hosted.h"
#include "tests/comm/mpi/world.h"
#include "tests/engine/remote_device.h"

namespace syncnorm::test {
namespace {

std::unique_ptr<Communicator> launched;
std::unique_ptr<Device> device;
std::unique_ptr<Communicator> queued;
std::unique_ptr<Communicator> world_of_all_ranks;

std::unique_ptr<Communicator> make_world(const std::string& kind) {
  launched = make_mpi_communicator();
  launched->set_deadline(60.0);  // a test that hangs fails instead
  if (kind == "mpi") return std::move(launched);
  if (kind == "queued") {
    auto remote = std::make_unique<RemoteDevice>(make_cpu_device());
    queued = std::make_unique<QueuedCommunicator>(*launched, *remote);
    device = std::move(remote);
    return std::make_unique<HostedCommunicator>(std::move(queued), *device);
  }
  // NCCL takes ranks of one host on one GPU for a mistake; of different hosts it does not.
  setenv("NCCL_HOSTID", ("test-" + std::to_string(launched->rank())).c_str(), 0);
  setenv("NCCL_SOCKET_IFNAME", "lo", 0);
  device = make_cuda_device(local_rank(*launched));
  return std::make_unique<HostedCommunicator>(
      make_nccl_communicator(*launched, device->native_queue(Queue::communication)), *device);
}

/// Prints failures alone, with the rank in front.
class FailurePrinter final : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", world().rank(),
                 result.file_name() != nullptr ? result.file_name() : "?", result.line_number(),
                 result.message());
  }
};

int run(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const char* kind = std::getenv("SYNCNORM_TEST_COMMUNICATOR");
  world_of_all_ranks = make_world(kind != nullptr ? kind : "mpi");
  if (world().rank() != 0) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter);
  }
  const int own = RUN_ALL_TESTS();
  int worst = 0;
  for (const std::string& code : world().all_gather_text(std::to_string(own)))
    worst = std::max(worst, std::stoi(code));
  world_of_all_ranks.reset();
  device.reset();
  launched.reset();
  return worst;
}

}  // namespace

Communicator& world() { return *world_of_all_ranks; }

}  // namespace syncnorm::test

/// Open MPI keeps memory of components that it has unloaded by the end, so a leak sanitizer could
/// not even say whose it is.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

int main(int argc, char** argv) { return syncnorm::test::run(argc, argv); }
