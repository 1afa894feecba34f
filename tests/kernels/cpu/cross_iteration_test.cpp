// Cross-iteration batch norm (Yao et al. 2020) over a sequence of updates against f64 by the
// definition, and the sums of patches that its slopes are made of.
#include <cmath>

#include "kernels/bfloat16.h"
#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

constexpr int kChannels = 7, kInputs = 37;
constexpr std::size_t kWidth = kChannels, kDepth = kInputs;

/// The input and weights of a linear layer in one update, and its output's gradient.
struct Update {
  std::size_t rows = 0;
  std::vector<float> input, weight, dy, x;  // x is the layer's output, the norm's input
};

Update random_update(int index, std::size_t rows) {
  const auto seed = static_cast<unsigned>(100 + 10 * index);
  Update update{rows, random_normal(rows * kDepth, seed, 0.4f),
                random_normal(kWidth * kDepth, 1, 0.0f, 0.3f),
                random_normal(rows * kWidth, seed + 1), std::vector<float>(rows * kWidth)};
  // The weights walk, so that the first order leaves an error that a test can tell from none.
  for (int step = 0; step <= index; ++step) {
    const auto moved = random_normal(kWidth * kDepth, 50 + static_cast<unsigned>(step), 0.0f, 0.1f);
    for (std::size_t i = 0; i < moved.size(); ++i) update.weight[i] += moved[i];
  }
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < kWidth; ++c) {
      double sum = 0.0;
      for (std::size_t k = 0; k < kDepth; ++k)
        sum += static_cast<double>(update.input[r * kDepth + k]) * update.weight[c * kDepth + k];
      update.x[r * kWidth + c] = static_cast<float>(sum);
    }
  return update;
}

/// Σ over the rows of x·p for each channel: what a ConvWgrad of the layer gives.
std::vector<float> products(const Update& update) {
  std::vector<double> sums(kWidth * kDepth);
  for (std::size_t r = 0; r < update.rows; ++r)
    for (std::size_t c = 0; c < kWidth; ++c)
      for (std::size_t k = 0; k < kDepth; ++k)
        sums[c * kDepth + k] +=
            static_cast<double>(update.x[r * kWidth + c]) * update.input[r * kDepth + k];
  return {sums.begin(), sums.end()};
}

struct Outputs {
  std::vector<float> y, dx;
};

class CrossIterationTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    gamma_ = floats(random_normal(kWidth, 2, 1.0f, 0.4f));
    beta_ = floats(random_normal(kWidth, 3));
    const auto kept = static_cast<std::size_t>(window_.kept());
    counts_ = floats(std::vector<float>(kept, 0.0f));
    // The others are not read where the count is 0.
    means_ = floats(std::vector<float>(kept * kWidth, NAN));
    squares_ = floats(std::vector<float>(kept * kWidth, NAN));
    mean_slopes_ = floats(std::vector<float>(kept * kDepth, NAN));
    square_slopes_ = floats(std::vector<float>(kept * kWidth * kDepth, NAN));
    running_mean_ = floats(std::vector<float>(kWidth, 0.0f));
    running_var_ = floats(std::vector<float>(kWidth, 1.0f));
  }

  Outputs pass(const Update& update, std::uint64_t step, bool updates = true) {
    StepState state;
    state.step = step;
    state.update_running = updates;
    const int rows = static_cast<int>(update.rows);
    const Floats x = floats(update.x), dy = floats(update.dy), input = floats(update.input);
    const Floats weight = floats(update.weight), product = floats(products(update));
    const Floats y = floats(x.size()), dx = floats(x.size()), dgamma = floats(kWidth);
    const Floats dbeta = floats(kWidth), mean = floats(2 * kWidth), inv_std = floats(kWidth);
    const Doubles sums = doubles(2 * kWidth + 1), gradient_sums = doubles(2 * kWidth);
    const Doubles constants = doubles(2 * kWidth), mixing = doubles(1 + kWidth);
    const Doubles slopes = doubles(kDepth + kWidth * kDepth);
    run(BatchMoments{rows, 1, kChannels}, {x, sums}, state);
    run(CrossIterationFinalize{1, kChannels, kInputs, 1, kEps, kMomentum, window_},
        {sums, weight, counts_, means_, squares_, mean_slopes_, square_slopes_, mean, inv_std,
         mixing, running_mean_, running_var_},
        state);
    run(BatchNormalize{rows, 1, kChannels, false},
        {x, mean, inv_std, gamma_, beta_, nullptr, nullptr, y}, state);
    run(BatchGradientSums{rows, 1, kChannels, false},
        {dy, nullptr, x, mean, inv_std, gamma_, beta_, nullptr, nullptr, gradient_sums, dgamma,
         dbeta, nullptr},
        state);
    run(MomentumGradient{1, kChannels}, {gradient_sums, mixing, inv_std, constants}, state);
    run(BatchInputGradient{rows, 1, kChannels, false},
        {dy, x, mean, inv_std, gamma_, beta_, constants, sums, nullptr, nullptr, nullptr, dx},
        state);
    run(CrossIterationSums{rows, {1, 1, kInputs, kChannels, 1}}, {input, product, slopes}, state);
    keep(sums, slopes, weight, state);
    return {y.values(), dx.values()};
  }

  void keep(const Doubles& sums, const Doubles& slopes, const Floats& weight,
            const StepState& state) {
    run(CrossIterationKeep{1, kChannels, kInputs, 1, window_},
        {sums, slopes, weight, counts_, means_, squares_, mean_slopes_, square_slopes_}, state);
  }

  std::vector<std::vector<float>> kept() const {
    return {counts_.values(), means_.values(), squares_.values(), mean_slopes_.values(),
            square_slopes_.values()};
  }

  static constexpr double kEps = 1e-3, kMomentum = 0.3;
  const CrossIterationWindow window_ = {4, 2};
  Floats gamma_, beta_, counts_, means_, squares_, mean_slopes_, square_slopes_;
  Floats running_mean_, running_var_;
};

struct Moments {
  double mean = 0.0, square = 0.0;
};

/// mean(x) and mean(x²) of channel c in an update, to first order at `weight`.
Moments moments_at(const Update& update, std::size_t c, const std::vector<float>& weight) {
  Moments m;
  for (std::size_t r = 0; r < update.rows; ++r) {
    double x = 0.0, moved = 0.0;
    for (std::size_t k = 0; k < kDepth; ++k) {
      const std::size_t i = c * kDepth + k;
      x += static_cast<double>(update.input[r * kDepth + k]) * update.weight[i];
      moved += static_cast<double>(update.input[r * kDepth + k]) *
               (static_cast<double>(weight[i]) - update.weight[i]);
    }
    m.mean += (x + moved) / static_cast<double>(update.rows);
    m.square += (x * x + 2.0 * x * moved) / static_cast<double>(update.rows);
  }
  return m;
}

/// The statistics of the last of `updates`, over up to `window` of them.
struct Statistics {
  double mean = 0.0, variance = 0.0, count = 0.0;
};

Statistics statistics_of(const std::vector<Update>& updates, const CrossIterationWindow& window,
                         std::size_t c) {
  const std::size_t last = updates.size() - 1;
  const auto used = static_cast<std::size_t>(window.window);
  const bool alone = last < static_cast<std::size_t>(window.start);
  Statistics all;
  double square = 0.0;
  for (std::size_t i = alone ? last : (last + 1 > used ? last + 1 - used : 0); i <= last; ++i) {
    const auto n = static_cast<double>(updates[i].rows);
    const Moments m = moments_at(updates[i], c, updates[last].weight);
    all.count += n;
    all.mean += n * m.mean;
    square += n * std::max(m.square, m.mean * m.mean);
  }
  all.mean /= all.count;
  all.variance = square / all.count - all.mean * all.mean;
  return all;
}

