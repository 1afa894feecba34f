// Values joined along the channels, their slices, and products against their formulas in f64.
#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/cuda/emulation/cuda_runtime.h"

namespace syncnorm::test {
namespace {

std::size_t to_size(int n) { return static_cast<std::size_t>(n); }

class ChannelsTest : public KernelTest {
 protected:
  void TearDown() override { emulation::set_order(emulation::Order::forward); }
};

TEST_P(ChannelsTest, ConcatJoinsRowsAndSlicesTakeThemApart) {
  constexpr int kSamples = 2, kPixels = 7;
  for (const std::vector<int>& channels :
       {std::vector<int>{8, 16}, {1, 3}, {5, 4, 16, 1, 2}, {4, 4, 4, 4, 4, 4, 4, 4}}) {
    const Concat op{kSamples, kPixels, channels};
    SCOPED_TRACE(op_text(op));
    int total = 0;
    std::vector<Floats> values;
    for (const int count : channels) {
      values.push_back(
          floats(random_normal(to_size(kSamples * kPixels * count), static_cast<unsigned>(total))));
      total += count;
    }
    const Floats none;
    const Floats y = floats(to_size(kSamples * kPixels * total));
    std::vector<Argument> arguments;
    for (std::size_t i = 0; i < Concat::kMost; ++i)
      arguments.push_back(i < values.size() ? Argument(values[i]) : Argument(nullptr));
    arguments.push_back(y);
    run_list(op, arguments, {});
    int first = 0;
    for (std::size_t i = 0; i < channels.size(); ++i) {
      const int count = channels[i];
      for (int row = 0; row < kSamples * kPixels; ++row)
        for (int c = 0; c < count; ++c)
          ASSERT_EQ(y[to_size(row * total + first + c)], values[i][to_size(row * count + c)])
              << "value " << i << ", row " << row << ", channel " << c;
      const Floats slice = floats(values[i].size());
      run(SliceChannels{kSamples, kPixels, total, first, count}, {y, slice});
      EXPECT_TRUE(same_bits(slice.values(), values[i].values()));
      first += count;
    }
  }
}

struct Products {
  std::vector<float> y, da, db;
};

class ProductTest : public ChannelsTest {
 protected:
  Products products(int samples, int pixels, int channels, Factor factor,
                    const std::vector<float>& a, const std::vector<float>& b,
                    const std::vector<float>& dy) {
    const Floats va = floats(a), vb = floats(b), vdy = floats(dy);
    const Floats y = floats(a.size()), da = floats(a.size()), db = floats(b.size());
    run(Multiply{samples, pixels, channels, factor}, {va, vb, y});
    run(MultiplyBackward{samples, pixels, channels, factor}, {vdy, va, vb, da, db});
    return {y.values(), da.values(), db.values()};
  }
};

/// The index of the factor of value i.
std::size_t factor_index(Factor factor, std::size_t i, int pixels, int channels) {
  if (factor == Factor::full) return i;
  if (factor == Factor::per_pixel) return i / to_size(channels);
  return i / to_size(pixels * channels) * to_size(channels) + i % to_size(channels);
}

TEST_P(ProductTest, TheFormulasOnAwkwardShapes) {
  constexpr int kSamples = 3;
  unsigned seed = 1;
  for (const Factor factor : {Factor::full, Factor::per_channel, Factor::per_pixel})
    for (const int channels : {1, 3, 8, 17, 64, 300})
      for (const int pixels : {1, 5, 300}) {
        SCOPED_TRACE(op_text(Multiply{kSamples, pixels, channels, factor}));
        const std::size_t n = to_size(kSamples * pixels * channels);
        const std::size_t factors = factor_index(factor, n - 1, pixels, channels) + 1;
        const auto a = random_normal(n, seed), b = random_normal(factors, seed + 1);
        const auto dy = random_normal(n, seed + 2);
        seed += 3;
        const Products out = products(kSamples, pixels, channels, factor, a, b, dy);
        std::vector<double> y, da, db(factors);
        for (std::size_t i = 0; i < n; ++i) {
          const std::size_t f = factor_index(factor, i, pixels, channels);
          y.push_back(static_cast<double>(a[i]) * b[f]);
          da.push_back(static_cast<double>(dy[i]) * b[f]);
          db[f] += static_cast<double>(dy[i]) * a[i];
        }
        EXPECT_TRUE(near_relative(out.y, y, 1e-7));
        EXPECT_TRUE(near_relative(out.da, da, 1e-7));
        EXPECT_TRUE(near_relative(out.db, db, 1e-6));
      }
}

// A sample has the same bits alone and in a batch: replicas may share a call.
TEST_P(ProductTest, ASampleDoesNotDependOnTheOthers) {
  for (const Factor factor : {Factor::full, Factor::per_channel, Factor::per_pixel}) {
    constexpr int kPixels = 700, kChannels = 24;
    const std::size_t n = to_size(kPixels * kChannels);
    const std::size_t factors = factor_index(factor, n - 1, kPixels, kChannels) + 1;
    const auto a = random_normal(3 * n, 1), b = random_normal(3 * factors, 2);
    const auto dy = random_normal(3 * n, 3);
    const Products all = products(3, kPixels, kChannels, factor, a, b, dy);
    const auto part = [](const std::vector<float>& v, std::size_t width) {
      return std::vector<float>(v.begin() + static_cast<std::ptrdiff_t>(width),
                                v.begin() + static_cast<std::ptrdiff_t>(2 * width));
    };
    const Products second =
        products(1, kPixels, kChannels, factor, part(a, n), part(b, factors), part(dy, n));
    EXPECT_TRUE(same_bits(second.y, part(all.y, n)));
    EXPECT_TRUE(same_bits(second.da, part(all.da, n)));
    EXPECT_TRUE(same_bits(second.db, part(all.db, factors)));
  }
}

TEST_P(ProductTest, AGradientThatIsNotAskedForIsNotWritten) {
  for (const Factor factor : {Factor::full, Factor::per_channel, Factor::per_pixel}) {
    const std::size_t factors = factor_index(factor, 2 * 35 * 24 - 1, 35, 24) + 1;
    const auto a = random_normal(2 * 35 * 24, 1), b = random_normal(factors, 2);
    const auto dy = random_normal(a.size(), 3);
    const Products all = products(2, 35, 24, factor, a, b, dy);
    const Floats va = floats(a), vb = floats(b), vdy = floats(dy);
    const Floats da = floats(a.size()), db = floats(b.size());
    run(MultiplyBackward{2, 35, 24, factor}, {vdy, va, vb, da, nullptr});
    run(MultiplyBackward{2, 35, 24, factor}, {vdy, va, vb, nullptr, db});
    EXPECT_TRUE(same_bits(da.values(), all.da));
    EXPECT_TRUE(same_bits(db.values(), all.db));
  }
}

TEST_P(ProductTest, TheOrderOfThreadsChangesNoBit) {
  if (!emulated()) GTEST_SKIP() << "of the emulated device's threads";
  for (const Factor factor : {Factor::per_channel, Factor::per_pixel}) {
    const std::size_t factors = factor_index(factor, 2 * 700 * 48 - 1, 700, 48) + 1;
    const auto a = random_normal(2 * 700 * 48, 1), b = random_normal(factors, 2);
    const auto dy = random_normal(a.size(), 3);
    const Products before = products(2, 700, 48, factor, a, b, dy);
    emulation::set_order(emulation::Order::backward);
    const Products after = products(2, 700, 48, factor, a, b, dy);
    emulation::set_order(emulation::Order::forward);
    EXPECT_TRUE(same_bits(after.db, before.db));
    EXPECT_TRUE(same_bits(after.da, before.da));
  }
}

SYNCNORM_FOR_ALL_BACK_ENDS(ChannelsTest);
SYNCNORM_FOR_ALL_BACK_ENDS(ProductTest);

}  // namespace
}  // namespace syncnorm::test
