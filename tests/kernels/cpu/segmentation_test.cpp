// The loss of pixels against its definition in f64: cross-entropy with label smoothing, weights of
// classes and ignored pixels, the Dice loss, and their gradient as central differences of the
// whole loss.
#include <limits>

#include "kernels/bfloat16.h"
#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

struct Scene {
  int samples = 2, pixels = 37, classes = 11;
  double smoothing = 0.0, dice = 0.0;
  bool weighted = false;
  std::vector<double> logits;
  std::vector<std::uint8_t> mask;
  std::vector<double> weights;  // [classes]

  std::size_t rows() const { return mask.size(); }
  std::vector<float> narrow_logits() const { return {logits.begin(), logits.end()}; }
  PixelLoss op() const {
    return {samples, pixels, classes, smoothing, dice, weighted ? weights : std::vector<double>()};
  }
};

Scene make_scene(int samples, int pixels, int classes, unsigned seed) {
  Scene s;
  s.samples = samples;
  s.pixels = pixels;
  s.classes = classes;
  const auto rows = static_cast<std::size_t>(samples * pixels);
  for (const float z : random_normal(rows * static_cast<std::size_t>(classes), seed, 0.3f, 2.0f))
    s.logits.push_back(z);
  std::mt19937 engine(seed + 7);
  for (std::size_t i = 0; i < rows; ++i) {
    const auto k = static_cast<int>(engine() % static_cast<unsigned>(classes + 2));
    s.mask.push_back(k < classes ? static_cast<std::uint8_t>(k) : (k == classes ? 255 : 254));
  }
  for (int k = 0; k < classes; ++k) s.weights.push_back(0.25 * (k % 5) + (k == 0 ? 0.5 : 0.0));
  return s;
}

/// The loss of the whole scene in f64: Σ w·loss / Σ w, and the Dice loss times its weight.
double reference_loss(const Scene& s) {
  const auto classes = static_cast<std::size_t>(s.classes);
  double sum = 0.0, weights = 0.0;
  std::vector<double> own(classes), all(classes), count(classes);
  for (std::size_t r = 0; r < s.rows(); ++r) {
    if (s.mask[r] >= s.classes) continue;
    const double* z = s.logits.data() + r * classes;
    const double top = *std::max_element(z, z + classes);
    double total = 0.0;
    for (std::size_t k = 0; k < classes; ++k) total += std::exp(z[k] - top);
    const auto weight = [&](std::size_t k) { return s.weighted ? s.weights[k] : 1.0; };
    for (std::size_t k = 0; k < classes; ++k) {
      const double log_p = z[k] - top - std::log(total);
      const bool is_label = k == s.mask[r];
      sum -= weight(k) * log_p * ((is_label ? 1.0 - s.smoothing : 0.0) + s.smoothing / s.classes);
      all[k] += std::exp(log_p);
      if (is_label) own[k] += std::exp(log_p);
    }
    count[s.mask[r]] += 1.0;
    weights += weight(s.mask[r]);
  }
  double dice = 0.0;
  for (std::size_t k = 0; k < classes; ++k)
    dice += 1.0 - (2.0 * own[k] + 1e-5) / (all[k] + count[k] + 1e-5);
  return (weights > 0.0 ? sum / weights : 0.0) + s.dice * dice / s.classes;
}

class SegmentationTest : public KernelTest {
 protected:
  struct Result {
    std::vector<double> totals;
    std::vector<float> dlogits;
    double mean() const { return totals[0] / totals[4]; }
  };

  /// Runs the whole scene as one call, with the counts and sums of that call.
  Result loss(const Scene& s) {
    const Floats logits = floats(s.narrow_logits());
    const Array<std::uint8_t> mask(*device_, s.mask);
    const Doubles counts = doubles(static_cast<std::size_t>(s.classes));
    const Doubles sums = doubles(2 * static_cast<std::size_t>(s.classes));
    run(PixelCounts{s.samples, s.pixels, s.classes}, {mask, counts});
    run(DiceSums{s.samples, s.pixels, s.classes}, {logits, mask, sums});
    const Doubles totals = doubles(kLossTotals);
    const Floats dlogits = floats(s.logits.size());
    run(s.op(),
        {logits, mask, counts, s.dice > 0.0 ? Argument(sums) : Argument(nullptr), totals, dlogits});
    return {totals.values(), dlogits.values()};
  }