TEST_P(CrossIterationTest, EveryUpdateFollowsTheDefinition) {
  std::vector<Update> updates;
  double correction = 0.0;
  for (const std::size_t rows : {12, 12, 9, 12, 15, 1, 12, 12}) {
    const std::size_t step = updates.size();
    SCOPED_TRACE("update " + std::to_string(step + 1));
    updates.push_back(random_update(static_cast<int>(step), rows));
    const Update& now = updates.back();
    const Outputs out = pass(now, step);
    std::vector<double> y(now.x.size()), dx(now.x.size());
    for (std::size_t c = 0; c < kWidth; ++c) {
      const Statistics s = statistics_of(updates, window_, c);
      const double k = 1.0 / std::sqrt(s.variance + kEps), gamma = gamma_[c];
      double sum_g = 0.0, sum_gx = 0.0;
      for (std::size_t i = c; i < now.x.size(); i += kWidth) {
        const double z = (now.x[i] - s.mean) * k;
        y[i] = gamma * z + beta_[c];
        sum_g += now.dy[i];
        sum_gx += now.dy[i] * z;
      }
      for (std::size_t i = c; i < now.x.size(); i += kWidth)
        dx[i] = gamma * k * (now.dy[i] - (sum_g + (now.x[i] - s.mean) * k * sum_gx) / s.count);
      if (step > 2)
        correction = std::max(
            correction, std::abs(moments_at(updates[step - 1], c, now.weight).mean -
                                 moments_at(updates[step - 1], c, updates[step - 1].weight).mean));
    }
    EXPECT_TRUE(near_relative(out.y, y, 2e-6));
    EXPECT_TRUE(near_relative(out.dx, dx, 2e-6));
  }
  EXPECT_GT(correction, 0.05) << "the weights did not move";
}

// The definition's gradient, by central differences of Σ dy·y over the input of the last update.
TEST_P(CrossIterationTest, TheInputGradientIsTheSlopeWithEarlierUpdatesHeld) {
  std::vector<Update> updates;
  Outputs out;
  for (std::size_t step = 0; step < 5; ++step) {
    updates.push_back(random_update(static_cast<int>(step), 6));
    out = pass(updates.back(), step);
  }
  const Update& now = updates.back();
  for (std::size_t c = 0; c < kWidth; ++c) {
    Statistics earlier;  // of the kept updates
    double earlier_square = 0.0;
    for (std::size_t i = 1; i + 1 < updates.size(); ++i) {
      const Moments m = moments_at(updates[i], c, now.weight);
      earlier.count += 6.0;
      earlier.mean += 6.0 * m.mean;
      earlier_square += 6.0 * std::max(m.square, m.mean * m.mean);
    }
    std::vector<double> x;
    for (std::size_t i = c; i < now.x.size(); i += kWidth) x.push_back(now.x[i]);
    const auto loss = [&] {
      double mean = earlier.mean, square = earlier_square, sum = 0.0;
      for (const double v : x) mean += v, square += v * v;
      mean /= earlier.count + 6.0;
      square /= earlier.count + 6.0;
      for (std::size_t r = 0; r < x.size(); ++r)
        sum += now.dy[r * kWidth + c] * gamma_[c] * (x[r] - mean) /
               std::sqrt(square - mean * mean + kEps);
      return sum;
    };
    for (std::size_t r = 0; r < x.size(); ++r) {
      const double at = x[r], h = 1e-6;
      x[r] = at + h;
      const double above = loss();
      x[r] = at - h;
      const double slope = (above - loss()) / (2.0 * h);
      x[r] = at;
      EXPECT_NEAR(out.dx[r * kWidth + c], slope, 1e-5);
    }
  }
}

TEST_P(CrossIterationTest, WithoutAnUpdateNothingIsKept) {
  for (std::uint64_t step = 0; step < 5; ++step)
    pass(random_update(static_cast<int>(step), 8), step);
  const auto before = kept();
  const auto mean = running_mean_.values(), variance = running_var_.values();
  const Update update = random_update(5, 8);
  const Outputs out = pass(update, 5, false);
  EXPECT_EQ(kept(), before);
  EXPECT_TRUE(same_bits(running_mean_.values(), mean));
  EXPECT_TRUE(same_bits(running_var_.values(), variance));
  const Outputs again = pass(update, 5);
  EXPECT_TRUE(same_bits(again.y, out.y));
  EXPECT_TRUE(same_bits(again.dx, out.dx));
  EXPECT_NE(kept(), before);
  EXPECT_FALSE(same_bits(running_mean_.values(), mean));
}

