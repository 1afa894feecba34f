// See run_history.h.
#include "monitoring/run_history.h"

#include <string>

#include <nlohmann/json.hpp>

#include "base/json_values.h"
#include "base/regular_file.h"

namespace syncnorm {

std::optional<std::string> read_run_file(const std::filesystem::path& run_dir,
                                         const std::string& name) {
  return read_text_file_if_there(run_dir / name, "give the folder of a run");
}

RunHistory read_run_history(const std::filesystem::path& run_dir) {
  RunHistory history;
  const std::string log = read_run_file(run_dir, "metrics.jsonl").value_or("");
  for_each_line(log, [&](std::string_view line) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) return;
    const auto number = [&](const char* key) {
      return json.contains(key) && json[key].is_number() ? json[key].get<double>() : 0.0;
    };
    const std::string event = text_of(json, "event");
    if (event == "start" && history.first_start == 0.0) history.first_start = number("time");
    if (event == "start" && number("first_step") > 0.0) history.restarts += 1.0;
    if (event == "step") history.step_seconds += number("seconds");
  });
  return history;
}

}  // namespace syncnorm
