// Our own kernels around cuDNN's and cuBLASLt's: conversions of weights and gradients, and biases.
#include "kernels/bfloat16.h"
#include "kernels/cuda/bias.h"
#include "kernels/cuda/convert.h"
#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

class AroundLibrariesTest : public testing::Test {
 protected:
  std::unique_ptr<Device> device_ = cuda::make_device(0);
  cuda::Context context_;
};

TEST_F(AroundLibrariesTest, WeightsAreNarrowedAndTheirGradientsWidened) {
  for (const std::size_t count : {1u, 3u, 1000u, 4097u})
    for (const std::size_t first : {0u, 1u}) {  // aligned, and not
      const std::vector<float> values = random_normal(count + first, 1);
      const Floats wide(*device_, values), back(*device_, count + first);
      const Array<BFloat16> narrow(*device_, std::vector<BFloat16>(count + first));
      cuda::convert(context_, Storage::f32, Storage::bf16, wide.data() + first,
                    narrow.data() + first, count);
      cuda::convert(context_, Storage::bf16, Storage::f32, narrow.data() + first,
                    back.data() + first, count);
      for (std::size_t i = first; i < values.size(); ++i) {
        ASSERT_EQ(narrow[i], to_bfloat16(values[i]));
        ASSERT_EQ(back[i], to_float(to_bfloat16(values[i])));
      }
      EXPECT_TRUE(narrow.guard_intact() && back.guard_intact());
    }
}

TEST_F(AroundLibrariesTest, BiasesAreAddedToRowsAndTheirGradientsAreColumnSums) {
  for (const int channels : {1, 7, 32, 130})
    for (const std::size_t rows : {1u, 9u, 2000u}) {
      const std::size_t count = rows * static_cast<std::size_t>(channels);
      const std::vector<float> values = random_normal(count, 2);
      const std::vector<float> bias_values = random_normal(static_cast<std::size_t>(channels), 3);
      const Floats y(*device_, values), bias(*device_, bias_values);
      const Floats dbias(*device_, static_cast<std::size_t>(channels));
      const Doubles scratch(*device_, cuda::bias_scratch_bytes(rows, channels) / sizeof(double));
      cuda::bias_gradient(context_, Storage::f32, rows, channels, y.pointer(), scratch.data(),
                          dbias.data());
      cuda::add_bias(context_, Storage::f32, rows, channels, bias.data(), y.pointer());
      std::vector<double> sums(static_cast<std::size_t>(channels));
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t c = i % static_cast<std::size_t>(channels);
        ASSERT_EQ(y[i], values[i] + bias_values[c]);
        sums[c] += values[i];
      }
      EXPECT_TRUE(near_relative(dbias.values(), sums, 1e-6, 1.0));
      EXPECT_TRUE(y.guard_intact() && dbias.guard_intact() && scratch.guard_intact());
    }
}

}  // namespace
}  // namespace syncnorm::test
