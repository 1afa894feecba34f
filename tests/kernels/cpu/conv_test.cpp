// Convolutions: values and gradients against PyTorch's, and packed weights shared by calls of
// different batch sizes.
#include <gtest/gtest.h>

#include "kernels/ops.h"
#include "kernels/weight_layout.h"
#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/golden.h"

namespace syncnorm::test {
namespace {

constexpr double kTolerance = 1e-5;  // of the largest magnitude; sums of up to 425 products in f32

ConvShape shape_of(const GoldenCase& g) {
  ConvShape shape;
  shape.height = g.integer("height");
  shape.width = g.integer("width");
  shape.channels = g.integer("channels");
  shape.filters = g.integer("filters");
  shape.kernel = g.integer("kernel");
  shape.stride = g.integer("stride");
  shape.padding = g.integer("padding");
  shape.bias = g.integer("bias") != 0;
  shape.pack_samples = g.integer("samples");
  shape.dilation = g.integer("dilation");
  shape.groups = g.integer("groups");
  return shape;
}

class ConvTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (emulated()) GTEST_SKIP() << "convolutions need cuDNN or cuBLASLt, and so a GPU";
  }
  Array<float> pack(const ConvShape& shape, const Floats& weight, bool for_dgrad) {
    const ConvPack op{1, shape, for_dgrad};
    const std::size_t bytes = device_->packed_bytes(op);
    EXPECT_GE(bytes, shape.weights() * sizeof(float));
    Floats packed = floats(bytes / sizeof(float));
    run(op, {weight, packed});
    return packed;
  }

  struct Result {
    std::vector<float> y, dx, dweight, dbias;
  };

  Result compute(int samples, const ConvShape& shape, const std::vector<float>& x,
                 const std::vector<float>& weight, const std::vector<float>& bias,
                 const std::vector<float>& dy) {
    const WeightBlock block{0, shape.filters, shape.filter_channels(), shape.kernel * shape.kernel};
    const bool channels_last = device_->channels_last_weights();
    std::vector<float> weights = weight;
    if (channels_last) to_channels_last({&block, 1}, weights);
    const Floats wx = floats(x), ww = floats(weights), wdy = floats(dy);
    const Floats wb = shape.bias ? floats(bias) : Floats();
    const Floats y = floats(dy.size()), dx = floats(x.size()), dweight = floats(weight.size());
    const Floats dbias = shape.bias ? floats(static_cast<std::size_t>(shape.filters)) : Floats();
    run(ConvForward{samples, shape}, {wx, pack(shape, ww, false), wb, y});
    run(ConvDgrad{samples, shape}, {wdy, pack(shape, ww, true), dx});
    run(ConvWgrad{samples, shape}, {wx, wdy, dweight, dbias});
    std::vector<float> gradient = dweight.values();
    if (channels_last) to_channels_first({&block, 1}, gradient);
    return {y.values(), dx.values(), gradient, dbias.values()};
  }
};

TEST_P(ConvTest, MatchesPyTorch) {
  const auto cases = read_goldens("convolution");
  ASSERT_GE(cases.size(), 15u);
  for (const GoldenCase& g : cases) {
    SCOPED_TRACE(g.name);
    const ConvShape shape = shape_of(g);
    const std::vector<float> none;
    const Result r = compute(g.integer("samples"), shape, g.tensor("x"), g.tensor("weight"),
                             shape.bias ? g.tensor("bias") : none, g.tensor("dy"));
    EXPECT_TRUE(near_relative(r.y, g.tensor("y"), kTolerance));
    EXPECT_TRUE(near_relative(r.dx, g.tensor("dx"), kTolerance));
    EXPECT_TRUE(near_relative(r.dweight, g.tensor("dweight"), kTolerance));
    if (shape.bias) {
      EXPECT_TRUE(near_relative(r.dbias, g.tensor("dbias"), kTolerance));
    }
  }
}

// The convolution that a transposed one mirrors, run the other way: dgrad forward, forward for the
// input's gradient, wgrad with its activations exchanged.
TEST_P(ConvTest, TransposedMatchesPyTorch) {
  const auto cases = read_goldens("conv_transpose");
  ASSERT_GE(cases.size(), 12u);
  for (const GoldenCase& g : cases) {
    SCOPED_TRACE(g.name);
    const int samples = g.integer("samples"), out = g.integer("out");
    const int kernel = g.integer("kernel"), stride = g.integer("stride");
    const int padding = g.integer("padding"), dilation = g.integer("dilation");
    const auto enlarged = [&](int size) {
      return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) +
             g.integer("output_padding") + 1;
    };
    const ConvShape mirrored{enlarged(g.integer("height")),
                             enlarged(g.integer("width")),
                             out,
                             g.integer("channels"),
                             kernel,
                             stride,
                             padding,
                             false,
                             samples,
                             dilation,
                             g.integer("groups")};
    ASSERT_EQ(mirrored.out_height(), g.integer("height"));
    const int pixels = mirrored.height * mirrored.width;
    const bool bias = g.integer("bias") != 0;
    // compute() names the tensors of the mirrored convolution.
    const Result r =
        compute(samples, mirrored, g.tensor("dy"), g.tensor("weight"), {}, g.tensor("x"));
    const Floats y = floats(r.dx), dbias = floats(static_cast<std::size_t>(out));
    if (bias) {
      run(AddBias{samples, pixels, out}, {floats(g.tensor("bias")), y});
      run(BiasGradient{samples, pixels, out}, {floats(g.tensor("dy")), dbias});
      EXPECT_TRUE(near_relative(dbias.values(), g.tensor("dbias"), kTolerance));
    }
    EXPECT_TRUE(near_relative(y.values(), g.tensor("y"), kTolerance));
    EXPECT_TRUE(near_relative(r.y, g.tensor("dx"), kTolerance));
    EXPECT_TRUE(near_relative(r.dweight, g.tensor("dweight"), kTolerance));
  }
}

