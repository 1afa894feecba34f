// See probe_figures.h.
#include "monitoring/report/probe_figures.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "monitoring/report/curves.h"

namespace syncnorm::report {
namespace {

using Json = nlohmann::ordered_json;

struct Banded {
  double value = 0.0, low = 0.0, high = 0.0;
};
/// Extracts a figure's value from one probe event; nan where it has none.
using Extract = std::function<Banded(const RunData& run, const Json& probe)>;

Banded plain(double value) { return {value, value, value}; }
Banded nothing() { return plain(std::nan("")); }

/// Averages curves like merge(), but averages the bands too: a band is the probe's, not over seeds.
Curve merged_bands(const std::vector<Curve>& curves) {
  Curve result = curves.front();
  std::size_t length = result.size();
  for (const Curve& curve : curves) length = std::min(length, curve.size());
  result.resize(length);
  const auto count = static_cast<double>(curves.size());
  for (std::size_t i = 0; i < length; ++i) {
    result[i].value = result[i].low = result[i].high = 0.0;
    for (const Curve& curve : curves) {
      result[i].value += curve[i].value / count;
      result[i].low += curve[i].low / count;
      result[i].high += curve[i].high / count;
    }
  }
  return result;
}

Figure figure_of(const StudyData& study, Figure figure, const Extract& extract) {
  figure.x = {"updates", "plain", "linear"};
  int color = 0;
  for (const Setting& setting : study.settings) {
    std::vector<Curve> curves;
    for (const RunData& run : setting.runs) {
      Curve curve;
      for (const Json& probe : run.probes) {
        const Banded b = extract(run, probe);
        curve.push_back({number_of(probe, "step"), 0.0, b.value, b.low, b.high});
      }
      if (!curve.empty()) curves.push_back(std::move(curve));
    }
    const std::string name = setting.label.empty() ? figure.y.label : setting.label;
    if (!curves.empty())
      figure.lines.push_back(to_line(merged_bands(curves), Over::steps, name, color));
    ++color;
  }
  return figure;
}

const Json kNone = Json::object();

const Json& part(const Json& probe, const char* what, const std::string& layer) {
  const auto section = probe.find(what);
  if (section == probe.end()) return kNone;
  if (layer.empty()) return *section;
  const auto found = section->find(layer);
  return found == section->end() ? kNone : *found;
}

/// Returns the list under a key, with nan for entries that are not numbers; empty when there is no
/// list.
std::vector<double> numbers_of(const Json& json, const char* key) {
  std::vector<double> numbers;
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array()) return numbers;
  for (const Json& v : *found) numbers.push_back(v.is_number() ? v.get<double>() : std::nan(""));
  return numbers;
}

/// Returns at most kMostLayers of the layers in a section of the probes, in the network's order.
std::vector<std::string> layers_of(const StudyData& study, const char* section) {
  std::vector<std::string> layers;
  for (const Setting& setting : study.settings)
    for (const RunData& run : setting.runs) {
      if (run.probes.empty()) continue;
      for (const auto& [layer, values] : part(run.probes.front(), section, "").items())
        if (std::find(layers.begin(), layers.end(), layer) == layers.end()) layers.push_back(layer);
    }
  std::vector<std::string> chosen;
  const std::size_t count = std::min(layers.size(), kMostLayers);
  for (std::size_t i = 0; i < count; ++i)
    chosen.push_back(layers[count == 1 ? 0 : i * (layers.size() - 1) / (count - 1)]);
  return chosen;
}

/// A figure per layer of one number over the updates.
struct LayerFigure {
  const char* title;
  const char* section;  // of the event
  const char* key;
  Axis y;
};

void add_layer_figures(const StudyData& study, const std::string& heading, const LayerFigure& what,
                       std::vector<Figure>& figures) {
  for (const std::string& layer : layers_of(study, what.section)) {
    Figure figure{heading, std::string(what.title) + layer, "", {}, what.y, {}, {}, {}, true};
    figures.push_back(figure_of(study, figure, [&](const RunData&, const Json& probe) {
      return plain(number_of(part(probe, what.section, layer), what.key));
    }));
  }
}

void add_percentiles(const StudyData& study, std::vector<Figure>& figures) {
  for (const std::string& layer : layers_of(study, "activations")) {
    Figure figure{"Activations",
                  "Input of " + layer,
                  "Line: median; band: 15th to 85th percentile.",
                  {},
                  {"value", "plain", "linear"},
                  {},
                  {},
                  {},
                  true};
    figures.push_back(figure_of(study, figure, [&](const RunData&, const Json& probe) {
      const Json& a = part(probe, "activations", layer);
      return Banded{number_of(a, "p50"), number_of(a, "p15"), number_of(a, "p85")};
    }));
  }
}

/// Adds the distribution of the values over equal ranges, from the last probe of each setting's
/// first run.
void add_histograms(const StudyData& study, std::vector<Figure>& figures) {
  for (const std::string& layer : layers_of(study, "activations")) {
    Figure figure{"Activations",
                  "Values of the input of " + layer,
                  "At the last probe, of the first seed.",
                  {"value", "plain", "linear"},
                  {"share of the values", "percent", "zero"},
                  {},
                  {},
                  {},
                  true};
    int color = -1;
    for (const Setting& setting : study.settings) {
      ++color;
      if (setting.runs.front().probes.empty()) continue;
      const Json& a = part(setting.runs.front().probes.back(), "activations", layer);
      const std::vector<double> counts = numbers_of(a, "histogram");
      if (counts.empty()) continue;
      const double low = number_of(a, "low"), high = number_of(a, "high");
      double all = 0.0;
      for (const double c : counts) all += c;
      Line line{
          setting.label.empty() ? "share of the values" : setting.label, color, {}, {}, {}, {}};
      for (std::size_t i = 0; i < counts.size(); ++i) {
        const double middle = (static_cast<double>(i) + 0.5) / static_cast<double>(counts.size());
        line.x.push_back(low + (high - low) * middle);
        line.y.push_back(counts[i] / all);
      }
      figure.lines.push_back(std::move(line));
    }
    figures.push_back(std::move(figure));
  }
}

double loss_of_step(const RunData& run, double step) {
  const auto row = std::find_if(run.steps.begin(), run.steps.end(),
                                [&](const StepRow& r) { return r.step == step; });
  return row == run.steps.end() ? std::nan("") : row->loss;
}

Banded range_of(const std::vector<double>& numbers) {
  if (numbers.empty()) return nothing();
  const Spread s = spread_of(numbers);
  return {s.mean, s.low, s.high};
}

void add_landscape(const StudyData& study, std::vector<Figure>& figures) {
  const auto add = [&](const char* title, const char* note, const char* label,
                       const Extract& extract) {
    Figure figure{"Loss landscape", title, note, {}, {label, "plain", "auto"}, {}, {}, {}, false};
    figures.push_back(figure_of(study, figure, extract));
  };
  add("Loss along the gradient",
      "Line: loss of the step; band: smallest and largest loss along the gradient.", "loss",
      [](const RunData& run, const Json& probe) {
        const Json& l = part(probe, "landscape", "");
        return Banded{l.empty() ? std::nan("") : loss_of_step(run, number_of(probe, "step")),
                      number_of(l, "loss_low"), number_of(l, "loss_high")};
      });
  add("Predictiveness of the gradient",
      "Distance between the gradient and the gradients after steps along it: mean and range over "
      "the steps; "
      "less is better.",
      "‖∇L(x) − ∇L(x − α∇L)‖₂", [](const RunData&, const Json& probe) {
        const Json& l = part(probe, "landscape", "");
        return range_of(numbers_of(l, "predictiveness"));
      });
  add("Effective β-smoothness", "Largest change of the gradient per distance.", "β",
      [](const RunData&, const Json& probe) {
        return plain(number_of(part(probe, "landscape", ""), "smoothness"));
      });
  add("Lipschitz estimate", "Largest change of the loss per distance.", "change per distance",
      [](const RunData&, const Json& probe) {
        return plain(number_of(part(probe, "landscape", ""), "lipschitz"));
      });
}

}  // namespace

