// See trace.h.
#include "engine/study/trace.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace syncnorm {
namespace {

double mean_of(const Values& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// Returns the divisor of a batch norm, before eps; the standard deviation is the biased one.
double deviation_of(const Values& values, double mean, const NormConfig& norm) {
  double squares = 0.0, sum = 0.0, largest = 0.0;
  for (const double v : values) {
    squares += (v - mean) * (v - mean);
    sum += std::abs(v - mean);
    largest = std::max(largest, std::abs(v - mean));
  }
  const auto count = static_cast<double>(values.size());
  switch (norm.deviation) {
    case Deviation::l2:
      return std::sqrt(squares / count);
    case Deviation::l1:
      return norm.l1_factor() * sum / count;
    case Deviation::linf:
      return largest;
  }
  return 0.0;
}

template <class F>
Values map(const Values& values, F function) {
  Values result(values.size());
  std::transform(values.begin(), values.end(), result.begin(), function);
  return result;
}

TraceLayer trace_layer(const Values& input, double weight, const NormConfig& norm) {
  TraceLayer layer;
  layer.weight = weight;
  layer.product = map(input, [&](double x) { return weight * x; });
  layer.mean = mean_of(layer.product);
  layer.deviation = deviation_of(layer.product, layer.mean, norm);
  if (norm.over_batch()) {
    const double divisor = std::sqrt(layer.deviation * layer.deviation + norm.eps);
    layer.normalized = map(
        layer.product, [&](double x) { return divisor == 0.0 ? 0.0 : (x - layer.mean) / divisor; });
  }
  layer.activated = map(layer.normalized.empty() ? layer.product : layer.normalized,
                        [](double x) { return std::max(x, 0.0); });
  return layer;
}

/// The lines of the table: a label, the values of a batch, their mean and their deviation.
class Table {
 public:
  Table(const TraceExample& example, int digits) : norm_(example.norm), digits_(digits) {}

  std::string header(std::size_t samples) const {
    std::string text = fmt::format("{:<{}}", "", kLabelWidth);
    for (std::size_t i = 1; i <= samples; ++i) text += column(fmt::format("sample {}", i));
    return text + column("mean") + column(deviation_name()) + "\n";
  }

  std::string row(const std::string& label, const Values& values) const {
    const double mean = mean_of(values);
    std::string text = fmt::format("{:<{}}", label, kLabelWidth);
    for (const double v : values) text += number(v);
    return text + number(mean) + number(deviation_of(values, mean, norm_)) + "\n";
  }

  std::string layers(const std::vector<TraceLayer>& layers) const {
    std::string text;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const TraceLayer& layer = layers[i];
      text += row(fmt::format("  layer {}, {:g} × input", i + 1, layer.weight), layer.product);
      if (!layer.normalized.empty()) text += row("    normalized", layer.normalized);
      text += row("    after ReLU", layer.activated);
    }
    return text;
  }

 private:
  static constexpr int kLabelWidth = 26;

  std::string column(const std::string& text) const {
    return fmt::format("{:>{}}", text, digits_ + 7);
  }
  std::string number(double value) const {
    const std::string text = fmt::format("{:.{}f}", value, digits_);
    const bool is_zero = text.find_first_not_of("-0.") == std::string::npos;
    return column(is_zero && text[0] == '-' ? text.substr(1) : text);
  }
  const char* deviation_name() const {
    switch (norm_.deviation) {
      case Deviation::l2:
        return "σ";
      case Deviation::l1:
        return "l1 dev.";
      case Deviation::linf:
        return "largest";
    }
    return "";
  }

  const NormConfig& norm_;
  int digits_;
};

constexpr const char* kNote =
    "\nσ is the biased standard deviation, √(Σ(x − mean)²/n), and eps is 0. In step 1, layer 1, it "
    "is\n√0.078125 = 0.2795. A rendering of this example that is often copied rounds it to 0.31 "
    "and puts two\nof the values after the ReLU in the wrong place; the normalized values are "
    "−0.447, 1.342, −1.342\nand 0.447, so that samples 1 and 3 become 0.\n";

bool is_worked_example(const TraceExample& example) {
  const TraceExample known = worked_example();
  return example.inputs == known.inputs && example.weights == known.weights &&
         example.norm.kind == known.norm.kind && example.norm.eps == known.norm.eps &&
         example.norm.deviation == known.norm.deviation;
}

}  // namespace

TraceExample worked_example() {
  TraceExample example;
  example.inputs = {{2.0, 3.0, 1.5, 2.5}, {2.2, 3.1, 1.8, 2.7}, {2.4, 3.2, 2.0, 2.8}};
  example.weights = {{0.5, 0.3, 0.2}, {0.8, 0.9, 1.1}};
  example.norm.eps = 0.0;
  return example;
}

std::vector<TraceLayer> trace_step(const TraceExample& example, std::size_t step,
                                   const NormConfig& norm) {
  std::vector<TraceLayer> layers;
  for (const std::vector<double>& weights : example.weights)
    layers.push_back(trace_layer(layers.empty() ? example.inputs[step] : layers.back().activated,
                                 weights[step], norm));
  return layers;
}

std::string trace_text(const TraceExample& example, int digits) {
  const Table table(example, digits);
  NormConfig none = example.norm;
  none.kind = NormKind::none;
  std::string text;
  for (std::size_t step = 0; step < example.inputs.size(); ++step) {
    text += fmt::format("{}step {}\n", step > 0 ? "\n" : "", step + 1);
    text += table.header(example.inputs[step].size());
    text += table.row("  input", example.inputs[step]);
    text += "without normalization\n" + table.layers(trace_step(example, step, none));
    if (example.norm.over_batch())
      text += "with batch normalization\n" + table.layers(trace_step(example, step, example.norm));
  }
  return is_worked_example(example) ? text + kNote : text;
}

}  // namespace syncnorm
