// Sorts and prints the collected mistakes.
#include "engine/config/problems.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "engine/config/suggest.h"

namespace syncnorm::config {

std::string Position::text() const {
  if (!source) return "default";
  if (line == 0) return source->name;
  return fmt::format("{}:{}:{}", source->name, line, column);
}

void Problems::add(const Position& position, const std::string& key, const std::string& text) {
  constexpr std::size_t kLongestKey = 200;
  problems_.push_back({position, shortened(key, kLongestKey), text});
}

void Problems::add_all(const Problems& others, const std::string& suffix) {
  for (const Problem& problem : others.problems_) {
    add(problem.position, problem.key, problem.text + suffix);
  }
}

std::string Problems::text() const {
  std::vector<Problem> sorted = problems_;
  const auto rank = [](const Problem& problem) {
    const Position& position = problem.position;
    return std::tuple(position.source ? position.source->order : -1, position.line,
                      position.column);
  };
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const Problem& a, const Problem& b) { return rank(a) < rank(b); });
  std::vector<std::string> lines;
  std::unordered_set<std::string> seen;
  for (const Problem& problem : sorted) {
    std::string line = problem.position.text() + ": ";
    if (!problem.key.empty()) line += problem.key + ": ";
    line += problem.text;
    if (seen.insert(line).second) lines.push_back(std::move(line));
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

void Problems::throw_if_any() const {
  if (!empty()) throw InputError(text());
}

}  // namespace syncnorm::config
