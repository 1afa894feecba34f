// Operations on bf16 activations. Their arithmetic is the f32 kernels' own, so against those, on
// the same (rounded) values, every activation must be the f32 one rounded once, and every sum,
// statistic and weight gradient must have the same bits. The CUDA kernels take twice as many values
// per access in bf16, so their sums are in another order and equal to rounding.
#include <string>

#include "kernels/bfloat16.h"
#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

enum class Role { absent, read, written };
enum class Element { activation, f32, f64, id, bytes };

/// An argument: what is read is random (or ids from 0), what is written is compared.
struct Slot {
  Role role = Role::absent;
  Element element = Element::activation;
  std::size_t count = 0;
  float mean = 0.0f;
};

Slot read(std::size_t count, Element element = Element::activation, float mean = 0.0f) {
  return {Role::read, element, count, mean};
}
Slot written(std::size_t count, Element element = Element::activation) {
  return {Role::written, element, count};
}
const Slot kAbsent{};

std::vector<BFloat16> rounded(const std::vector<float>& values) {
  std::vector<BFloat16> out;
  for (const float v : values) out.push_back(to_bfloat16(v));
  return out;
}

template <class T>
std::vector<T> widened(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

class BFloat16Test : public KernelTest {
 protected:
  /// Runs `op` in both storages and compares everything written.
  void expect_rounded_f32(Op op, const std::vector<Slot>& slots) {
    SCOPED_TRACE(op_text(op));
    std::vector<Floats> activations;
    std::vector<Array<BFloat16>> narrow;
    std::vector<Floats> floats[2];
    std::vector<Doubles> doubles[2];
    std::vector<Array<std::uint8_t>> bytes[2];
    std::vector<Array<std::uint32_t>> ids;
    std::vector<void*> pointers[2];
    for (std::size_t s = 0; s < slots.size(); ++s) {
      const Slot& slot = slots[s];
      const std::vector<float> values =
          slot.role == Role::read
              ? random_normal(slot.count, 100 + static_cast<unsigned>(s), slot.mean)
              : std::vector<float>(slot.count, -77.0f);
      if (slot.role == Role::absent) {
        for (auto& list : pointers) list.push_back(nullptr);
      } else if (slot.element == Element::activation) {
        narrow.emplace_back(*device_, rounded(values));
        std::vector<float> same;
        for (const BFloat16 v : narrow.back().values()) same.push_back(to_float(v));
        activations.emplace_back(*device_, same);
        pointers[0].push_back(activations.back().pointer());
        pointers[1].push_back(narrow.back().pointer());
      } else if (slot.element == Element::id) {
        std::vector<std::uint32_t> numbers;
        for (std::uint32_t i = 0; i < slot.count; ++i) numbers.push_back(i);
        ids.emplace_back(*device_, numbers);
        for (auto& list : pointers) list.push_back(ids.back().pointer());
      } else {
        for (int p = 0; p < 2; ++p) {
          if (slot.element == Element::f32) floats[p].emplace_back(*device_, values);
          if (slot.element == Element::f64)
            doubles[p].emplace_back(*device_, widened<double>(values));
          if (slot.element == Element::bytes)
            bytes[p].emplace_back(*device_, std::vector<std::uint8_t>(slot.count, 0));
          pointers[p].push_back(slot.element == Element::f32   ? floats[p].back().pointer()
                                : slot.element == Element::f64 ? doubles[p].back().pointer()
                                                               : bytes[p].back().pointer());
        }
      }
    }
    device_->compile(op)->run(pointers[0], {});
    device_->synchronize();
    std::visit(
        [](auto& o) {
          if constexpr (requires { o.storage; }) o.storage = Storage::bf16;
        },
        op);
    ASSERT_EQ(storage_of(op), Storage::bf16);
    device_->compile(op)->run(pointers[1], {});
    device_->synchronize();
    const bool statistics_inside = std::holds_alternative<GroupNormForward>(op) ||
                                   std::holds_alternative<GroupNormBackward>(op) ||
                                   std::holds_alternative<MultiplyBackward>(op);
    for (std::size_t a = 0; a < activations.size(); ++a) {
      if (cuda() && statistics_inside)
        EXPECT_TRUE(near_bits(narrow[a].values(), rounded(activations[a].values())));
      else
        EXPECT_TRUE(same_bits(narrow[a].values(), rounded(activations[a].values())));
      EXPECT_TRUE(narrow[a].guard_intact());
    }
    for (std::size_t i = 0; i < floats[0].size(); ++i)
      expect_same_sums(floats[1][i].values(), floats[0][i].values());
    for (std::size_t i = 0; i < doubles[0].size(); ++i)
      expect_same_sums(doubles[1][i].values(), doubles[0][i].values());
  }

  template <class T>
  static void expect_same_sums(const std::vector<T>& actual, const std::vector<T>& expected) {
    if (cuda())
      EXPECT_TRUE(near_relative(actual, expected, 1e-6));
    else
      EXPECT_TRUE(same_bits(actual, expected));
  }

  /// Equal but for the last bit, which a statistic's last bit may turn.
  static testing::AssertionResult near_bits(const std::vector<BFloat16>& actual,
                                            const std::vector<BFloat16>& expected) {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const int distance = static_cast<int>(actual[i]) - static_cast<int>(expected[i]);
      const float a = to_float(actual[i]), e = to_float(expected[i]);
      if (std::abs(distance) > 1 && std::abs(a - e) > 1e-6f)
        return testing::AssertionFailure() << "value " << i << " is " << a << ", expected " << e;
    }
    return testing::AssertionSuccess();
  }

  static Slot vector(std::size_t channels, float mean = 1.0f) {
    return read(channels, Element::f32, mean);
  }
};

