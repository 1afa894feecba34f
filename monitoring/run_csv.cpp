// See run_csv.h.
#include "monitoring/run_csv.h"

#include <algorithm>
#include <array>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_values.h"
#include "base/printable.h"
#include "base/regular_file.h"
#include "monitoring/run_history.h"

namespace syncnorm {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::array<const char*, 4> kFirst = {"event", "step", "epoch", "split"};

std::string cell(const Json& event, const std::string& column) {
  const auto found = event.find(column);
  if (found == event.end()) return "";
  const std::string text =
      found->is_string() ? printable(found->get<std::string>()) : found->dump();
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

/// Returns the event with a value of its own for every entry of a list: "class_iou_0", ...
Json without_lists(const Json& event) {
  Json flat = Json::object();
  for (const auto& [key, value] : event.items()) {
    if (!value.is_array()) {
      flat[key] = value;
      continue;
    }
    for (std::size_t i = 0; i < value.size(); ++i) flat[fmt::format("{}_{}", key, i)] = value[i];
  }
  return flat;
}

}  // namespace

std::string run_csv(const std::filesystem::path& run_dir) {
  const auto log = read_run_file(run_dir, "metrics.jsonl");
  if (!log)
    throw InputError(
        fmt::format("{}: holds no metrics.jsonl; give the folder of a run", run_dir.string()));
  std::vector<Json> events;
  std::vector<std::string> columns(kFirst.begin(), kFirst.end());
  for_each_line(*log, [&](std::string_view line) {
    Json event = Json::parse(line, nullptr, false);
    if (!event.is_object()) return;  // the torn last line of a run that was killed, or still runs
    const std::string kind = text_of(event, "event");
    if (kind != "step" && kind != "eval") return;
    event = without_lists(event);
    for (const auto& entry : event.items())
      if (std::find(columns.begin(), columns.end(), entry.key()) == columns.end())
        columns.push_back(entry.key());
    events.push_back(std::move(event));
  });
  std::string text;
  for (std::size_t c = 0; c < columns.size(); ++c)
    text += (c > 0 ? "," : "") + printable(columns[c]);
  text += "\r\n";
  for (const Json& event : events) {
    for (std::size_t c = 0; c < columns.size(); ++c)
      text += (c > 0 ? "," : "") + cell(event, columns[c]);
    text += "\r\n";
  }
  return text;
}

}  // namespace syncnorm