std::vector<Figure> make_probe_figures(const StudyData& study) {
  const LayerFigure saturated{"Saturated values at the input of ",
                              "activations",
                              "saturated",
                              {"share of the values", "percent", "linear"}};
  const LayerFigure dead{"Dead channels at the input of ",
                         "activations",
                         "dead",
                         {"share of the channels", "percent", "linear"}};
  const LayerFigure shift{"Shift caused by the update, at the input of ",
                          "activations",
                          "histogram_divergence",
                          {"KL(old‖new), nats", "plain", "auto"}};
  const LayerFigure norm{"Gradient of ", "gradients", "gradient_norm", {"2-norm", "plain", "auto"}};
  const LayerFigure ratio{
      "Update of ", "gradients", "update_ratio", {"‖update‖ / ‖weights‖", "plain", "auto"}};
  const LayerFigure distance{
      "Covariate shift of ", "covariate_shift", "distance", {"‖G − G'‖₂", "plain", "auto"}};
  const LayerFigure cosine{"Alignment of the gradient before and after, ",
                           "covariate_shift",
                           "cosine",
                           {"cos(G, G')", "plain", "linear"}};
  const LayerFigure ratio_of_noise{"Signal to noise of the gradient of ",
                                   "signal_to_noise",
                                   "ratio",
                                   {"‖signal‖² / ‖noise‖²", "plain", "auto"}};
  const LayerFigure mean_spread{"Means of single replicas at the input of ",
                                "replica_spread",
                                "mean",
                                {"distance, in deviations", "plain", "auto"}};
  const LayerFigure variance_spread{"Variances of single replicas at the input of ",
                                    "replica_spread",
                                    "variance",
                                    {"distance, relative", "plain", "auto"}};
  std::vector<Figure> figures;
  add_percentiles(study, figures);
  add_histograms(study, figures);
  for (const LayerFigure& what : {saturated, dead, shift})
    add_layer_figures(study, "Activations", what, figures);
  for (const LayerFigure& what : {norm, ratio, ratio_of_noise})
    add_layer_figures(study, "Gradients", what, figures);
  for (const LayerFigure& what : {mean_spread, variance_spread})
    add_layer_figures(study, "Statistics of single replicas against those of all replicas", what,
                      figures);
  add_landscape(study, figures);
  for (const LayerFigure& what : {distance, cosine})
    add_layer_figures(study, "Internal covariate shift", what, figures);
  return figures;
}

}  // namespace syncnorm::report