constexpr int kSamples = 3, kPixels = 11;

TEST_P(BFloat16Test, BatchNorm) {
  for (const int channels : {1, 5, 16, 32, 33, 64, 130}) {
    const auto c = static_cast<std::size_t>(channels);
    const std::size_t n = kSamples * kPixels * c;
    const Slot sums = written(1 + 2 * c, Element::f64), pair = written(2 * c, Element::f64);
    expect_rounded_f32(BatchMoments{kSamples, kPixels, channels}, {read(n), sums});
    for (const bool relu : {false, true})
      for (const Slot& other : {kAbsent, read(n)}) {
        expect_rounded_f32(BatchNormalize{kSamples, kPixels, channels, relu},
                           {read(n), vector(2 * c), vector(c), vector(c), vector(c, 0.0f), other,
                            kAbsent, written(n)});
        for (const Slot& y : {kAbsent, read(n)})
          expect_rounded_f32(
              BatchGradientSums{kSamples, kPixels, channels, relu},
              {read(n), other, read(n), vector(2 * c), vector(c), vector(c), vector(c), y, kAbsent,
               pair, written(c, Element::f32), written(c, Element::f32), kAbsent});
      }
    for (const bool frozen : {false, true})
      expect_rounded_f32(
          BatchInputGradient{kSamples, kPixels, channels, true, Deviation::l2, 1.0, frozen},
          {read(n), read(n), vector(2 * c), vector(c), vector(c), vector(c),
           read(2 * c, Element::f64), read(1 + 2 * c, Element::f64, 5.0f), kAbsent, kAbsent,
           kAbsent, written(n)});
    for (const DeviationPart part :
         {DeviationPart::absolute, DeviationPart::largest, DeviationPart::maxima})
      expect_rounded_f32(
          BatchDeviation{kSamples, kPixels, channels, part},
          {read(n), vector(2 * c), part == DeviationPart::maxima ? read(c, Element::f64) : kAbsent,
           part == DeviationPart::largest ? written(c, Element::f64) : pair});
  }
}

