// The worst error of the variance that SyncBN arrives at, for the ways in which systems combine the
// statistics of replicas, as a Markdown table (docs/normalization.md shows it).
//
// 512 channels, 8 replicas of 98 values each (2 maps of 7x7), inputs in f32, against the variance
// of the same inputs in f64. The combines of others are their published formulas, in f32 as they
// have them; local sums are pairwise and local statistics Welford's, as on their devices.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/device.h"
#include "kernels/norm_math.h"

namespace syncnorm {
namespace {

constexpr std::size_t kChannels = 512, kReplicas = 8, kValues = 98;
constexpr float kEps = 1e-5f;
constexpr unsigned kSeeds = 9;

/// [replica, value, channel]
using Batch = std::vector<float>;

float value(const Batch& x, std::size_t replica, std::size_t i, std::size_t channel) {
  return x[(replica * kValues + i) * kChannels + channel];
}

Batch random_batch(unsigned seed, double mean, double deviation) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal(mean, deviation);
  Batch x(kReplicas * kValues * kChannels);
  for (float& v : x) v = static_cast<float>(normal(engine));
  return x;
}

double exact_variance(const Batch& x, std::size_t c) {
  const double n = static_cast<double>(kReplicas * kValues);
  double mean = 0.0, m2 = 0.0;
  for (std::size_t i = c; i < x.size(); i += kChannels) mean += static_cast<double>(x[i]) / n;
  for (std::size_t i = c; i < x.size(); i += kChannels)
    m2 += (static_cast<double>(x[i]) - mean) * (static_cast<double>(x[i]) - mean);
  return m2 / n;
}

template <class Term>
float pairwise_sum(std::size_t begin, std::size_t end, const Term& term) {
  if (end - begin == 1) return term(begin);
  const std::size_t middle = begin + (end - begin) / 2;
  return pairwise_sum(begin, middle, term) + pairwise_sum(middle, end, term);
}

/// Sums of x and x² per replica, added: E[x²] − E[x]².
double from_squares(const Batch& x, std::size_t c) {
  float sum = 0.0f, square = 0.0f;
  for (std::size_t r = 0; r < kReplicas; ++r) {
    sum += pairwise_sum(0, kValues, [&](std::size_t i) { return value(x, r, i, c); });
    square += pairwise_sum(0, kValues,
                           [&](std::size_t i) { return value(x, r, i, c) * value(x, r, i, c); });
  }
  const float n = static_cast<float>(kReplicas * kValues), mean = sum / n;
  return static_cast<double>(square / n - mean * mean);
}

struct Statistics {
  float count = 0.0f, mean = 0.0f, m2 = 0.0f;
};

Statistics welford(const Batch& x, std::size_t replica, std::size_t c) {
  Statistics s;
  for (std::size_t i = 0; i < kValues; ++i) {
    s.count += 1.0f;
    const float delta = value(x, replica, i, c) - s.mean;
    s.mean += delta / s.count;
    s.m2 += delta * (value(x, replica, i, c) - s.mean);
  }
  return s;
}

/// Welford per replica, merged one after another in f32; what is sent is the variance, or, when
/// `through_inv_std`, 1/√(variance + eps), from which the receiver takes the variance back.
double merged(const Batch& x, std::size_t c, bool through_inv_std) {
  Statistics all;
  for (std::size_t r = 0; r < kReplicas; ++r) {
    Statistics one = welford(x, r, c);
    float variance = one.m2 / one.count;
    if (through_inv_std) {
      const float inv_std = 1.0f / std::sqrt(variance + kEps);
      const float deviation = 1.0f / inv_std;
      variance = deviation * deviation - kEps;
    }
    const float count = all.count + one.count, delta = one.mean - all.mean;
    all.m2 += variance * one.count + delta * delta * (all.count * one.count / count);
    all.mean = (all.count * all.mean + one.count * one.mean) / count;
    all.count = count;
  }
  return static_cast<double>(all.m2 / all.count);
}

/// The kernels of this project: f64 sums of every replica, added.
std::vector<double> ours(Device& device, const Batch& x) {
  const std::size_t width = 2 * kChannels + 1, part = kValues * kChannels;
  const auto kernel =
      device.compile(BatchMoments{1, static_cast<int>(kValues), static_cast<int>(kChannels)});
  std::vector<double> total(width), sums(width);
  for (std::size_t r = 0; r < kReplicas; ++r) {
    std::vector<float> local(x.begin() + static_cast<std::ptrdiff_t>(r * part),
                             x.begin() + static_cast<std::ptrdiff_t>((r + 1) * part));
    const std::array<void*, 2> args = {local.data(), sums.data()};
    kernel->run(args, {});
    for (std::size_t i = 0; i < width; ++i) total[i] += sums[i];
  }
  std::vector<double> variance;
  for (std::size_t c = 0; c < kChannels; ++c)
    variance.push_back(from_sums(total[0], total[1 + c], total[1 + kChannels + c]).variance);
  return variance;
}

constexpr std::size_t kMethods = 4;
const char* const kNames[kMethods] = {"Σx, Σx²", "Welford, 1/σ sent", "Welford, σ² sent",
                                      "syncnorm"};

/// Worst error over the channels, by method, of one batch; relative to variance + `eps`.
std::array<double, kMethods> worst_errors(Device& device, const Batch& x, double eps,
                                          std::size_t& negative) {
  std::array<double, kMethods> worst = {};
  const std::vector<double> own = ours(device, x);
  for (std::size_t c = 0; c < kChannels; ++c) {
    const double exact = exact_variance(x, c);
    const double found[kMethods] = {from_squares(x, c), merged(x, c, true), merged(x, c, false),
                                    own[c]};
    negative += found[0] < 0.0;
    for (std::size_t m = 0; m < kMethods; ++m)
      worst[m] = std::max(worst[m], std::abs(found[m] - exact) / (exact + eps));
  }
  return worst;
}

void print_row(Device& device, const char* name, double mean, double deviation, double eps) {
  std::array<std::vector<double>, kMethods> errors;
  std::size_t negative = 0;
  for (unsigned seed = 1; seed <= kSeeds; ++seed) {
    const auto worst = worst_errors(device, random_batch(seed, mean, deviation), eps, negative);
    for (std::size_t m = 0; m < kMethods; ++m) errors[m].push_back(worst[m]);
  }
  fmt::print("| {} |", name);
  for (std::vector<double>& e : errors) {
    std::sort(e.begin(), e.end());
    fmt::print(" {:.1e} / {:.1e} |", e[e.size() / 2], e.back());
  }
  fmt::print(" {:.0f}% |\n", 100.0 * static_cast<double>(negative) / (kSeeds * kChannels));
}

void print_table() {
  const std::unique_ptr<Device> device = make_cpu_device();
  fmt::print("{} seeds, median / worst; {}\n\n| mean/std |", kSeeds, device->description());
  for (const char* name : kNames) fmt::print(" {} |", name);
  fmt::print(" Σx, Σx² negative |\n|---|---|---|---|---|---|\n");
  print_row(*device, "0", 0.0, 1.0, 0.0);
  print_row(*device, "10²", 1e2, 1.0, 0.0);
  print_row(*device, "10³", 1e3, 1.0, 0.0);
  print_row(*device, "10⁴", 1e4, 1.0, 0.0);
  print_row(*device, "0, σ = 10⁻⁴: error of σ²", 0.0, 1e-4, 0.0);
  print_row(*device, "0, σ = 10⁻⁴: error of σ² + eps", 0.0, 1e-4, static_cast<double>(kEps));
}

}  // namespace
}  // namespace syncnorm

int main() { syncnorm::print_table(); }