  void expect_definition(const Scene& s) {
    const Result r = loss(s);
    EXPECT_NEAR(r.mean(), reference_loss(s), 2e-6 * std::max(1.0, reference_loss(s)));
    std::size_t counted = 0, correct = 0;
    double weights = 0.0;
    const auto classes = static_cast<std::size_t>(s.classes);
    for (std::size_t i = 0; i < s.rows(); ++i) {
      if (s.mask[i] >= s.classes) continue;
      ++counted;
      weights += s.weighted ? s.weights[s.mask[i]] : 1.0;
      const double* z = s.logits.data() + i * classes;
      correct += static_cast<std::size_t>(std::max_element(z, z + classes) - z) == s.mask[i];
    }
    EXPECT_EQ(r.totals[1], static_cast<double>(correct));
    EXPECT_EQ(r.totals[3], static_cast<double>(counted));
    EXPECT_NEAR(r.totals[4], weights, 1e-9 * weights);
    std::vector<double> slopes(s.logits.size());
    Scene moved = s;
    constexpr double kStep = 1e-5;
    const std::size_t step = std::max<std::size_t>(1, s.logits.size() / 400);
    for (std::size_t i = 0; i < s.logits.size(); i += step) {
      moved.logits[i] = s.logits[i] + kStep;
      const double above = reference_loss(moved);
      moved.logits[i] = s.logits[i] - kStep;
      slopes[i] = (above - reference_loss(moved)) / (2.0 * kStep);
      moved.logits[i] = s.logits[i];
      EXPECT_NEAR(r.dlogits[i], slopes[i], 2e-6 / static_cast<double>(counted) + 2e-9) << i;
    }
  }
};

TEST_P(SegmentationTest, IsTheDefinition) {
  for (const auto& [pixels, classes] : {std::pair(37, 11), {1, 2}, {5, 1}, {700, 3}, {19, 254}}) {
    Scene s = make_scene(2, pixels, classes, static_cast<unsigned>(pixels));
    SCOPED_TRACE(testing::Message() << pixels << " pixels, " << classes << " classes");
    expect_definition(s);
    s.smoothing = 0.2;
    s.weighted = true;
    expect_definition(s);
    s.dice = 0.7;
    expect_definition(s);
  }
}

// The loss of a batch is that of its parts with the sums of the whole, whatever the parts.
TEST_P(SegmentationTest, PartsWithTheSumsOfTheWholeAreTheWhole) {
  Scene s = make_scene(3, 41, 5, 3);
  s.dice = 0.5;
  s.weighted = true;
  const Result whole = loss(s);
  const auto classes = static_cast<std::size_t>(s.classes);
  const auto slice = [&](std::size_t sample) {
    Scene part = s;
    part.samples = 1;
    part.mask.assign(s.mask.begin() + static_cast<long>(41 * sample),
                     s.mask.begin() + static_cast<long>(41 * (sample + 1)));
    part.logits.assign(s.logits.begin() + static_cast<long>(41 * classes * sample),
                       s.logits.begin() + static_cast<long>(41 * classes * (sample + 1)));
    return part;
  };
  Doubles counts(*device_, std::vector<double>(classes)),
      sums(*device_, std::vector<double>(2 * classes));
  for (std::size_t n = 0; n < 3; ++n) {
    const Scene part = slice(n);
    const Doubles own_counts = doubles(classes), own_sums = doubles(2 * classes);
    const Array<std::uint8_t> mask(*device_, part.mask);
    run(PixelCounts{1, 41, 5}, {mask, own_counts});
    run(DiceSums{1, 41, 5}, {floats(part.narrow_logits()), mask, own_sums});
    for (std::size_t k = 0; k < classes; ++k) counts[k] += own_counts[k];
    for (std::size_t k = 0; k < 2 * classes; ++k) sums[k] += own_sums[k];
  }
  double total = 0.0, weights = 0.0;
  std::vector<float> dlogits;
  for (std::size_t n = 0; n < 3; ++n) {
    const Scene part = slice(n);
    const Doubles totals = doubles(kLossTotals);
    const Floats slopes = floats(part.logits.size());
    run(part.op(), {floats(part.narrow_logits()), Array<std::uint8_t>(*device_, part.mask), counts,
                    sums, totals, slopes});
    total += totals[0];
    weights += totals[4];
    for (const float g : slopes.values()) dlogits.push_back(g);
  }
  EXPECT_NEAR(total / weights, whole.mean(), 1e-7);
  EXPECT_TRUE(near_relative(dlogits, whole.dlogits, 1e-6));
}

