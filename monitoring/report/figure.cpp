// See figure.h.
#include "monitoring/report/figure.h"

#include <cmath>

namespace syncnorm::report {
namespace {

using Json = nlohmann::ordered_json;

Json numbers(const std::vector<double>& values) {
  Json json = Json::array();
  for (const double v : values) json.push_back(std::isfinite(v) ? Json(v) : Json(nullptr));
  return json;
}

Json axis(const Axis& axis) {
  return {{"label", axis.label}, {"format", axis.format}, {"scale", axis.scale}};
}

}  // namespace

Json to_json(const Figure& figure) {
  Json json = {{"section", figure.section},  {"title", figure.title}, {"note", figure.note},
               {"x", axis(figure.x)},        {"y", axis(figure.y)},   {"small", figure.is_small},
               {"parts", figure.part_names}, {"bars", Json::array()}, {"lines", Json::array()}};
  for (const Bar& bar : figure.bars)
    json["bars"].push_back({{"name", bar.name}, {"values", numbers(bar.parts)}});
  for (const Line& line : figure.lines)
    json["lines"].push_back({{"name", line.name},
                             {"color", line.color},
                             {"x", numbers(line.x)},
                             {"y", numbers(line.y)},
                             {"low", numbers(line.low)},
                             {"high", numbers(line.high)}});
  return json;
}

}  // namespace syncnorm::report
