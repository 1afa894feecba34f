// Our own kernels around cuDNN's and cuBLASLt's: weights into their layout and back, and biases.
#include "kernels/cuda/layout.h"
#include "kernels/bfloat16.h"
#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

class LayoutTest : public testing::Test {
 protected:
  std::unique_ptr<Device> device_ = cuda::make_device(0);
  cuda::Context context_;
};

TEST_F(LayoutTest, WeightsArePackedChannelsLastAndTheirGradientsBack) {
  for (const int kernel : {1, 3, 7})
    for (const int channels : {1, 3, 33, 64}) {
      ConvShape s;
      s.filters = 5;
      s.channels = channels;
      s.kernel = kernel;
      const std::vector<float> values = random_normal(s.weights(), 1);
      const Floats weight(*device_, values), packed(*device_, s.weights());
      const Floats back(*device_, s.weights()), from_bf16(*device_, s.weights());
      const Array<BFloat16> narrow(*device_, std::vector<BFloat16>(s.weights()));
      cuda::pack_weights(context_, s, Storage::f32, weight.data(), packed.pointer());
      cuda::pack_weights(context_, s, Storage::bf16, weight.data(), narrow.pointer());
      const int window = kernel * kernel;
      for (int f = 0; f < s.filters; ++f)
        for (int c = 0; c < channels; ++c)
          for (int k = 0; k < window; ++k) {
            const float value = values[static_cast<std::size_t>((f * channels + c) * window + k)];
            const auto at = static_cast<std::size_t>((f * window + k) * channels + c);
            ASSERT_EQ(packed[at], value);
            ASSERT_EQ(narrow[at], to_bfloat16(value));
          }
      cuda::unpack_weight_gradient(context_, s, Storage::f32, packed.pointer(), back.data());
      EXPECT_EQ(back.values(), values);
      cuda::unpack_weight_gradient(context_, s, Storage::bf16, narrow.pointer(), from_bf16.data());
      for (std::size_t i = 0; i < values.size(); ++i)
        ASSERT_EQ(from_bf16[i], to_float(to_bfloat16(values[i])));
      EXPECT_TRUE(packed.guard_intact() && narrow.guard_intact() && back.guard_intact());
      EXPECT_EQ(device_->packed_bytes(ConvPack{1, s, false, Storage::bf16}), 2 * s.weights());
    }
}

TEST_F(LayoutTest, BiasesAreAddedToRowsAndTheirGradientsAreColumnSums) {
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