TEST_P(SegmentationTest, IgnoredPixelsHaveNoLossAndNoGradient) {
  Scene s = make_scene(1, 9, 4, 5);
  s.dice = 1.0;
  s.smoothing = 0.1;
  std::fill(s.mask.begin(), s.mask.end(), std::uint8_t{255});
  const Result r = loss(s);
  EXPECT_EQ(r.totals[0], 0.0);
  EXPECT_EQ(r.totals[3], 0.0);
  EXPECT_EQ(r.totals[4], 0.0);
  EXPECT_EQ(r.dlogits, std::vector<float>(s.logits.size(), 0.0f));
}

TEST_P(SegmentationTest, LossAloneHasNoGradient) {
  const Scene s = make_scene(2, 37, 6, 8);
  const Doubles totals = doubles(kLossTotals);
  StepState state;
  state.vote = 3.0;
  run(s.op(),
      {floats(s.narrow_logits()), Array<std::uint8_t>(*device_, s.mask), nullptr, nullptr, totals,
       nullptr},
      state);
  EXPECT_NEAR(totals[0] / totals[4], reference_loss(s), 2e-6);
  EXPECT_EQ(totals[2], 3.0);
}

TEST_P(SegmentationTest, ExtremeLogits) {
  Scene s = make_scene(1, 2, 3, 1);
  s.logits = {1e4, -1e4, 0.0, 3e38, -3e38, 0.0};
  s.mask = {0, 0};
  const Result r = loss(s);
  EXPECT_EQ(r.totals[0], 0.0);
  EXPECT_EQ(r.totals[1], 2.0);
  for (const float g : r.dlogits) EXPECT_EQ(g, 0.0f);
  s.mask = {1, 2};
  EXPECT_NEAR(loss(s).totals[0], 2e4 + 3e38, 1e32);
  for (const std::size_t at : {0u, 1u, 2u}) {
    s.logits = {1.0, 2.0, 3.0, 1.0, 1.0, 1.0};
    s.logits[at] = std::numeric_limits<double>::quiet_NaN();
    EXPECT_TRUE(std::isnan(loss(s).totals[0])) << at;
  }
}

TEST_P(SegmentationTest, PredictsTheFirstOfTheLargest) {
  const Array<std::int32_t> predictions(*device_, std::vector<std::int32_t>(4, -1));
  run(Predict{2, 2, 3}, {floats({1, 3, 3, 2, 2, 2, 0, -1, 5, -3, -2, -4}), predictions});
  EXPECT_EQ(predictions.values(), (std::vector<std::int32_t>{1, 0, 2, 1}));
}

TEST_P(SegmentationTest, Bf16IsTheLossOfTheRoundedLogits) {
  Scene s = make_scene(2, 50, 7, 21);
  s.dice = 0.3;
  std::vector<BFloat16> narrow;
  for (double& z : s.logits) {
    narrow.push_back(to_bfloat16(static_cast<float>(z)));
    z = to_float(narrow.back());
  }
  const Result wide = loss(s);
  const Array<BFloat16> logits(*device_, narrow);
  const Array<std::uint8_t> mask(*device_, s.mask);
  const Doubles counts = doubles(7), sums = doubles(14), totals = doubles(kLossTotals);
  const Array<BFloat16> dlogits(*device_, std::vector<BFloat16>(narrow.size()));
  const Array<std::int32_t> predictions(*device_, std::vector<std::int32_t>(s.rows(), -1));
  run(PixelCounts{2, 50, 7}, {mask, counts});
  run(DiceSums{2, 50, 7, Storage::bf16}, {logits, mask, sums});
  PixelLoss op = s.op();
  op.storage = Storage::bf16;
  run(op, {logits, mask, counts, sums, totals, dlogits});
  run(Predict{2, 50, 7, Storage::bf16}, {logits, predictions});
  EXPECT_EQ(totals.values(), wide.totals);
  for (std::size_t i = 0; i < narrow.size(); ++i)
    EXPECT_EQ(to_float(dlogits[i]), to_float(to_bfloat16(wide.dlogits[i]))) << i;
  double correct = 0.0;
  for (std::size_t i = 0; i < s.rows(); ++i) correct += predictions[i] == s.mask[i] ? 1.0 : 0.0;
  EXPECT_EQ(correct, wide.totals[1]);
}

SYNCNORM_FOR_ALL_BACK_ENDS(SegmentationTest);

}  // namespace
}  // namespace syncnorm::test
