// A kernel that runs for many replicas at once gives the bits of one run for each, on all back
// ends: with samples that are adjacent, as one launch of a device needs them, and that are not.
#include <gtest/gtest.h>

#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

constexpr int kReplicas = 3, kSamples = 2, kPixels = 35, kChannels = 24;
constexpr std::size_t kMapValues = static_cast<std::size_t>(kSamples) * kPixels * kChannels;

/// What an operand is to the replicas.
enum class Part { samples, own_vector, sample_mean, sample_vector, shared, absent };

class RepeatTest : public KernelTest {
 protected:
  static std::size_t element_bytes(Element element, Storage storage) {
    if (element == Element::stored) return storage_bytes(storage);
    return element == Element::f64 ? sizeof(double) : sizeof(float);
  }

  /// Bytes from an operand of one replica to that of the next.
  static std::size_t bytes_apart(Part part, std::size_t element, std::size_t gap) {
    constexpr auto kVectors = static_cast<std::size_t>(kSamples) * kChannels;
    switch (part) {
      case Part::samples:
        return kMapValues * element + gap;
      case Part::own_vector:
        return ((2 * kChannels + 1) * element + 63) / 64 * 64;
      case Part::sample_mean:
        return 2 * kVectors * element;
      case Part::sample_vector:
        return kVectors * element;
      case Part::shared:
      case Part::absent:
        break;
    }
    return 0;
  }

  /// Runs `op` for kReplicas replicas, in one call or in one each, and returns all operands' bytes.
  /// `gap` bytes lie between the replicas' samples; vectors have 2·C + 1 values, 64-byte aligned.
  std::vector<std::byte> outcome(const Op& op, const std::vector<Part>& parts, std::size_t gap,
                                 bool repeated) {
    const std::span<const Operand> all = operands(op);
    EXPECT_EQ(all.size(), parts.size());
    std::vector<Buffer> buffers;
    std::vector<void*> pointers;
    std::vector<std::size_t> strides;
    for (std::size_t a = 0; a < parts.size(); ++a) {
      const std::size_t size = element_bytes(all[a].element, storage_of(op));
      strides.push_back(bytes_apart(parts[a], size, gap));
      if (parts[a] == Part::absent) {
        pointers.push_back(nullptr);
        continue;
      }
      const std::size_t bytes = parts[a] == Part::shared ? bytes_apart(Part::own_vector, size, gap)
                                                         : kReplicas * strides.back();
      Buffer& buffer = buffers.emplace_back(device_->allocate_pinned(bytes));
      fill(buffer, all[a].element, static_cast<unsigned>(a));
      pointers.push_back(buffer.data());
    }
    StepState state;
    state.step = 3;
    state.sample_weight = 0.3;
    const auto kernel = device_->compile(op);
    kernel->expect_repeats(kReplicas);
    if (repeated)
      kernel->run_repeated(pointers, strides, kReplicas, state);
    else
      for (std::size_t r = 0; r < kReplicas; ++r) {
        std::vector<void*> own = pointers;
        for (std::size_t a = 0; a < own.size(); ++a)
          if (own[a] != nullptr) own[a] = static_cast<std::byte*>(own[a]) + r * strides[a];
        kernel->run(own, state);
      }
    device_->synchronize();
    std::vector<std::byte> bytes;
    for (const Buffer& buffer : buffers)
      bytes.insert(bytes.end(), buffer.data(), buffer.data() + buffer.bytes());
    return bytes;
  }

  /// Positive numbers near 1, which do for counts, variances and activations alike.
  static void fill(const Buffer& buffer, Element element, unsigned seed) {
    const std::vector<float> values = random_normal(buffer.bytes(), seed, 3.0f, 0.3f);
    if (element == Element::f64)
      std::copy_n(values.begin(), buffer.bytes() / sizeof(double), buffer.as<double>().begin());
    else  // as bf16 these bytes are finite numbers, too
      std::copy_n(values.begin(), buffer.bytes() / sizeof(float), buffer.as<float>().begin());
  }

