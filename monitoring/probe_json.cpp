// See probe_json.h.
#include "monitoring/probe_json.h"

#include <cmath>

namespace syncnorm {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : (value > 0 ? "inf" : "-inf");
}

Json numbers(const std::vector<double>& values) {
  Json json = Json::array();
  for (const double v : values) json.push_back(number(v));
  return json;
}

Json activation_json(const ActivationProbe& a) {
  Json json = {{"mean", number(a.mean)},
               {"deviation", number(a.deviation)},
               {"p15", number(a.p15)},
               {"p50", number(a.p50)},
               {"p85", number(a.p85)},
               {"low", number(a.low)},
               {"high", number(a.high)},
               {"histogram", numbers(a.histogram)},
               {"gaussian_divergence", number(a.gaussian_divergence)},
               {"histogram_divergence", number(a.histogram_divergence)},
               {"mean_shift", number(a.mean_shift)},
               {"deviation_ratio", number(a.deviation_ratio)}};
  if (a.saturated >= 0.0) json["saturated"] = a.saturated;
  if (a.dead >= 0.0) json["dead"] = a.dead;
  return json;
}

Json landscape_json(const LandscapeProbe& l) {
  return {{"alpha", numbers(l.alpha)},
          {"loss", numbers(l.loss)},
          {"predictiveness", numbers(l.predictiveness)},
          {"loss_low", number(l.loss_low)},
          {"loss_high", number(l.loss_high)},
          {"smoothness", number(l.smoothness)},
          {"lipschitz", number(l.lipschitz)}};
}

}  // namespace

Json probe_json(const ProbeEvent& event) {
  Json json = {{"event", "probe"}, {"step", event.step}, {"seconds", event.seconds}};
  for (const ActivationProbe& a : event.activations)
    json["activations"][a.layer] = activation_json(a);
  for (const GradientProbe& g : event.gradients)
    json["gradients"][g.layer] = {{"gradient_norm", number(g.gradient_norm)},
                                  {"update_ratio", number(g.update_ratio)}};
  if (!event.landscape.alpha.empty()) json["landscape"] = landscape_json(event.landscape);
  for (const CovariateShiftProbe& c : event.covariate_shift)
    json["covariate_shift"][c.layer] = {{"gradient_norm", number(c.gradient_norm)},
                                        {"distance", number(c.distance)},
                                        {"cosine", number(c.cosine)}};
  for (const SignalToNoiseProbe& s : event.signal_to_noise)
    json["signal_to_noise"][s.layer] = {
        {"signal", number(s.signal)}, {"noise", number(s.noise)}, {"ratio", number(s.ratio)}};
  for (const ReplicaSpreadProbe& r : event.replica_spread)
    json["replica_spread"][r.layer] = {{"mean", number(r.mean)}, {"variance", number(r.variance)}};
  return json;
}

}  // namespace syncnorm