// A gradient that is kept is rounded before it enters the sums, which so belong to what the input
// gradient reads.
TEST_P(BFloat16Test, SumsAreOfTheGradientThatIsKept) {
  const int channels = 24;
  const std::size_t c = 24, n = kSamples * kPixels * c;
  const Array<BFloat16> dy(*device_, rounded(random_normal(n, 1)));
  const Array<BFloat16> dy2(*device_, rounded(random_normal(n, 2)));
  const Array<BFloat16> x(*device_, rounded(random_normal(n, 3)));
  const Array<BFloat16> g(*device_, std::vector<BFloat16>(n));
  const Floats mean = floats(random_normal(2 * c, 4)), inv_std = floats(random_normal(c, 5, 2.0f));
  const Doubles sums = doubles(2 * c), expected = doubles(2 * c);
  BatchGradientSums op{kSamples, kPixels, channels, true, Storage::bf16};
  run(op,
      {dy, dy2, x, mean, inv_std, nullptr, nullptr, nullptr, nullptr, sums, nullptr, nullptr, g});
  op.relu = false;
  run(op, {g, nullptr, x, mean, inv_std, nullptr, nullptr, nullptr, nullptr, expected, nullptr,
           nullptr, nullptr});
  EXPECT_TRUE(same_bits(sums.values(), expected.values()));
  for (std::size_t i = 0; i < n; ++i) {
    const float sum = to_float(dy[i]) + to_float(dy2[i]);
    EXPECT_TRUE(g[i] == to_bfloat16(sum) || to_float(g[i]) == 0.0f);
  }
}

TEST_P(BFloat16Test, GroupNorm) {
  for (const int channels : {8, 32, 40})
    for (const int groups : {1, 4, channels})
      for (const bool relu : {false, true}) {
        const auto c = static_cast<std::size_t>(channels);
        const std::size_t n = kSamples * kPixels * c, per_sample = kSamples * c;
        expect_rounded_f32(
            GroupNormForward{kSamples, kPixels, channels, groups, 1e-5, relu, true},
            {read(n), vector(c), vector(c, 0.0f), read(n), written(n),
             written(2 * per_sample, Element::f32), written(per_sample, Element::f32)});
        expect_rounded_f32(GroupNormBackward{kSamples, kPixels, channels, groups, relu, true},
                           {read(n), kAbsent, read(n), vector(2 * per_sample), vector(per_sample),
                            vector(c), vector(c), kAbsent, written(n), written(c, Element::f32),
                            written(c, Element::f32), kAbsent});
      }
}

TEST_P(BFloat16Test, ChannelNorm) {
  for (const int channels : {2, 8, 33, 40})
    for (const bool relu : {false, true}) {
      const auto c = static_cast<std::size_t>(channels);
      const std::size_t n = kSamples * kPixels * c;
      const Slot sums = written(c, Element::f32);
      for (const Slot& other : {kAbsent, read(n)}) {
        expect_rounded_f32(ChannelNormForward{kSamples, kPixels, channels, 1e-5, relu},
                           {read(n), vector(c), vector(c, 0.0f), other, written(n)});
        for (const Slot& y : {kAbsent, read(n)})
          expect_rounded_f32(ChannelNormBackward{kSamples, kPixels, channels, 1e-5, relu},
                             {read(n), other, read(n), vector(c), vector(c, 0.0f), y, written(n),
                              sums, sums, kAbsent});
      }
    }
}

TEST_P(BFloat16Test, BiasOfTransposedConvolutions) {
  for (const int channels : {1, 5, 16, 40}) {
    const auto c = static_cast<std::size_t>(channels);
    const std::size_t n = kSamples * kPixels * c;
    expect_rounded_f32(AddBias{kSamples, kPixels, channels}, {vector(c), read(n)});
    expect_rounded_f32(BiasGradient{kSamples, kPixels, channels},
                       {read(n), written(c, Element::f32)});
  }
}

TEST_P(BFloat16Test, Resampling) {
  for (const int channels : {1, 5, 16, 40})
    for (const bool bilinear : {false, true}) {
      const UpsampleShape shape{
          bilinear ? UpsampleMode::bilinear : UpsampleMode::nearest, false, 3, 4, channels, 7, 6};
      const auto c = static_cast<std::size_t>(channels);
      const Slot small = read(kSamples * 12 * c), large = read(kSamples * 42 * c);
      expect_rounded_f32(UpsampleForward{kSamples, shape}, {small, written(large.count)});
      expect_rounded_f32(UpsampleBackward{kSamples, shape}, {large, written(small.count)});
    }
}

