// See flight_report.h.
#include "comm/flight_report.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <system_error>
#include <tuple>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_values.h"
#include "base/regular_file.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
// Upper limit for a valid record; missing ranks are listed by number.
constexpr int kMostRanks = 1 << 16;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string text_of(const FlightRecord& record) {
  std::string text = dump({{"event", "flight"},
                           {"launch", record.launch},
                           {"rank", record.rank},
                           {"ranks", record.ranks},
                           {"time", record.time},
                           {"reason", record.reason}});
  for (const FlightEvent& event : record.events)
    text += dump({{"event", kFlightKinds[static_cast<std::size_t>(event.kind)]},
                  {"number", event.number},
                  {"time", event.time},
                  {"step", event.step},
                  {"instruction", event.instruction},
                  {"name", event.name}});
  for (const std::string& frame : record.stack)
    text += dump({{"event", "stack"}, {"frame", frame}});
  return text;
}

void read_line(const Json& json, FlightRecord& record) {
  const auto event = json.at("event").get<std::string>();
  if (event == "flight") {
    record.ranks = static_cast<int>(whole_number(json, "ranks", 1, kMostRanks));
    record.rank = static_cast<int>(whole_number(json, "rank", 0, record.ranks - 1));
    record.time = json.at("time").get<double>();
    record.reason = json.at("reason").get<std::string>();
    record.launch = json.at("launch").get<std::string>();  // last: makes the record valid
  } else if (event == "stack") {
    record.stack.push_back(json.at("frame").get<std::string>());
  } else {
    const auto kind = std::find(kFlightKinds.begin(), kFlightKinds.end(), event);
    if (kind == kFlightKinds.end()) return;
    record.events.push_back({whole_number(json, "number", 0), json.at("time").get<double>(),
                             static_cast<FlightKind>(kind - kFlightKinds.begin()),
                             whole_number(json, "step", 0),
                             static_cast<int>(whole_number(json, "instruction", -1, INT32_MAX)),
                             json.at("name").get<std::string>()});
  }
}

FlightRecord read_record(const fs::path& path) {
  FlightRecord record;
  const std::string text = read_text_file(path, "remove it, and look at the others' records");
  for_each_line(text, [&](std::string_view line) {
    try {
      read_line(Json::parse(line), record);
    } catch (const nlohmann::json::exception&) {
      // Ignores a torn line,
    } catch (const InputError&) {
      // and one with impossible numbers.
    }
  });
  return record;
}

/// Returns the position of an event in training.
std::pair<std::int64_t, int> position(const FlightEvent& event) {
  return {event.step, event.instruction};
}

/// Returns true if the rank of `record` has started the collective for which `wait` waits, or if
/// its events do not reach back that far.
bool took_part(const FlightRecord& record, const FlightEvent& wait) {
  const auto is_start = [&](const FlightEvent& event) {
    return event.kind == FlightKind::start && event.step == wait.step && event.name == wait.name;
  };
  if (std::any_of(record.events.begin(), record.events.end(), is_start)) return true;
  return !record.events.empty() && position(record.events.front()) > position(wait);
}

std::string ranks_text(const std::vector<int>& ranks) {
  return fmt::format("rank{} {}", ranks.size() == 1 ? "" : "s", fmt::join(ranks, ", "));
}

std::vector<int> silent_ranks(const std::vector<FlightRecord>& records) {
  std::vector<int> silent;
  for (int r = 0; !records.empty() && r < records.front().ranks; ++r)
    if (std::none_of(records.begin(), records.end(),
                     [&](const FlightRecord& record) { return record.rank == r; }))
      silent.push_back(r);
  return silent;
}

/// Returns the earliest event in which a rank is still waiting; null if none is.
const FlightEvent* earliest_wait(const std::vector<FlightRecord>& records) {
  const FlightEvent* earliest = nullptr;
  for (const FlightRecord& record : records) {
    if (record.events.empty() || record.events.back().kind != FlightKind::wait) continue;
    const FlightEvent& event = record.events.back();
    if (earliest == nullptr || position(event) < position(*earliest)) earliest = &event;
  }
  return earliest;
}

}  // namespace

std::string flight_text(const FlightEvent& event) {
  return event.instruction < 0 ? fmt::format("{}, step {}", event.name, event.step)
                               : fmt::format("{}, step {}, instruction {}", event.name, event.step,
                                             event.instruction);
}

void write_flight(const fs::path& folder, const FlightRecord& record) {
  std::error_code error;
  fs::create_directories(folder, error);
  const fs::path path = folder / fmt::format("rank-{}.jsonl", record.rank);
  const fs::path temporary = folder / fmt::format(".rank-{}.{}.tmp", record.rank, getpid());
  std::ofstream out(temporary, std::ios::trunc);
  out << text_of(record);
  out.close();
  if (out) fs::rename(temporary, path, error);
  if (out && !error) return;
  fs::remove(temporary, error);
  throw InputError(fmt::format("{}: the flight record cannot be written", path.string()));
}

std::vector<FlightRecord> read_flight(const fs::path& folder) {
  std::vector<FlightRecord> all;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("rank-") && name.ends_with(".jsonl"))
      if (FlightRecord record = read_record(entry.path()); !record.launch.empty())
        all.push_back(std::move(record));
  }
  if (all.empty())
    throw InputError(
        fmt::format("{}: there are no flight records (rank-N.jsonl) here", folder.string()));
  const std::string newest =
      std::max_element(all.begin(), all.end(), [](const auto& a, const auto& b) {
        return a.time < b.time;
      })->launch;
  std::erase_if(all, [&](const FlightRecord& record) { return record.launch != newest; });
  std::sort(all.begin(), all.end(),
            [](const FlightRecord& a, const FlightRecord& b) { return a.rank < b.rank; });
  return all;
}

FlightVerdict judge_flight(const std::vector<FlightRecord>& records) {
  FlightVerdict verdict;
  const FlightEvent* wait = earliest_wait(records);
  const std::vector<int> silent = silent_ranks(records);
  const std::string where = wait == nullptr ? "" : flight_text(*wait);
  if (!silent.empty()) {
    verdict.ranks = silent;
    verdict.text = fmt::format("{} left no record: stopped, or gone", ranks_text(silent));
    if (wait != nullptr) verdict.text += fmt::format("; the others wait for {}", where);
    return verdict;
  }
  for (const FlightRecord& record : records) {
    if (record.events.empty()) continue;
    const bool waits = record.events.back().kind == FlightKind::wait;
    if (wait == nullptr ? !waits : !took_part(record, *wait)) verdict.ranks.push_back(record.rank);
  }
  if (verdict.ranks.empty()) {
    verdict.text = fmt::format("all ranks take part in {}, and it does not end", where);
    return verdict;
  }
  const auto first = std::find_if(records.begin(), records.end(), [&](const FlightRecord& r) {
    return r.rank == verdict.ranks.front();
  });
  const std::string last = flight_text(first->events.back());
  verdict.text = wait == nullptr
                     ? fmt::format("{} is held up in {}", ranks_text(verdict.ranks), last)
                     : fmt::format("{} is missing from {}; its last event is {}",
                                   ranks_text(verdict.ranks), where, last);
  return verdict;
}

}  // namespace syncnorm
