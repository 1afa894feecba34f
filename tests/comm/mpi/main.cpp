// Runs the tests of this folder on every rank of an mpirun: all ranks run the same tests in the
// same order, rank 0 prints, the others print what fails, and the exit code is the worst of all
// ranks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "tests/comm/mpi/world.h"

namespace syncnorm::test {
namespace {

std::unique_ptr<Communicator> world_of_all_ranks;

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
  world_of_all_ranks = make_mpi_communicator();
  world().set_deadline(60.0);  // a test that hangs fails instead
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
  return worst;
}

}  // namespace

Communicator& world() { return *world_of_all_ranks; }

}  // namespace syncnorm::test

/// Open MPI keeps memory of components that it has unloaded by the end, so a leak sanitizer could
/// not even say whose it is.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

int main(int argc, char** argv) { return syncnorm::test::run(argc, argv); }