TEST_P(BFloat16Test, ChannelsAndProducts) {
  for (const int channels : {3, 8, 40}) {
    const auto c = static_cast<std::size_t>(channels);
    const std::size_t rows = kSamples * kPixels, n = rows * c;
    expect_rounded_f32(Concat{kSamples, kPixels, {channels, 8, 2 * channels}},
                       {read(n), read(rows * 8), read(2 * n), kAbsent, kAbsent, kAbsent, kAbsent,
                        kAbsent, written(3 * n + rows * 8)});
    expect_rounded_f32(SliceChannels{kSamples, kPixels, 2 * channels, channels, channels},
                       {read(2 * n), written(n)});
    for (const auto& [factor, factors] : {std::pair(Factor::full, n),
                                          {Factor::per_channel, kSamples * c},
                                          {Factor::per_pixel, rows}}) {
      expect_rounded_f32(Multiply{kSamples, kPixels, channels, factor},
                         {read(n), read(factors), written(n)});
      expect_rounded_f32(MultiplyBackward{kSamples, kPixels, channels, factor},
                         {read(n), read(n), read(factors), written(n), written(factors)});
    }
  }
}

TEST_P(BFloat16Test, ScaledAdd) {
  for (const int channels : {1, 8, 33, 40})
    for (const bool relu : {false, true}) {
      const std::size_t n = kSamples * kPixels * static_cast<std::size_t>(channels);
      expect_rounded_f32(ScaledAddForward{kSamples, kPixels, channels, 0.4, relu},
                         {read(n), vector(1), read(n), written(n)});
      for (const Slot& other : {kAbsent, read(n)})
        expect_rounded_f32(ScaledAddBackward{kSamples, kPixels, channels, 0.4, relu},
                           {read(n), other, read(n), vector(1), relu ? read(n) : kAbsent,
                            written(n), written(1, Element::f32), kAbsent});
    }
}

TEST_P(BFloat16Test, PointwiseNorm) {
  for (const int channels : {1, 8, 33, 40})
    for (const PointwiseFunction f : {PointwiseFunction::tanh, PointwiseFunction::erf})
      for (const bool relu : {false, true}) {
        const auto c = static_cast<std::size_t>(channels);
        const std::size_t n = kSamples * kPixels * c;
        const Slot sum = written(1, Element::f32), sums = written(c, Element::f32);
        for (const Slot& other : {kAbsent, read(n)}) {
          expect_rounded_f32(
              PointwiseNormForward{kSamples, kPixels, channels, f, relu},
              {read(n), vector(1), vector(1, 0.0f), vector(c), vector(c, 0.0f), other, written(n)});
          for (const Slot& y : {kAbsent, read(n)})
            expect_rounded_f32(PointwiseNormBackward{kSamples, kPixels, channels, f, relu},
                               {read(n), other, read(n), vector(1), vector(1, 0.0f), vector(c),
                                vector(c, 0.0f), y, written(n), sum, sum, sums, sums, kAbsent});
        }
      }
}

TEST_P(BFloat16Test, ActivatedNorm) {
  for (const int channels : {1, 8, 33, 40})
    for (const NormActivation activation : {NormActivation::threshold, NormActivation::swish})
      for (const bool relu : {false, true}) {
        const auto c = static_cast<std::size_t>(channels);
        const std::size_t n = kSamples * kPixels * c, per_sample = kSamples * c;
        const bool frn = activation == NormActivation::threshold;
        const ActivatedNormShape shape{kPixels, channels,   frn ? channels : 1,
                                       1e-5,    activation, relu};
        const Slot sums = written(c, Element::f32);
        for (const Slot& other : {kAbsent, read(n)}) {
          expect_rounded_f32(
              ActivatedNormForward{kSamples, shape},
              {read(n), vector(c), vector(c, 0.0f), vector(c, 0.0f), frn ? vector(1) : kAbsent,
               other, written(n), written(2 * per_sample, Element::f32),
               written(per_sample, Element::f32)});
          expect_rounded_f32(
              ActivatedNormBackward{kSamples, shape},
              {read(n), other, read(n), vector(2 * per_sample), vector(per_sample), vector(c),
               vector(c, 0.0f), vector(c, 0.0f), frn ? vector(1) : kAbsent, other, written(n), sums,
               sums, sums, frn ? written(1, Element::f32) : kAbsent, kAbsent});
        }
      }
}

