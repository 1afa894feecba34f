// A step allocates nothing of ours after warm-up: every operator new of this process is counted
// while steps run, but for those that oneDNN makes inside its own calls.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "engine/train/optimizer.h"
#include "tests/engine/program/program_fixture.h"

namespace {

// Replaced operators can reach nothing but globals.
bool counting = false;
long allocations = 0;

void* allocate_and_count(std::size_t bytes, const void* caller) {
  if (counting) {
    Dl_info info;
    const bool library = dladdr(caller, &info) != 0 && info.dli_fname != nullptr &&
                         std::strstr(info.dli_fname, "libdnnl") != nullptr;
    if (!library) ++allocations;
  }
  if (void* p = std::malloc(bytes == 0 ? 1 : bytes)) return p;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) {
  return allocate_and_count(bytes, __builtin_return_address(0));
}
void* operator new[](std::size_t bytes) {
  return allocate_and_count(bytes, __builtin_return_address(0));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }

namespace syncnorm::test {
namespace {

class StepAllocations : public ::testing::TestWithParam<std::string> {};

TEST_P(StepAllocations, NoneAfterWarmUp) {
  Workbench bench("replicas: 4\nbatch_per_replica: 2\nsteps: 1\noptimizer: {clip_norm: 1.0}\n" +
                  GetParam());
  Optimizer optimizer(bench.graph, bench.executor->program(), bench.loaded.experiment.optimizer,
                      *bench.device);
  bench.run();
  optimizer.update(bench.memory, bench.state);
  allocations = 0;
  counting = true;
  for (int i = 0; i < 5; ++i) {
    bench.run();
    optimizer.update(bench.memory, bench.state);
  }
  counting = false;
  EXPECT_EQ(allocations, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Models, StepAllocations,
    ::testing::Values("norm: syncbn\nmodel: {architecture: resnet8}\n",
                      "norm: {kind: batch, synced_replicas: 2}\nmodel: {architecture: resnet8}\n",
                      "norm: bn\nmodel: {architecture: resnet8}\nreduction: fastest\n",
                      "norm: gn\nmodel: {architecture: resnet8}\n",
                      "norm: ln\nmodel: {architecture: mlp, dropout: 0.5, activation: tanh}\n"));

TEST(StepAllocations, TheCounterCounts) {
  allocations = 0;
  counting = true;
  auto* kept = new std::vector<int>(100);
  counting = false;
  delete kept;
  EXPECT_GE(allocations, 2);
}

}  // namespace
}  // namespace syncnorm::test