TEST_P(CrossIterationTest, AnUpdateWithoutSamplesTakesThePlaceOfTheOldestAndCountsNothing) {
  for (std::uint64_t step = 0; step < 3; ++step)
    pass(random_update(static_cast<int>(step), 8), step);
  StepState state;
  state.step = 4;
  const Doubles sums(*device_, std::vector<double>(2 * kWidth + 1, 0.0));
  const Doubles slopes(*device_, std::vector<double>(kDepth + kWidth * kDepth, 0.0));
  const Floats weight = floats(random_update(4, 8).weight);
  const auto means = means_.values();
  keep(sums, slopes, weight, state);
  EXPECT_EQ(counts_.values(), (std::vector<float>{8.0f, 0.0f, 8.0f}));
  EXPECT_TRUE(same_bits(means_.values(), means));
}

TEST_P(CrossIterationTest, SumsOfPatchesFollowTheDefinition) {
  const ConvShape shapes[] = {{5, 7, 3, 2, 3, 1, 1},
                              {6, 6, 40, 2, 3, 2, 1},
                              {9, 8, 1, 3, 7, 2, 3},
                              {4, 4, 65, 2, 1, 1, 0},
                              {5, 5, 2, 1, 1, 2, 0},
                              {3, 4, 5, 2, 3, 3, 0},
                              {2, 2, 3, 1, 5, 1, 2},
                              {1, 1, 33, 4, 1, 1, 0},
                              {7, 6, 3, 2, 3, 2, 2, false, 1, 2},
                              {6, 5, 6, 4, 3, 1, 1, false, 1, 1, 3},
                              {5, 5, 40, 40, 3, 1, 2, false, 1, 2, 40}};
  for (const ConvShape& shape : shapes)
    for (const Storage storage : {Storage::f32, Storage::bf16}) {
      const int samples = 3;
      SCOPED_TRACE(op_text(CrossIterationSums{samples, shape, storage}));
      std::vector<float> x = random_normal(
          static_cast<std::size_t>(samples * shape.height * shape.width * shape.channels), 4, 0.5f);
      std::vector<BFloat16> narrow;
      for (float& v : x)
        if (storage == Storage::bf16) {
          narrow.push_back(to_bfloat16(v));
          v = to_float(narrow.back());
        }
      const std::vector<float> product = random_normal(shape.weights(), 5);
      const CrossIterationSums op{samples, shape, storage};
      const Doubles sums = doubles(static_cast<std::size_t>(op.patch_values()) + shape.weights());
      const Floats products_there = floats(product);
      if (storage == Storage::f32) {
        run(op, {floats(x), products_there, sums});
      } else {
        const Array<BFloat16> stored(*device_, narrow);
        run(op, {stored, products_there, sums});
      }
      std::vector<double> expected;
      const int window = shape.kernel * shape.kernel;
      for (int i = 0; i < op.patch_values(); ++i) {
        const bool last = device_->channels_last_weights();
        const int own = shape.filter_channels(), group = i / (own * window);
        const int c = group * own + (last ? i % own : i / window % own);
        const int w = last ? i / own % window : i % window;
        double sum = 0.0;
        for (int n = 0; n < samples; ++n)
          for (int oy = 0; oy < shape.out_height(); ++oy)
            for (int ox = 0; ox < shape.out_width(); ++ox) {
              const int y = oy * shape.stride + w / shape.kernel * shape.dilation - shape.padding;
              const int at = ox * shape.stride + w % shape.kernel * shape.dilation - shape.padding;
              if (y < 0 || y >= shape.height || at < 0 || at >= shape.width) continue;
              sum += x[static_cast<std::size_t>(
                  ((n * shape.height + y) * shape.width + at) * shape.channels + c)];
            }
        expected.push_back(sum);
      }
      expected.insert(expected.end(), product.begin(), product.end());
      for (std::size_t i = 0; i < expected.size(); ++i)
        EXPECT_NEAR(sums[i], expected[i], 1e-12 * (1.0 + std::abs(expected[i]))) << "value " << i;
    }
}

SYNCNORM_FOR_ALL_BACK_ENDS(CrossIterationTest);

}  // namespace
}  // namespace syncnorm::test