TEST_P(BFloat16Test, EvoNormB0) {
  for (const int channels : {1, 8, 33, 40}) {
    const auto c = static_cast<std::size_t>(channels);
    const std::size_t n = kSamples * kPixels * c, per_sample = kSamples * c;
    const Slot inv_std = vector(c, 6.0f), deviation = vector(per_sample, 6.0f);
    const Slot gamma = vector(c), beta = vector(c, 0.0f), slope = vector(c, 0.0f);
    const Slot floats = written(c, Element::f32);
    expect_rounded_f32(EvoNormMoments{kSamples, kPixels, channels},
                       {read(n), written(1 + 2 * c, Element::f64),
                        written(2 * per_sample, Element::f32), written(per_sample, Element::f32)});
    for (const bool relu : {false, true})
      for (const Slot& other : {kAbsent, read(n)}) {
        expect_rounded_f32(EvoNormApply{kSamples, kPixels, channels, relu},
                           {read(n), inv_std, deviation, gamma, beta, slope, other, written(n)});
        expect_rounded_f32(EvoNormGradientSums{kSamples, kPixels, channels, relu},
                           {read(n), other, read(n), inv_std, deviation, gamma, beta, slope, other,
                            written(c, Element::f64), written(per_sample, Element::f64), floats,
                            floats, floats, kAbsent});
      }
    expect_rounded_f32(EvoNormInputGradient{kSamples, kPixels, channels, true},
                       {read(n), read(n), vector(2 * c), inv_std, vector(2 * per_sample), deviation,
                        gamma, beta, slope, read(1 + 2 * c, Element::f64, 5.0f),
                        read(c, Element::f64), read(per_sample, Element::f64), written(n)});
  }
}

TEST_P(BFloat16Test, PointwiseOperations) {
  constexpr std::size_t n = 3 * 37;
  for (const Activation kind :
       {Activation::relu, Activation::sigmoid, Activation::tanh, Activation::elu, Activation::selu,
        Activation::gelu, Activation::silu, Activation::hard_swish}) {
    expect_rounded_f32(ActivationForward{3, 37, kind}, {read(n), written(n)});
    expect_rounded_f32(ActivationBackward{3, 37, kind}, {read(n), read(n), read(n), written(n)});
  }
  expect_rounded_f32(Add{3, 37}, {read(n), read(n), written(n)});
  expect_rounded_f32(Dropout{3, 37, 0.4, 1}, {read(n), read(3, Element::id), written(n)});
  expect_rounded_f32(Dropout{3, 37, 0.4, 1, true}, {read(n), read(3, Element::id), written(n)});
  for (const bool backward : {false, true})
    expect_rounded_f32(NormNoise{3, 5, 7, 0.5, 1.25, 0.1, 0.1, 2, backward},
                       {read(105), read(3, Element::id), written(105)});
  expect_rounded_f32(ToChannelsFirst{3, 5, 7, false}, {read(105), written(105)});
  expect_rounded_f32(ToChannelsFirst{3, 5, 7, true}, {read(105), written(105)});
}

TEST_P(BFloat16Test, EmulatedPooling) {
  if (!cuda()) device_->use_storage(Storage::bf16, true);
  for (const PoolKind kind : {PoolKind::max, PoolKind::average}) {
    const PoolShape shape{kind, 7, 6, 5, 3, 2, 2, 1};
    const std::size_t in = 2 * 7 * 6 * 5;
    const std::size_t out = 2 * static_cast<std::size_t>(shape.out_height()) *
                            static_cast<std::size_t>(shape.out_width()) * 5;
    const std::size_t workspace = device_->workspace_bytes(PoolForward{2, shape, true});
    const Slot place = workspace > 0 ? written(workspace, Element::bytes) : kAbsent;
    expect_rounded_f32(PoolForward{2, shape, true}, {read(in), written(out), place});
    if (kind == PoolKind::average)
      expect_rounded_f32(PoolBackward{2, shape}, {read(out), kAbsent, written(in)});
  }
}

