// Moving average batch norm (Yan et al. 2020) over a sequence of updates against f64 by the
// definition: forward and backward moments averaged over a window, and the clipped correction.
#include <cmath>

#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

constexpr int kChannels = 21, kRows = 12, kUpdates = 9;
constexpr std::size_t kWidth = kChannels, kValues = kWidth * kRows;

struct Batch {
  std::vector<float> x, dy;
};

Batch random_batch(int update) {
  const auto seed = static_cast<unsigned>(10 * update);
  // Deviations that change, so that r leaves its limits in some channels.
  return {random_normal(kValues, seed, 0.3f, 0.5f + 0.3f * static_cast<float>(update)),
          random_normal(kValues, seed + 1, 0.1f)};
}

struct Outputs {
  std::vector<float> y, dx, dgamma, dbeta;
};

class MovingNormTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    gamma_ = floats(random_normal(kWidth, 1, 1.0f, 0.4f));
    gamma_[0] = 0.0f;  // as model.zero_gamma makes it
    beta_ = floats(random_normal(kWidth, 2));
    start();
  }

  void start() {
    const auto slots = static_cast<std::size_t>(window_.window) * kWidth;
    squares_ = floats(std::vector<float>(slots, NAN));  // never read before it is written
    gradients_ = floats(std::vector<float>(slots, NAN));
    running_var_ = floats(std::vector<float>(kWidth, 1.0f));
  }

  Outputs update(const Batch& batch, std::uint64_t step, bool relu, bool updates = true) {
    StepState state;
    state.step = step;
    state.update_running = updates;
    const Floats x = floats(batch.x), dy = floats(batch.dy), y = floats(kValues);
    const Floats dx = floats(kValues), dgamma = floats(kWidth), dbeta = floats(kWidth);
    const Floats mean = floats(2 * kWidth), inv_std = floats(kWidth);
    const Floats correction = floats(2 * kWidth);
    const Doubles sums = doubles(2 * kWidth + 1), gradient_sums = doubles(2 * kWidth);
    const Doubles constants = doubles(2 * kWidth);
    run(BatchMoments{3, kRows / 3, kChannels}, {x, sums}, state);
    run(MovingFinalize{1, kChannels, kEps, kMomentum, window_},
        {sums, mean, inv_std, correction, squares_, running_var_}, state);
    run(BatchNormalize{3, kRows / 3, kChannels, relu},
        {x, mean, inv_std, gamma_, beta_, nullptr, correction, y}, state);
    run(BatchGradientSums{3, kRows / 3, kChannels, relu},
        {dy, nullptr, x, mean, inv_std, gamma_, beta_, nullptr, correction, gradient_sums, dgamma,
         dbeta, nullptr},
        state);
    run(MovingGradient{1, kChannels, window_},
        {gradient_sums, sums, correction, gamma_, constants, gradients_}, state);
    BatchInputGradient last{3, kRows / 3, kChannels, relu};
    last.weighted = true;
    run(last,
        {dy, x, mean, inv_std, gamma_, beta_, constants, sums, correction, nullptr, nullptr, dx},
        state);
    return {y.values(), dx.values(), dgamma.values(), dbeta.values()};
  }

  static constexpr double kEps = 1e-3, kMomentum = 0.3;
  MovingWindow window_ = {3, 5, 1.2, 7};
  Floats gamma_, beta_, squares_, gradients_, running_var_;
};

/// One channel by the definition.
struct Channel {
  double gamma, beta, running = 1.0;
  std::vector<double> squares = {}, gradients = {};  // of all updates so far

  static double mean_of_last(const std::vector<double>& all, const MovingWindow& window) {
    const auto count = static_cast<int>(all.size());
    const bool averaged = count > window.window && count >= window.start;
    const int first = averaged ? count - window.window : count - 1;
    double sum = 0.0;
    for (int i = first; i < count; ++i) sum += all[static_cast<std::size_t>(i)];
    return sum / (count - first);
  }
};

