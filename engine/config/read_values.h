// Converts scalars and lists of the tree to typed values, and checks their ranges.
//
// Every reader returns nothing after reporting a problem, as "problem; hint".
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config/names.h"
#include "engine/config/yaml_tree.h"

namespace syncnorm::config {

/// The key being read, and the list for its problems.
struct Field {
  std::string key;
  Problems* problems;

  void fail(const ConfigNode& node, const std::string& text) const {
    problems->add(node.position, key, text);
  }
};

inline constexpr std::uint64_t kLargestInt = std::numeric_limits<int>::max();

struct IntegerRange {
  std::uint64_t low = 0;
  std::uint64_t high = kLargestInt;
};

struct NumberRange {
  double low = 0.0;
  double high = std::numeric_limits<double>::infinity();
  bool low_included = true;
  bool high_included = true;

  bool contains(double value) const;
};

/// Return, for example, "integer ≥ 1" or "number in [0, 1)".
std::string describe(const IntegerRange& range);
std::string describe(const NumberRange& range);

std::optional<std::uint64_t> read_integer(const ConfigNode& node, const Field& field,
                                          const IntegerRange& range);
std::optional<double> read_number(const ConfigNode& node, const Field& field,
                                  const NumberRange& range);
std::optional<bool> read_switch(const ConfigNode& node, const Field& field);

/// Reads a text that is not empty and has no control characters.
std::optional<std::string> read_text(const ConfigNode& node, const Field& field);

/// Reads a text and expands it as a path (paths.h).
std::optional<std::string> read_path(const ConfigNode& node, const Field& field);

/// Reads a text of [A-Za-z0-9._-] that begins with a letter, a digit or `_`.
std::optional<std::string> read_name(const ConfigNode& node, const Field& field);

/// Returns the index of the word in `words`.
std::optional<std::size_t> read_word(const ConfigNode& node, const Field& field,
                                     const std::vector<std::string>& words);

/// Reads exactly `count` numbers, or any number of them.
inline constexpr std::size_t kAnyCount = 0;
std::optional<std::vector<int>> read_integer_list(const ConfigNode& node, const Field& field,
                                                  const IntegerRange& range,
                                                  std::size_t count = kAnyCount);
std::optional<std::vector<double>> read_number_list(const ConfigNode& node, const Field& field,
                                                    const NumberRange& range, std::size_t count);

/// Returns true for a list; otherwise reports a problem.
bool expect_list(const ConfigNode& node, const Field& field);

template <typename E>
std::vector<std::string> words_of(std::span<const Choice<E>> choices) {
  std::vector<std::string> words;
  for (const Choice<E>& choice : choices) words.emplace_back(choice.name);
  return words;
}

template <typename E>
std::optional<E> read_choice(const ConfigNode& node, const Field& field) {
  const auto index = read_word(node, field, words_of<E>(choices(E{})));
  if (!index) return std::nullopt;
  return choices(E{})[*index].value;
}

/// Returns the shortest text that reads back to the same bits: "0.1", "1.0e-05".
std::string number_text(double value);

}  // namespace syncnorm::config