  void expect_same(const Op& op, const std::vector<Part>& parts) {
    for (const std::size_t gap : {std::size_t{0}, std::size_t{64}}) {
      SCOPED_TRACE(op_text(op) + (gap > 0 ? ", with gaps" : ""));
      const auto apart = outcome(op, parts, gap, false);
      EXPECT_TRUE(same_bits(outcome(op, parts, gap, true), apart));
    }
  }
};

TEST_P(RepeatTest, BatchNorm) {
  constexpr auto x = Part::samples, own = Part::own_vector, all = Part::shared, no = Part::absent;
  for (const Storage storage : {Storage::f32, Storage::bf16}) {
    expect_same(BatchMoments{kSamples, kPixels, kChannels, storage}, {x, own});
    for (const Part statistics : {own, all}) {
      expect_same(BatchNormalize{kSamples, kPixels, kChannels, true, storage},
                  {x, statistics, statistics, all, all, x, no, x});
      expect_same(BatchGradientSums{kSamples, kPixels, kChannels, true, storage},
                  {x, x, x, statistics, statistics, all, all, x, statistics, own, own, own, x});
      expect_same(BatchInputGradient{kSamples, kPixels, kChannels, true, Deviation::l2, 1.0, false,
                                     storage},
                  {x, x, statistics, statistics, all, all, statistics, statistics, no, no, no, x});
      expect_same(BatchInputGradient{kSamples, kPixels, kChannels, false, Deviation::linf, 1.0,
                                     false, storage},
                  {x, x, statistics, statistics, all, no, statistics, statistics, no, statistics,
                   statistics, x});
    }
    expect_same(Add{kSamples, kPixels * kChannels, storage}, {x, x, x});
  }
  BatchFinalize finalize{1, kChannels};
  finalize.renormalization.r_max = 2.0;
  expect_same(finalize, {own, own, own, own, own, own});
  expect_same(BatchFinalize{1, kChannels}, {own, own, own, own, own, no});
  expect_same(MomentumFinalize{1, kChannels, 1e-5, 0.1, {0.5, 7}},
              {own, own, own, own, own, own, own, own});
  expect_same(MomentumGradient{1, kChannels}, {own, own, own, own});
  const MovingWindow one = {1, 2, 2.0, 3};
  expect_same(MovingFinalize{1, kChannels, 1e-5, 0.1, one}, {own, own, own, own, own, own});
  expect_same(MovingGradient{1, kChannels, one}, {own, own, own, all, own, own});
  const CrossIterationWindow two = {2, 0};
  expect_same(CrossIterationFinalize{1, kChannels, 1, 1, 1e-5, 0.1, two},
              {own, all, own, own, own, own, own, own, own, own, own, own});
  expect_same(CrossIterationKeep{1, kChannels, 1, 1, two},
              {own, own, all, own, own, own, own, own});
  expect_same(BatchMix{1, kChannels}, {own, all, all, own, own});
}

TEST_P(RepeatTest, GroupNorm) {
  constexpr auto x = Part::samples, own = Part::own_vector, all = Part::shared, no = Part::absent;
  constexpr auto mean = Part::sample_mean, deviation = Part::sample_vector;
  for (const Storage storage : {Storage::f32, Storage::bf16}) {
    expect_same(GroupNormForward{kSamples, kPixels, kChannels, 4, 1e-5, true, true, storage},
                {x, all, all, x, x, mean, deviation});
    expect_same(GroupNormBackward{kSamples, kPixels, kChannels, 4, true, true, storage},
                {x, x, x, mean, deviation, all, all, x, x, own, own, x});
    expect_same(GroupNormBackward{kSamples, kPixels, kChannels, 1, false, false, storage},
                {x, no, x, mean, deviation, all, no, no, x, own, no, no});
  }
}

SYNCNORM_FOR_ALL_BACK_ENDS(RepeatTest);

}  // namespace
}  // namespace syncnorm::test