TEST_P(ConvTest, AnOutputIsOverwrittenNotAddedTo) {
  const ConvShape shape{4, 4, 3, 5, 3, 1, 1, true, 1};
  const auto x = random_normal(48, 1), weight = random_normal(shape.weights(), 2);
  const auto bias = random_normal(5, 3), dy = random_normal(80, 4);
  const Result once = compute(1, shape, x, weight, bias, dy);
  const Floats dweight = floats(shape.weights()), dbias = floats(5);
  const auto kernel = device_->compile(ConvWgrad{1, shape});
  const Floats wx = floats(x), wdy = floats(dy);
  const std::vector<void*> pointers = {wx.pointer(), wdy.pointer(), dweight.pointer(),
                                       dbias.pointer()};
  for (int i = 0; i < 3; ++i) kernel->run(pointers, {});
  device_->synchronize();
  EXPECT_TRUE(same_bits(dweight.values(), once.dweight));
  EXPECT_TRUE(same_bits(dbias.values(), once.dbias));
}

// A call of fewer samples reads the weights that were packed for a full batch, and computes for
// each of its samples what the full batch computes.
TEST_P(ConvTest, AFullBatchsPackedWeightsServeASmallerOne) {
  const std::vector<ConvShape> shapes = {{6, 5, 3, 17, 3, 1, 1, true, 4},
                                         {8, 8, 16, 32, 3, 2, 1, false, 4},
                                         {7, 7, 5, 3, 1, 1, 0, true, 4},
                                         {9, 9, 1, 6, 5, 1, 2, true, 4}};
  for (const ConvShape& shape : shapes) {
    SCOPED_TRACE(op_text(ConvForward{4, shape}));
    const std::size_t in = static_cast<std::size_t>(shape.height * shape.width * shape.channels);
    const std::size_t out =
        static_cast<std::size_t>(shape.out_height() * shape.out_width() * shape.filters);
    const auto x = random_normal(4 * in, 5), dy = random_normal(4 * out, 6);
    const auto weight = random_normal(shape.weights(), 7);
    const auto bias = random_normal(static_cast<std::size_t>(shape.filters), 8);
    const Result full = compute(4, shape, x, weight, bias, dy);
    std::vector<float> dweight(weight.size());
    for (std::size_t first = 0, n = 0; first < 4; first += n) {
      n = first == 0 ? 1 : 3;
      const auto part = [&](const std::vector<float>& v, std::size_t width) {
        return std::vector<float>(v.begin() + static_cast<std::ptrdiff_t>(first * width),
                                  v.begin() + static_cast<std::ptrdiff_t>((first + n) * width));
      };
      const Op forward = with_samples(Op(ConvForward{4, shape}), static_cast<int>(n));
      EXPECT_EQ(op_text(forward), op_text(ConvForward{static_cast<int>(n), shape}));
      const Result some =
          compute(static_cast<int>(n), shape, part(x, in), weight, bias, part(dy, out));
      EXPECT_TRUE(near_relative(some.y, part(full.y, out), 1e-6));
      EXPECT_TRUE(near_relative(some.dx, part(full.dx, in), 1e-6));
      for (std::size_t i = 0; i < dweight.size(); ++i) dweight[i] += some.dweight[i];
    }
    EXPECT_TRUE(near_relative(dweight, full.dweight, kTolerance));
  }
}

// The layout depends on pack_samples, the numbers do not.
TEST_P(ConvTest, PackSamplesChangesNoValue) {
  ConvShape one{6, 6, 16, 16, 3, 1, 1, false, 1}, four = one;
  four.pack_samples = 4;
  const auto x = random_normal(4 * 576, 9), dy = random_normal(4 * 576, 10);
  const auto weight = random_normal(one.weights(), 11);
  const Result a = compute(4, one, x, weight, {}, dy), b = compute(4, four, x, weight, {}, dy);
  EXPECT_TRUE(near_relative(a.y, b.y, 1e-6));
  EXPECT_TRUE(near_relative(a.dx, b.dx, 1e-6));
  EXPECT_TRUE(near_relative(a.dweight, b.dweight, 1e-6));
}

SYNCNORM_FOR_ALL_BACK_ENDS(ConvTest);

}  // namespace
}  // namespace syncnorm::test
