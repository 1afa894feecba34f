// See flight_recorder.h: a ring buffer, whose mutex is almost never contended.
#include "comm/flight_recorder.h"

#include <algorithm>

#include "base/clock.h"

namespace syncnorm {

int FlightRecorder::name(const std::string& text) {
  const std::lock_guard lock(mutex_);
  const auto [found, is_new] = numbers_.try_emplace(text, static_cast<int>(names_.size()));
  if (is_new) names_.push_back(text);
  return found->second;
}

void FlightRecorder::record(FlightKind kind, int name, std::int64_t step, int instruction) {
  const double now = unix_seconds();
  const std::lock_guard lock(mutex_);
  const std::int64_t count = count_.load(std::memory_order_relaxed);
  entries_[static_cast<std::size_t>(count) % kEvents] = {now, kind, name, step, instruction};
  rests_.store(kind == FlightKind::rest, std::memory_order_relaxed);
  count_.store(count + 1, std::memory_order_relaxed);
}

std::vector<FlightEvent> FlightRecorder::last() const {
  const std::lock_guard lock(mutex_);
  const std::int64_t end = count_.load(std::memory_order_relaxed);
  std::vector<FlightEvent> events;
  for (std::int64_t i = std::max<std::int64_t>(0, end - std::int64_t{kEvents}); i < end; ++i) {
    const Entry& entry = entries_[static_cast<std::size_t>(i) % kEvents];
    events.push_back({i + 1, entry.time, entry.kind, entry.step, entry.instruction,
                      names_[static_cast<std::size_t>(entry.name)]});
  }
  return events;
}

}  // namespace syncnorm
