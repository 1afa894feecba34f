// See run_history.h.
#include "monitoring/run_history.h"

#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

#include "comm/json_values.h"

namespace syncnorm {

RunHistory read_run_history(const std::filesystem::path& run_dir) {
  RunHistory history;
  std::ifstream in(run_dir / "metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) continue;
    const auto number = [&](const char* key) {
      return json.contains(key) && json[key].is_number() ? json[key].get<double>() : 0.0;
    };
    const std::string event = text_of(json, "event");
    if (event == "start" && history.first_start == 0.0) history.first_start = number("time");
    if (event == "start" && number("first_step") > 0.0) history.restarts += 1.0;
    if (event == "step") history.step_seconds += number("seconds");
  }
  return history;
}

}  // namespace syncnorm
