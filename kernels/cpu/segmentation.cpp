// The loss of pixels: loops.h computes exponentials and gradients in f32, a few hundred pixels at a
// time; their losses are added in f64.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/segmentation_math.h"

namespace syncnorm::cpu {
namespace {

constexpr std::size_t kRows = 512;

std::size_t rows_of(int samples, int pixels) {
  return static_cast<std::size_t>(samples) * static_cast<std::size_t>(pixels);
}

template <class S>
class PixelLossBody {
 public:
  PixelLossBody(const PixelLoss& op, const Loops& loops)
      : op_(op),
        loops_(loops),
        weight_(static_cast<std::size_t>(op.classes), 1.0f),
        slopes_(op.dice_weight > 0.0 ? static_cast<std::size_t>(op.classes) : 0) {
    if (!op.class_weights.empty())
      std::copy(op.class_weights.begin(), op.class_weights.end(), weight_.begin());
  }

  void operator()(const PointersOf<PixelLoss, S>& a, const StepState& state) {
    std::fill_n(a.totals, kLossTotals, 0.0);
    const double all = std::accumulate(weight_.begin(), weight_.end(), 0.0);
    const double total_weight = a.counts != nullptr ? weight_of_counts(a.counts) : 0.0;
    const double inverse = total_weight > 0.0 ? 1.0 / total_weight : 0.0;
    const double dice = prepare_dice(a.counts, a.dice);
    const double smooth_share = op_.label_smoothing / op_.classes;
    std::array<float, kRows> total, margin, spread;
    PixelLossArgs<S> args{};
    args.classes = op_.classes;
    args.weight = weight_.data();
    args.own = static_cast<float>((1.0 - op_.label_smoothing) * inverse);
    args.share = static_cast<float>(smooth_share * inverse);
    args.all = static_cast<float>(all);
    args.dice = slopes_.empty() || inverse == 0.0 ? nullptr : slopes_.data();
    args.total = total.data();
    args.margin = margin.data();
    args.spread = op_.label_smoothing > 0.0 ? spread.data() : nullptr;
    const std::size_t rows = rows_of(op_.samples, op_.pixels);
    const auto classes = static_cast<std::size_t>(op_.classes);
    for (std::size_t first = 0; first < rows; first += kRows) {
      args.rows = std::min(kRows, rows - first);
      args.logits = a.logits + first * classes;
      args.labels = a.mask + first;
      args.dlogits = a.dlogits != nullptr ? a.dlogits + first * classes : nullptr;
      a.totals[1] += static_cast<double>(loops_.of<S>().pixel_loss(args));
      for (std::size_t r = 0; r < args.rows; ++r) {
        if (args.labels[r] >= op_.classes) continue;
        const double weight = weight_[args.labels[r]], log_total = std::log(total[r]);
        double loss = (1.0 - op_.label_smoothing) * weight * (log_total + margin[r]);
        if (args.spread != nullptr) loss += smooth_share * (all * log_total + spread[r]);
        a.totals[0] += loss + weight * dice;
        a.totals[3] += 1.0;
        a.totals[4] += weight;
      }
    }
    a.totals[2] = state.vote;
  }

 private:
  double weight_of_counts(const double* counts) const {
    double sum = 0.0;
    for (std::size_t k = 0; k < weight_.size(); ++k) sum += weight_[k] * counts[k];
    return sum;
  }

  /// Sets the slopes and returns the weighted Dice loss; 0 without one.
  double prepare_dice(const double* counts, const double* sums) {
    if (slopes_.empty() || sums == nullptr || counts == nullptr) return 0.0;
    const double scale = op_.dice_weight / op_.classes;
    double loss = 0.0;
    for (std::size_t k = 0; k < slopes_.size(); ++k) {
      const double own = sums[k], all = sums[slopes_.size() + k];
      slopes_[k] = dice_slope(own, all, counts[k], scale);
      loss += scale * dice_loss(own, all, counts[k]);
    }
    return loss;
  }

  const PixelLoss op_;
  const Loops& loops_;
  std::vector<float> weight_;
  std::vector<DiceSlope> slopes_;
};

}  // namespace

template <>
KernelPtr compile(Context&, const PixelCounts& op) {
  return make_kernel<PixelCounts>([op](const auto& a, const StepState&) {
    std::array<std::size_t, 256> counts{};
    const std::size_t rows = rows_of(op.samples, op.pixels);
    for (std::size_t i = 0; i < rows; ++i) ++counts[a.mask[i]];
    for (int k = 0; k < op.classes; ++k)
      a.counts[k] = static_cast<double>(counts[static_cast<std::size_t>(k)]);
  });
}

template <>
KernelPtr compile(Context& context, const DiceSums& op) {
  return with_storage(op.storage, [&]<class S>() {
    const Loops& loops = context.loops;
    return make_kernel<DiceSums, S>([op, &loops](const auto& a, const StepState&) {
      std::fill_n(a.sums, 2 * op.classes, 0.0);
      loops.of<S>().dice_sums(a.logits, a.mask, rows_of(op.samples, op.pixels), op.classes, a.sums);
    });
  });
}

template <>
KernelPtr compile(Context& context, const PixelLoss& op) {
  return with_storage(op.storage, [&]<class S>() {
    return make_kernel<PixelLoss, S>(
        [body = PixelLossBody<S>(op, context.loops)](
            const auto& a, const StepState& state) mutable { body(a, state); });
  });
}

template <>
KernelPtr compile(Context&, const Predict& op) {
  return with_storage(op.storage, [&]<class S>() {
    return make_kernel<Predict, S>([op](const auto& a, const StepState&) {
      const std::size_t rows = rows_of(op.samples, op.pixels);
      const S* logits = a.logits;
      for (std::size_t r = 0; r < rows; ++r, logits += op.classes) {
        int best = 0;
        for (int k = 1; k < op.classes; ++k)
          if (read(logits[k]) > read(logits[best])) best = k;
        a.predictions[r] = best;
      }
    });
  });
}

}  // namespace syncnorm::cpu
