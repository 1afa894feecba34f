// Parses faults and triggers them.
#include "engine/fault/faults.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string_view>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace syncnorm {
namespace {

constexpr std::chrono::seconds kSlow{2};

enum class FaultKind {
  kill,
  stop,
  segv,
  exit,
  exception,
  slow,
  nan,
  skip,
  flip,
  torn,
  short_write,
  enospc,
  eio
};

// In the order of the enumerations.
constexpr std::array kKinds = {"kill", "stop", "segv", "exit",  "exception", "slow", "nan",
                               "skip", "flip", "torn", "short", "enospc",    "eio"};
constexpr std::array kPlaces = {"forward", "statistics", "gradient", "update",
                                "save",    "evaluation", "shutdown"};

struct Fault {
  FaultKind kind = FaultKind::kill;
  int rank = 0;
  std::int64_t step = 0;
  FaultPlace place = FaultPlace::forward;
  int boundary = 1;
  std::string text;
};

bool can_be_at(FaultKind kind, FaultPlace place) {
  if (kind < FaultKind::nan) return true;
  const bool reduction = place == FaultPlace::statistics || place == FaultPlace::gradient;
  if (kind == FaultKind::nan) return reduction || place == FaultPlace::forward;
  if (kind == FaultKind::skip) return reduction;
  return place == FaultPlace::save || (kind == FaultKind::flip && place == FaultPlace::update);
}

[[noreturn]] void refuse(const std::string& text, const std::string& why) {
  throw InputError(
      fmt::format("--fault {}: {}; give kind@rank:step[:place], with a kind of {}; "
                  "and a place of {} (save.N: its N-th write boundary)",
                  text, why, fmt::join(kKinds, ", "), fmt::join(kPlaces, ", ")));
}

template <class Names>
int index_of(const Names& names, std::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? -1 : static_cast<int>(found - names.begin());
}

template <class Number>
bool read_number(std::string_view text, Number& number) {
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && rest == text.data() + text.size() && number >= 0;
}

/// Removes the part before `mark` from `rest` and returns it; without a mark, the whole rest.
std::string_view take(std::string_view& rest, char mark) {
  const std::size_t end = std::min(rest.find(mark), rest.size());
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return part;
}

Fault parse_fault(const std::string& text) {
  Fault fault;
  fault.text = text;
  std::string_view rest = text;
  const int kind = index_of(kKinds, take(rest, '@'));
  if (kind < 0) refuse(text, "no such kind");
  fault.kind = static_cast<FaultKind>(kind);
  if (!read_number(take(rest, ':'), fault.rank)) refuse(text, "the rank is not a number");
  if (!read_number(take(rest, ':'), fault.step)) refuse(text, "the step is not a number");
  if (rest.empty()) rest = kPlaces[0];
  const int place = index_of(kPlaces, take(rest, '.'));
  if (place < 0) refuse(text, "no such place");
  fault.place = static_cast<FaultPlace>(place);
  if (!rest.empty() && (fault.place != FaultPlace::save || !read_number(rest, fault.boundary)))
    refuse(text, "only save has numbers");
  if (!can_be_at(fault.kind, fault.place)) refuse(text, "this kind cannot happen there");
  return fault;
}

/// Performs the fault, or returns the effect that the caller must produce.
FaultEffect happen(const Fault& fault) {
  std::fputs(fmt::format("syncnorm: fault {}\n", fault.text).c_str(), stderr);
  switch (fault.kind) {
    case FaultKind::kill:
      std::raise(SIGKILL);
      break;
    case FaultKind::stop:
      std::raise(SIGSTOP);
      break;
    case FaultKind::segv:
      std::raise(SIGSEGV);
      break;
    case FaultKind::exit:
      std::_Exit(0);  // the worst case: it looks like success
    case FaultKind::exception:
      throw std::runtime_error("fault " + fault.text);
    case FaultKind::slow:
      std::this_thread::sleep_for(kSlow);
      break;
    case FaultKind::nan:
      return FaultEffect::nan;
    case FaultKind::skip:
      return FaultEffect::skip;
    case FaultKind::flip:
      return FaultEffect::flip;
    case FaultKind::torn:
      return FaultEffect::torn;
    case FaultKind::short_write:
      return FaultEffect::short_write;
    case FaultKind::enospc:
      return FaultEffect::no_space;
    case FaultKind::eio:
      return FaultEffect::io_error;
  }
  return FaultEffect::none;
}

class GivenFaults final : public Faults {
 public:
  explicit GivenFaults(std::vector<Fault> faults)
      : faults_(std::move(faults)), met_(faults_.size()) {}

  FaultEffect at(FaultPlace place, std::int64_t step, int boundary) override {
    for (std::size_t i = 0; i < faults_.size(); ++i) {
      const Fault& fault = faults_[i];
      const bool due = fault.place == place && fault.step == step && fault.boundary == boundary;
      if (due && !met_[i].exchange(true)) return happen(fault);
    }
    return FaultEffect::none;
  }

 private:
  std::vector<Fault> faults_;
  std::vector<std::atomic<bool>> met_;
};

}  // namespace

std::unique_ptr<Faults> make_faults(const std::vector<std::string>& texts, int rank) {
  std::vector<Fault> own;
  for (const std::string& text : texts)
    if (Fault fault = parse_fault(text); fault.rank == rank) own.push_back(std::move(fault));
  if (own.empty()) return nullptr;
  return std::make_unique<GivenFaults>(std::move(own));
}

}  // namespace syncnorm
