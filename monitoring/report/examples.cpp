// See examples.h.
#include "monitoring/report/examples.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "base/regular_file.h"
#include "monitoring/basic_auth.h"

namespace syncnorm::report {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
constexpr std::size_t kMostBytes = std::size_t{1} << 20;  // of a picture that is shown

std::vector<fs::path> pictures_in(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.path().extension() == ".png" && entry.is_regular_file(error))
      found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

Json images_of(const fs::path& folder, std::size_t most) {
  Json images = Json::array();
  for (const fs::path& path : pictures_in(folder)) {
    if (images.size() == most) break;
    std::error_code error;
    if (fs::file_size(path, error) > kMostBytes || error) continue;
    const std::string sample = path.stem().string();
    const std::string bytes = read_text_file(path, "write the report again");
    const std::size_t digits = std::min(sample.find_first_not_of('0'), sample.size() - 1);
    images.push_back({{"sample", sample.substr(digits)}, {"png", base64(bytes)}});
  }
  return images;
}

/// Returns the results of the classes of a run that is done: name and number, nan where a class has
/// none.
std::vector<std::pair<std::string, double>> classes_of(const RunData& run) {
  std::vector<std::pair<std::string, double>> results;
  const auto list = run.summary.find("classes");
  if (list == run.summary.end() || !list->is_array()) return results;
  const char* key = run.metric() == kMeanIouMetric ? "iou" : "accuracy";
  for (const auto& one : *list)
    if (one.is_object()) results.emplace_back(text_of(one, "class"), number_of(one, key));
  return results;
}

}  // namespace

Json examples_of(const StudyData& study) {
  constexpr std::size_t kSettings = 8, kOfEach = 3, kOfOne = 16;
  Json examples = {{"legend", Json::array()}, {"settings", Json::array()}};
  for (const Setting& setting : study.settings) {
    if (examples["settings"].size() == kSettings) break;
    for (const RunData& run : setting.runs) {
      const fs::path folder = run.folder / "examples";
      const Json images = images_of(folder, study.is_study ? kOfEach : kOfOne);
      if (images.empty()) continue;
      examples["settings"].push_back({{"name", setting.label}, {"images", images}});
      const auto legend =
          read_text_file_if_there(folder / "classes.json", "write the report again");
      if (examples["legend"].empty() && legend)
        examples["legend"] = Json::parse(*legend, nullptr, false);
      break;
    }
  }
  return examples;
}

Table result_per_class(const StudyData& study) {
  constexpr std::size_t kMost = 64;
  Table table{{"setting"}, {}};
  for (const Setting& setting : study.settings) {
    std::vector<std::string> names;
    std::map<std::string, std::vector<double>> values;
    for (const RunData& run : setting.runs)
      for (const auto& [name, value] : classes_of(run)) {
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
        if (std::isfinite(value)) values[name].push_back(value);
      }
    if (names.empty() || names.size() > kMost) continue;
    if (table.columns.size() == 1)
      table.columns.insert(table.columns.end(), names.begin(), names.end());
    std::vector<std::string> row = {setting.label.empty() ? study.name : setting.label};
    for (std::size_t c = 1; c < table.columns.size(); ++c) {
      const std::vector<double>& own = values[table.columns[c]];
      row.push_back(own.empty() ? "–" : fmt::format("{:.1f}%", 100.0 * spread_of(own).mean));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace syncnorm::report