TEST_P(MovingNormTest, EveryUpdateFollowsTheDefinition) {
  for (const bool relu : {false, true}) {
    start();
    std::vector<Channel> channels;
    for (std::size_t c = 0; c < kWidth; ++c) channels.push_back({gamma_[c], beta_[c]});
    int clipped = 0, inside = 0;
    for (int step = 0; step < kUpdates; ++step) {
      SCOPED_TRACE("update " + std::to_string(step + 1) + (relu ? ", relu" : ""));
      const Batch batch = random_batch(step);
      const Outputs out = update(batch, static_cast<std::uint64_t>(step), relu);
      std::vector<double> y(kValues), dx(kValues), dgamma(kWidth), dbeta(kWidth);
      for (std::size_t c = 0; c < kWidth; ++c) {
        Channel& channel = channels[c];
        double square = 0.0;
        for (std::size_t i = c; i < kValues; i += kWidth)
          square += static_cast<double>(batch.x[i]) * batch.x[i] / kRows;
        channel.squares.push_back(square);
        const double moment = Channel::mean_of_last(channel.squares, window_);
        const double k = 1.0 / std::sqrt(moment + kEps);
        double r = std::sqrt(moment + kEps) / std::sqrt(channel.running + kEps);
        if (step < window_.correct_from) r = 1.0;
        const double limited = std::min(std::max(r, 1.0 / window_.r_max), window_.r_max);
        if (step >= window_.correct_from) (limited == r ? inside : clipped) += 1;
        r = limited;
        channel.running += kMomentum * (moment - channel.running);
        double mean_gz = 0.0;
        std::vector<double> g(kRows);
        for (std::size_t row = 0; row < kRows; ++row) {
          const std::size_t i = row * kWidth + c;
          y[i] = channel.gamma * r * k * batch.x[i] + channel.beta;
          g[row] = relu && y[i] <= 0.0 ? 0.0 : static_cast<double>(batch.dy[i]);
          if (relu && y[i] <= 0.0) y[i] = 0.0;
          dgamma[c] += g[row] * r * k * batch.x[i];
          dbeta[c] += g[row];
          mean_gz += channel.gamma * r * g[row] * k * batch.x[i] / kRows;
        }
        channel.gradients.push_back(mean_gz);
        const double used = Channel::mean_of_last(channel.gradients, window_);
        for (std::size_t row = 0; row < kRows; ++row) {
          const std::size_t i = row * kWidth + c;
          dx[i] = k * (channel.gamma * r * g[row] - k * batch.x[i] * used);
        }
      }
      EXPECT_TRUE(near_relative(out.y, y, 2e-6));
      EXPECT_TRUE(near_relative(out.dx, dx, 2e-6));
      EXPECT_TRUE(near_relative(out.dgamma, dgamma, 2e-6));
      EXPECT_TRUE(near_relative(out.dbeta, dbeta, 2e-6));
      std::vector<double> running;
      for (const Channel& channel : channels) running.push_back(channel.running);
      EXPECT_TRUE(near_relative(running_var_.values(), running, 2e-6));
    }
    EXPECT_GT(inside, 3);
    EXPECT_GT(clipped, 3);
  }
}

// Before averages are used, the gradient is that of the division by the batch's own moment: a
// central difference of Σ dy·y.
TEST_P(MovingNormTest, WithTheBatchsOwnMomentItIsTheTrueGradient) {
  Batch batch = random_batch(1);
  const Outputs out = update(batch, 0, false);
  for (std::size_t c = 0; c < kWidth; ++c) {
    std::vector<double> x;
    for (std::size_t i = c; i < kValues; i += kWidth) x.push_back(batch.x[i]);
    const auto loss = [&] {
      double square = 0.0, sum = 0.0;
      for (const double v : x) square += v * v / kRows;
      for (std::size_t row = 0; row < kRows; ++row)
        sum += static_cast<double>(batch.dy[row * kWidth + c]) * gamma_[c] * x[row] /
               std::sqrt(square + kEps);
      return sum;
    };
    for (std::size_t row = 0; row < kRows; ++row) {
      const double at = x[row], h = 1e-6;
      x[row] = at + h;
      const double above = loss();
      x[row] = at - h;
      const double slope = (above - loss()) / (2.0 * h);
      x[row] = at;
      EXPECT_NEAR(out.dx[row * kWidth + c], slope, 1e-5);
    }
  }
}

TEST_P(MovingNormTest, WithoutAnUpdateNothingIsRemembered) {
  for (std::uint64_t step = 0; step < 8; ++step)
    update(random_batch(static_cast<int>(step)), step, false);
  const auto squares = squares_.values(), gradients = gradients_.values();
  const auto running = running_var_.values();
  const Batch batch = random_batch(8);
  const Outputs out = update(batch, 8, false, false);
  EXPECT_TRUE(same_bits(squares_.values(), squares));
  EXPECT_TRUE(same_bits(gradients_.values(), gradients));
  EXPECT_TRUE(same_bits(running_var_.values(), running));
  const Outputs again = update(batch, 8, false);
  EXPECT_TRUE(same_bits(again.y, out.y));
  EXPECT_TRUE(same_bits(again.dx, out.dx));
  EXPECT_FALSE(same_bits(squares_.values(), squares));
  EXPECT_FALSE(same_bits(gradients_.values(), gradients));
}

SYNCNORM_FOR_ALL_BACK_ENDS(MovingNormTest);

}  // namespace
}  // namespace syncnorm::test