TEST_P(BFloat16Test, EmulatedConvolutions) {
  if (cuda()) GTEST_SKIP() << "a GPU has bf16 of its own";
  device_->use_storage(Storage::bf16, true);
  const ConvShape shape{7, 6, 5, 9, 3, 2, 1, true, 2};
  const std::size_t in = 2 * 7 * 6 * 5, out = 2 * 4 * 3 * 9;
  std::vector<float> weights = random_normal(shape.weights(), 8);
  const Floats exact = floats(weights);
  for (float& w : weights) w = to_float(to_bfloat16(w));
  const Floats rounded_weights = floats(weights);
  for (const bool for_dgrad : {false, true}) {
    const ConvPack wide{2, shape, for_dgrad}, narrow{2, shape, for_dgrad, Storage::bf16};
    Array<std::uint8_t> expected(*device_, std::vector<std::uint8_t>(device_->packed_bytes(wide)));
    Array<std::uint8_t> packed(*device_, std::vector<std::uint8_t>(device_->packed_bytes(narrow)));
    run(wide, {rounded_weights, expected});
    run(narrow, {exact, packed});  // rounds them itself
    ASSERT_TRUE(same_bits(packed.values(), expected.values()));
    const Floats bias = floats(random_normal(9, 9));
    const auto x = rounded(random_normal(for_dgrad ? out : in, 10));
    std::vector<float> wide_x;
    for (const BFloat16 v : x) wide_x.push_back(to_float(v));
    const Floats y32 = floats(for_dgrad ? in : out);
    const Array<BFloat16> x16(*device_, x), y16(*device_, std::vector<BFloat16>(y32.size()));
    if (for_dgrad) {
      run(ConvDgrad{2, shape}, {floats(wide_x), expected, y32});
      run(ConvDgrad{2, shape, Storage::bf16}, {x16, packed, y16});
    } else {
      run(ConvForward{2, shape}, {floats(wide_x), expected, bias, y32});
      run(ConvForward{2, shape, Storage::bf16}, {x16, packed, bias, y16});
    }
    EXPECT_TRUE(same_bits(y16.values(), rounded(y32.values())));
  }
  expect_rounded_f32(
      ConvWgrad{2, shape},
      {read(in), read(out), written(shape.weights(), Element::f32), written(9, Element::f32)});
}

// The same tests of the real thing, where there is one: its sums are in another order.
TEST_P(BFloat16Test, NativeConvolution) {
  if (emulated()) GTEST_SKIP() << "needs cuDNN, and so a GPU";
  try {
    device_->use_storage(Storage::bf16, false);
  } catch (const InputError& error) {
    GTEST_SKIP() << error.what();
  }
  const ConvShape shape{7, 6, 5, 9, 3, 1, 1, false, 2};
  const std::size_t in = 2 * 7 * 6 * 5, out = 2 * 7 * 6 * 9;
  std::vector<float> weights = random_normal(shape.weights(), 8), x = random_normal(in, 9);
  for (auto* values : {&weights, &x})
    for (float& v : *values) v = to_float(to_bfloat16(v));
  const ConvPack wide{2, shape, false}, narrow{2, shape, false, Storage::bf16};
  Array<std::uint8_t> expected(*device_, std::vector<std::uint8_t>(device_->packed_bytes(wide)));
  Array<std::uint8_t> packed(*device_, std::vector<std::uint8_t>(device_->packed_bytes(narrow)));
  run(wide, {floats(weights), expected});
  run(narrow, {floats(weights), packed});
  const Floats y32 = floats(out);
  const Array<BFloat16> x16(*device_, rounded(x)), y16(*device_, std::vector<BFloat16>(out));
  run(ConvForward{2, shape}, {floats(x), expected, nullptr, y32});
  run(ConvForward{2, shape, Storage::bf16}, {x16, packed, nullptr, y16});
  std::vector<float> y;
  for (const BFloat16 v : y16.values()) y.push_back(to_float(v));
  EXPECT_TRUE(near_relative(y, y32.values(), 1.0 / 256));
}

TEST_P(BFloat16Test, WhatWasNotAskedForIsRefused) {
  if (cuda()) GTEST_SKIP() << "a GPU has bf16 of its own";
  EXPECT_THROW(device_->compile(ConvForward{1, {4, 4, 3, 3, 3, 1, 1, false, 1}, Storage::bf16}),
               InputError);
}

SYNCNORM_FOR_ALL_BACK_ENDS(BFloat16Test);

}  // namespace
}  // namespace syncnorm::test
