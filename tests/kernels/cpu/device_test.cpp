// The CPU device itself: the choice of the instruction set, memory, and kernels that share scratch.
#include <algorithm>
#include <cstdlib>

#include "kernels/cpu/loops.h"
#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

std::string refusal(const std::string& isa) {
  try {
    make_cpu_device(isa);
  } catch (const InputError& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::bad_input);
    return error.what();
  }
  return "";
}

TEST(SelectLoops, AnUnknownNameIsRefusedWithTheKnownOnes) {
  for (const char* name : {"sse9", "AVX2", "avx-512", " avx2", "neon"})
    EXPECT_EQ(refusal(name),
              "unknown instruction set '" + std::string(name) + "'; use baseline, avx2 or avx512");
}

TEST(SelectLoops, ASetThatTheProcessorLacksIsRefused) {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw");
  EXPECT_EQ(refusal("baseline"), "");
  const auto lacks = [](const std::string& name) {
    return "this processor lacks the instruction set '" + name + "'";
  };
  EXPECT_EQ(refusal("avx2"), avx2 ? "" : lacks("avx2"));
  EXPECT_EQ(refusal("avx512"), avx512 ? "" : lacks("avx512"));
  const char* held = std::getenv("SYNCNORM_ISA");
  if (held == nullptr || *held == '\0') held = avx512 ? "avx512" : avx2 ? "avx2" : "baseline";
  EXPECT_STREQ(cpu::select_loops("").name, held);
}

TEST(SelectLoops, TheEnvironmentHoldsThemToASet) {
  const char* before = std::getenv("SYNCNORM_ISA");
  const std::string kept = before == nullptr ? "" : before;
  setenv("SYNCNORM_ISA", "baseline", 1);
  EXPECT_STREQ(cpu::select_loops("").name, "baseline");
  setenv("SYNCNORM_ISA", "sse9", 1);
  EXPECT_EQ(refusal(""), "unknown instruction set 'sse9'; use baseline, avx2 or avx512");
  setenv("SYNCNORM_ISA", kept.c_str(), 1);  // empty: as if it were not set
}

TEST(SelectLoops, EachTableIsNamedAfterItsSet) {
  EXPECT_STREQ(cpu::loops_baseline.name, "baseline");
  EXPECT_STREQ(cpu::loops_avx2.name, "avx2");
  EXPECT_STREQ(cpu::loops_avx512.name, "avx512");
}

// Without the back end, and with it where there is no GPU of this index.
TEST(CudaDevice, IsRefusedWhereThereIsNone) { EXPECT_THROW(make_cuda_device(4096), InputError); }

class DeviceTest : public KernelTest {};

TEST_P(DeviceTest, DescribesWhatTheBitsDependOn) {
  EXPECT_NE(device_->description().find(std::string("cpu ") + GetParam()), std::string::npos);
  EXPECT_NE(device_->description().find("oneDNN"), std::string::npos);
}

TEST_P(DeviceTest, MemoryIsAlignedAndZeroed) {
  for (const std::size_t bytes : {1u, 63u, 64u, 65u, 100000u}) {
    const Buffer buffer = device_->allocate(bytes);
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0u);
    EXPECT_EQ(std::count(buffer.data(), buffer.data() + bytes, std::byte{0}),
              static_cast<std::ptrdiff_t>(bytes));
  }
  EXPECT_EQ(device_->allocate(0).bytes(), 0u);
}

TEST_P(DeviceTest, ABufferMoves) {
  Buffer a = device_->allocate(64);
  std::byte* const data = a.data();
  Buffer b(std::move(a));
  EXPECT_EQ(b.data(), data);
  Buffer c = device_->allocate(32);
  c = std::move(b);
  EXPECT_EQ(c.data(), data);
  EXPECT_EQ(c.bytes(), 64u);
  EXPECT_EQ(c.as<double>().size(), 8u);
}

// Scratch grows when a later kernel asks for more; earlier kernels must follow it.
TEST_P(DeviceTest, AKernelOutlivesTheGrowthOfScratch) {
  const ConvShape small{4, 4, 3, 5, 3, 1, 1, false, 1}, large{32, 32, 32, 64, 3, 1, 1, false, 4};
  const Floats x = floats(random_normal(48, 1)), dy = floats(random_normal(80, 2));
  const Floats dweight = floats(small.weights());
  const auto kernel = device_->compile(ConvWgrad{1, small});
  const std::vector<void*> pointers = {x.pointer(), dy.pointer(), dweight.pointer(), nullptr};
  kernel->run(pointers, {});
  const auto before = dweight.values();
  const auto other = device_->compile(ConvWgrad{4, large});
  kernel->run(pointers, {});
  EXPECT_TRUE(same_bits(dweight.values(), before));
}

SYNCNORM_FOR_ALL_INSTRUCTION_SETS(DeviceTest);

/// What a step needs of any device beside its kernels.
class QueueTest : public KernelTest {};

TEST_P(QueueTest, CopiesAndZeroesAreDoneWhenAnEventIs) {
  const Buffer host = device_->allocate_pinned(1000), back = device_->allocate_pinned(1000);
  const Buffer memory = device_->allocate(1000);
  for (std::size_t i = 0; i < 1000; ++i) host.data()[i] = static_cast<std::byte>(i % 251);
  const auto event = device_->make_event();
  device_->copy(memory.data(), host.data(), 1000);
  device_->zero(memory.data() + 100, 50);
  device_->copy(back.data(), memory.data(), 1000);
  device_->record(*event);
  device_->wait(*event);
  EXPECT_TRUE(device_->done(*event));
  for (std::size_t i = 0; i < 1000; ++i)
    EXPECT_EQ(back.data()[i], i >= 100 && i < 150 ? std::byte{0} : host.data()[i]) << i;
  device_->copy(nullptr, nullptr, 0);
  device_->zero(nullptr, 0);
  device_->synchronize();
}

TEST_P(QueueTest, AKernelRunsOnWhatWasCopiedBeforeIt) {
  const Buffer a = device_->allocate(64), sum = device_->allocate_pinned(64);
  const std::vector<float> ones(16, 1.5f);
  device_->copy(a.data(), ones.data(), 64);
  const std::vector<void*> pointers = {a.data(), a.data(), sum.data()};
  device_->compile(Add{1, 16})->run(pointers, {});
  device_->synchronize();
  for (const float value : sum.as<float>()) EXPECT_EQ(value, 3.0f);
}

SYNCNORM_FOR_ALL_BACK_ENDS(QueueTest);

}  // namespace
}  // namespace syncnorm::test
