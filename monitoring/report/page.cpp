// See page.h.
#include "monitoring/report/page.h"

#include <ctime>

#include <fmt/chrono.h>
#include <nlohmann/json.hpp>

#include "base/json_values.h"
#include "monitoring/report/assets.h"
#include "monitoring/report/examples.h"
#include "monitoring/report/figures.h"
#include "monitoring/report/words.h"

namespace syncnorm {
namespace {

using Json = nlohmann::ordered_json;

Json table_json(const report::Table& table) {
  return {{"columns", table.columns}, {"rows", table.rows}};
}

/// Formats a Unix time; "time unknown" outside the calendar.
std::string time_text(double seconds) {
  constexpr double kYear9999 = 253402300799.0;
  if (!(seconds >= 0.0 && seconds <= kYear9999)) return "time unknown";
  return fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

/// Lists model, data, machine, version and time, from the first run with a `start` event.
std::vector<std::string> facts(const report::StudyData& study) {
  std::vector<std::string> lines;
  for (const report::Setting& setting : study.settings) {
    for (const report::RunData& run : setting.runs) {
      if (run.start.empty()) continue;
      const double ranks = report::number_of(run.start, "ranks");
      lines.push_back(text_of(run.start, "model"));
      lines.push_back(fmt::format("data: {}, {} training images", run.value("data.dataset"),
                                  report::number_of(run.start, "train_samples")));
      lines.push_back(fmt::format("{} rank{} on {}", ranks, ranks == 1.0 ? "" : "s",
                                  text_of(run.start, "device")));
      lines.push_back(fmt::format("syncnorm {}, {}", text_of(run.start, "version"),
                                  time_text(report::number_of(run.start, "time"))));
      return lines;
    }
  }
  return lines;
}

/// Formats JSON so that it cannot end the script element that contains it. Bytes that are not
/// UTF-8, possible in folder names, are replaced.
std::string script_text(const Json& json) {
  std::string text;
  for (const char c : json.dump(-1, ' ', false, Json::error_handler_t::replace))
    text += c == '<' ? std::string("\\u003c") : std::string(1, c);
  return text;
}

void replace(std::string& text, const std::string& place, const std::string& with) {
  text.replace(text.find(place), place.size(), with);
}

}  // namespace

std::string report_page(const std::filesystem::path& folder) {
  const report::StudyData study = report::read_study(folder);
  Json data = {{"name", study.name},
               {"kind", study.is_study ? "study" : "run"},
               {"facts", facts(study)},
               {"warnings", report::warnings_of(study)},
               {"by_batch", table_json(report::accuracy_by_batch(study))},
               {"every_setting", table_json(report::every_setting(study))},
               {"to_target", table_json(report::updates_to_target(study))},
               {"by_class", table_json(report::result_per_class(study))},
               {"by_class_title", study.metric() == kMeanIouMetric
                                      ? "Intersection over union of test pixels, per class"
                                      : "Test accuracy per class"},
               {"examples", report::examples_of(study)},
               {"settings", table_json(report::changed_settings(study))},
               {"figures", Json::array()}};
  for (const report::Figure& figure : report::make_figures(study))
    data["figures"].push_back(report::to_json(figure));
  std::string page = report::kPageHtml;
  replace(page, "/*CSS*/", report::kPageCss);
  replace(page, "/*JS*/", report::kPageJs);
  replace(page, "/*DATA*/", script_text(data));
  return page;
}

}  // namespace syncnorm
