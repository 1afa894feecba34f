// Flight records as files, one per rank, and the conclusion from all of them: which rank blocked
// the others.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "comm/flight_recorder.h"

namespace syncnorm {

/// The record of one rank.
struct FlightRecord {
  std::string launch;  // equal on all ranks of a launch, different for every other launch
  int rank = 0;
  int ranks = 1;
  double time = 0.0;  // Unix, seconds
  std::string reason;
  std::vector<FlightEvent> events;  // oldest first
  std::vector<std::string> stack;   // of the training thread, innermost first
};

/// Writes `folder`/rank-N.jsonl atomically. Throws InputError if it cannot.
void write_flight(const std::filesystem::path& folder, const FlightRecord& record);

/// Returns the records of the newest launch in a folder, by rank. Skips lines that are no events.
/// Throws InputError if there are none.
std::vector<FlightRecord> read_flight(const std::filesystem::path& folder);

struct FlightVerdict {
  std::vector<int> ranks;  // ranks that blocked the others; empty: none identified
  std::string text;        // explanation, with the collective, its layer and the step
};

/// Finds the earliest collective for which a rank waits and which another has not started.
FlightVerdict judge_flight(const std::vector<FlightRecord>& records);

/// Returns, for example, "bn1 statistics, step 3, instruction 7".
std::string flight_text(const FlightEvent& event);

}  // namespace syncnorm
