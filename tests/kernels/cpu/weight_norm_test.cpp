// Normalized, standardized, scaled and centered weights against their definitions in f64, and their
// gradients against central differences of the definition.
#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

std::size_t to_size(int n) { return static_cast<std::size_t>(n); }

constexpr double kFactor = 1.5;  // of scaled weights

/// The weight by the definition, from parameters in f64; `g` is empty for those without.
std::vector<double> weight_reference(WeightForm form, int inputs, const std::vector<double>& v,
                                     const std::vector<double>& g, double eps) {
  std::vector<double> w(v.size());
  const std::size_t n = to_size(inputs);
  for (std::size_t row = 0; row < v.size(); row += n) {
    double mean = 0.0, square = 0.0;
    for (std::size_t i = row; form != WeightForm::normalized && i < row + n; ++i)
      mean += v[i] / inputs;
    for (std::size_t i = row; i < row + n; ++i) square += (v[i] - mean) * (v[i] - mean);
    double scale =
        g.empty() ? 1.0 / std::sqrt(square / inputs + eps) : g[row / n] / std::sqrt(square);
    if (form == WeightForm::centered) scale = 1.0;
    if (form == WeightForm::scaled) scale = kFactor * g[row / n] / std::sqrt(std::max(square, eps));
    for (std::size_t i = row; i < row + n; ++i) w[i] = (v[i] - mean) * scale;
  }
  return w;
}

class WeightNormTest : public KernelTest {
 protected:
  void make(int outputs, int inputs, WeightForm form, float mean = 0.2f) {
    const bool centers = form != WeightForm::normalized;
    const bool gains = form == WeightForm::normalized || form == WeightForm::scaled;
    forward_ = {1, outputs, inputs, form, 1e-3, kFactor};
    const std::size_t size = to_size(outputs) * to_size(inputs), rows = to_size(outputs);
    v_ = random_normal(size, 1, mean);
    dw_ = random_normal(size, 2);
    g_ = gains ? random_normal(rows, 3, 1.0f, 0.5f) : std::vector<float>();
    const Floats v = floats(v_), g = gains ? floats(g_) : Floats();
    const Floats w = floats(size), dv = floats(size), dg = gains ? floats(rows) : Floats();
    const Doubles mean_out = centers ? doubles(rows) : Doubles(), scale = doubles(rows);
    run(forward_, {v, g, w, mean_out, scale});
    run(WeightNormalizeBackward{1, outputs, inputs, form, 1e-3, kFactor},
        {floats(dw_), v, g, mean_out, scale, dv, dg});
    w_ = w.values();
    dv_ = dv.values();
    dg_ = dg.values();
  }

  /// Σ dw·w at parameters moved by `h` along one of them.
  double objective(std::size_t index, bool gain, double h) const {
    std::vector<double> v(v_.begin(), v_.end()), g(g_.begin(), g_.end());
    (gain ? g : v)[index] += h;
    const auto w = weight_reference(forward_.form, forward_.inputs, v, g, forward_.eps);
    double sum = 0.0;
    for (std::size_t i = 0; i < w.size(); ++i) sum += dw_[i] * w[i];
    return sum;
  }
  double difference(std::size_t index, bool gain) const {
    return (objective(index, gain, 1e-5) - objective(index, gain, -1e-5)) / 2e-5;
  }

  WeightNormalize forward_;
  std::vector<float> v_, g_, dw_, w_, dv_, dg_;
};

// Rows of 1 (but for standardization, where it is 0), of less and of more than eight, odd and even.
TEST_P(WeightNormTest, MatchesTheDefinitionAndItsDifferences) {
  for (const WeightForm form :
       {WeightForm::normalized, WeightForm::standardized, WeightForm::scaled, WeightForm::centered})
    for (const int inputs : {1, 2, 7, 8, 9, 45, 64})
      for (const int outputs : {1, 3}) {
        SCOPED_TRACE(op_text(WeightNormalize{1, outputs, inputs, form}));
        make(outputs, inputs, form);
        EXPECT_TRUE(near_relative(
            w_,
            weight_reference(form, inputs, {v_.begin(), v_.end()}, {g_.begin(), g_.end()}, 1e-3),
            1e-7));
        std::vector<double> dv(v_.size()), dg(g_.size());
        for (std::size_t i = 0; i < dv.size(); ++i) dv[i] = difference(i, false);
        for (std::size_t i = 0; i < dg.size(); ++i) dg[i] = difference(i, true);
        EXPECT_TRUE(near_relative(dv_, dv, 1e-6, 1e-2));
        EXPECT_TRUE(near_relative(dg_, dg, 1e-6, 1e-2));
      }
}

TEST_P(WeightNormTest, AStandardizedFilterHasMeanZeroAndVarianceOneFarFromZeroToo) {
  make(2, 50, WeightForm::standardized, 1000.0f);
  for (std::size_t row = 0; row < 100; row += 50) {
    double mean = 0.0, square = 0.0;
    for (std::size_t i = row; i < row + 50; ++i) mean += static_cast<double>(w_[i]) / 50;
    for (std::size_t i = row; i < row + 50; ++i) square += (w_[i] - mean) * (w_[i] - mean);
    EXPECT_NEAR(mean, 0.0, 1e-6);
    EXPECT_NEAR(square / 50, 1.0, 3e-3);  // eps is 1e-3
  }
}

// Rows shorter than the limit have the constant scale, and its gradient.
TEST_P(WeightNormTest, AShortScaledFilterIsNotBlownUp) {
  v_.clear();
  make(2, 9, WeightForm::scaled);
  std::vector<float> small = v_;
  for (float& v : small) v *= 1e-3f;
  const Floats w = floats(18u), dv = floats(18u), dg = floats(2u), v = floats(small),
               g = floats(g_);
  const Doubles mean = doubles(2), scale = doubles(2);
  run(forward_, {v, g, w, mean, scale});
  run(WeightNormalizeBackward{1, 2, 9, WeightForm::scaled, 1e-3, kFactor},
      {floats(dw_), v, g, mean, scale, dv, dg});
  v_ = small;
  EXPECT_TRUE(near_relative(
      w.values(),
      weight_reference(WeightForm::scaled, 9, {v_.begin(), v_.end()}, {g_.begin(), g_.end()}, 1e-3),
      1e-6));
  std::vector<double> expected(18);
  for (std::size_t i = 0; i < 18; ++i) expected[i] = difference(i, false);
  EXPECT_TRUE(near_relative(dv.values(), expected, 1e-5, 1e-2));
}

TEST_P(WeightNormTest, TheLengthOfVIsWithoutInfluence) {
  make(2, 9, WeightForm::normalized);
  const auto first = w_;
  for (float& v : v_) v *= 4.0f;
  const Floats w = floats(18u);
  run(forward_, {floats(v_), floats(g_), w, nullptr, doubles(2)});
  EXPECT_TRUE(near_relative(w.values(), first, 1e-7));
  for (std::size_t row : {0u, 1u}) {  // so the gradient is at right angles to v
    double dot = 0.0;
    for (std::size_t i = 9 * row; i < 9 * row + 9; ++i)
      dot += static_cast<double>(v_[i]) * static_cast<double>(dv_[i]);
    EXPECT_NEAR(dot, 0.0, 1e-5);
  }
}

SYNCNORM_FOR_ALL_BACK_ENDS(WeightNormTest);

}  // namespace
}  // namespace syncnorm::test
