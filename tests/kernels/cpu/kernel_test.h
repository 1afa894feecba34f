// What the tests of kernels share: one fixture that runs every test for every back end, device
// arrays with a guard behind their last value, random inputs, and comparisons.
//
// The back ends are the CPU's instruction sets, the CUDA kernels run on the CPU
// (tests/kernels/cuda/emulation), which have no convolutions and no linear layers, and where
// SYNCNORM_TEST_GPU is set, the GPU. Arrays are memory that host and device both may touch.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/device.h"
#include "kernels/device.h"

namespace syncnorm::test {

/// Device memory of exactly the given values, and 64 guard bytes behind them.
template <class T>
class Array {
 public:
  Array() = default;  // a null argument
  Array(Device& device, const std::vector<T>& values)
      : count_(values.size()), buffer_(device.allocate_pinned(count_ * sizeof(T) + kGuard)) {
    if (count_ > 0) std::memcpy(buffer_.data(), values.data(), count_ * sizeof(T));
    std::memset(buffer_.data() + count_ * sizeof(T), 0xA5, kGuard);
  }
  /// Filled with a value that no result should keep.
  Array(Device& device, std::size_t count)
      : Array(device, std::vector<T>(count, static_cast<T>(-77))) {}

  void* pointer() const { return buffer_.data(); }
  std::size_t size() const { return count_; }
  T* data() const { return reinterpret_cast<T*>(buffer_.data()); }
  T& operator[](std::size_t i) const { return data()[i]; }
  std::vector<T> values() const { return {data(), data() + count_}; }
  bool guard_intact() const {
    const std::byte* guard = buffer_.data() + count_ * sizeof(T);
    return buffer_.data() == nullptr ||
           std::all_of(guard, guard + kGuard, [](std::byte b) { return b == std::byte{0xA5}; });
  }

 private:
  static constexpr std::size_t kGuard = 64;
  std::size_t count_ = 0;
  Buffer buffer_;
};

using Floats = Array<float>;
using Doubles = Array<double>;

/// An operand of a kernel: an array or null, with its guard.
class Argument {
 public:
  Argument(std::nullptr_t) {}
  template <class T>
  Argument(const Array<T>& array)
      : pointer_(array.pointer()), intact_([&array] { return array.guard_intact(); }) {}
  void* pointer() const { return pointer_; }
  bool guard_intact() const { return !intact_ || intact_(); }

 private:
  void* pointer_ = nullptr;
  std::function<bool()> intact_;
};

/// How a test gives operands: PointersOf in arrays. None has a default, so none is forgotten.
struct Arguments {
  template <Access, bool, class>
  using Type = Argument;
};

inline const char* const kInstructionSets[] = {"baseline", "avx2", "avx512"};
inline const std::string kEmulatedCuda = "cuda_emulated", kGpu = "cuda";

inline std::vector<const char*> back_ends() {
  std::vector<const char*> names(std::begin(kInstructionSets), std::end(kInstructionSets));
  names.push_back(kEmulatedCuda.c_str());
  if (std::getenv("SYNCNORM_TEST_GPU") != nullptr) names.push_back(kGpu.c_str());
  return names;
}

/// Runs each test once per back end; an instruction set that this processor lacks is skipped with
/// its reason.
class KernelTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (emulated())
      device_ = syncnorm::cuda::make_device(0);
    else if (cuda())
      device_ = make_cuda_device(0);
    else
      make_cpu();
  }

  static bool emulated() { return GetParam() == kEmulatedCuda; }
  static bool cuda() { return emulated() || GetParam() == kGpu; }

  /// Compiles `op` and runs it once; nothing may be written behind the arrays.
  template <class O>
  void run(const O& op, const typename O::template Operands<Arguments>& operands,
           const StepState& state = {}) {
    static_assert(sizeof operands == kArity<O> * sizeof(Argument));
    run_list(op, {reinterpret_cast<const Argument*>(&operands), kArity<O>}, state);
  }
  /// The same for an operation whose kind is only known at run time.
  template <std::same_as<Op> AnyOp>
  void run(const AnyOp& op, std::initializer_list<Argument> arguments,
           const StepState& state = {}) {
    ASSERT_EQ(arguments.size(), operands(op).size()) << op_text(op);
    run_list(op, {arguments.begin(), arguments.size()}, state);
  }
  void run_list(const Op& op, std::span<const Argument> arguments, const StepState& state) {
    std::vector<void*> pointers;
    for (const Argument& argument : arguments) pointers.push_back(argument.pointer());
    device_->compile(op)->run(pointers, state);
    device_->synchronize();
    for (const Argument& argument : arguments)
      EXPECT_TRUE(argument.guard_intact()) << op_text(op) << " wrote behind an argument";
  }

  Floats floats(const std::vector<float>& values) { return {*device_, values}; }
  Floats floats(std::initializer_list<float> values) { return {*device_, std::vector(values)}; }
  Floats floats(std::size_t count) { return {*device_, count}; }
  Doubles doubles(std::size_t count) { return {*device_, count}; }

  std::unique_ptr<Device> device_;

 private:
  void make_cpu() {
    try {
      device_ = make_cpu_device(GetParam());
    } catch (const InputError& error) {
      GTEST_SKIP() << error.what();
    }
  }
};

inline std::string instruction_set_name(const testing::TestParamInfo<const char*>& info) {
  return info.param;
}

inline std::vector<float> random_normal(std::size_t count, unsigned seed, float mean = 0.0f,
                                        float deviation = 1.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(engine);
  return values;
}

/// Every value within `tolerance` times the largest magnitude of `expected` (at least `floor`).
template <class A, class B>
testing::AssertionResult near_relative(const A& actual, const B& expected, double tolerance,
                                       double floor = 1e-30) {
  if (actual.size() != expected.size())
    return testing::AssertionFailure() << actual.size() << " values for " << expected.size();
  double scale = floor;
  for (std::size_t i = 0; i < expected.size(); ++i)
    scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double a = static_cast<double>(actual[i]), e = static_cast<double>(expected[i]);
    if (!(std::abs(a - e) <= tolerance * scale))
      return testing::AssertionFailure()
             << "value " << i << " is " << a << ", expected " << e << ": error "
             << std::abs(a - e) / scale << " of the largest magnitude " << scale;
  }
  return testing::AssertionSuccess();
}

/// Same bits in every value.
template <class A, class B>
testing::AssertionResult same_bits(const A& actual, const B& expected) {
  if (actual.size() != expected.size())
    return testing::AssertionFailure() << actual.size() << " values for " << expected.size();
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (std::memcmp(&actual[i], &expected[i], sizeof(expected[i])) != 0)
      return testing::AssertionFailure()
             << "value " << i << " is " << testing::PrintToString(actual[i]) << ", expected "
             << testing::PrintToString(expected[i]);
  return testing::AssertionSuccess();
}

}  // namespace syncnorm::test

/// Instantiates `suite` for every instruction set of the CPU.
#define SYNCNORM_FOR_ALL_INSTRUCTION_SETS(suite)                                            \
  INSTANTIATE_TEST_SUITE_P(Isa, suite, testing::ValuesIn(syncnorm::test::kInstructionSets), \
                           syncnorm::test::instruction_set_name)

/// Instantiates `suite` for every back end.
#define SYNCNORM_FOR_ALL_BACK_ENDS(suite)                                                  \
  INSTANTIATE_TEST_SUITE_P(BackEnd, suite, testing::ValuesIn(syncnorm::test::back_ends()), \
                           syncnorm::test::instruction_set_name)
