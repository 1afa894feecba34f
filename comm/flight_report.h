// Flight records as files, one per rank, and what they say together: who held the others up.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "comm/flight_recorder.h"

namespace syncnorm {

/// What one rank leaves behind.
struct FlightRecord {
  std::string launch;  // equal on all ranks of a launch, unlike every other launch's
  int rank = 0;
  int ranks = 1;
  double time = 0.0;  // Unix, seconds
  std::string reason;
  std::vector<FlightEvent> events;  // the oldest first
  std::vector<std::string> stack;   // of the training thread, innermost first
};

/// Writes `folder`/rank-N.jsonl, whole or not at all. Throws InputError when it cannot.
void write_flight(const std::filesystem::path& folder, const FlightRecord& record);

/// The records of the newest launch in a folder, by rank. Lines that are no events are skipped.
/// Throws InputError when there are none.
std::vector<FlightRecord> read_flight(const std::filesystem::path& folder);

struct FlightVerdict {
  std::vector<int> ranks;  // who held the others up; empty: nobody in particular
  std::string text;        // in words, with the collective, its layer and the step
};

/// Looks for the earliest collective that a rank waits for and another has not started.
FlightVerdict judge_flight(const std::vector<FlightRecord>& records);

/// "bn1 statistics, step 3, instruction 7"
std::string flight_text(const FlightEvent& event);

}  // namespace syncnorm
