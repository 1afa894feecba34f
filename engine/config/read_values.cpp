// Accepts one spelling per value. A spelling that other YAML readers would interpret is rejected,
// with the intended spelling as a hint.
#include "engine/config/read_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/printable.h"
#include "engine/config/paths.h"
#include "engine/config/source_text.h"
#include "engine/config/suggest.h"

namespace syncnorm::config {

namespace {

bool is_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// Reports lists, maps and quoted texts where a plain scalar is required.
bool expect_plain(const ConfigNode& node, const Field& field, const std::string& type) {
  if (node.kind != NodeKind::scalar) {
    field.fail(node, fmt::format("expected {}, got a {}; give one value", with_article(type),
                                 node.kind == NodeKind::list ? "list" : "map"));
    return false;
  }
  if (node.quoted) {
    field.fail(node, fmt::format("expected {}, got the text {}; remove the quotes",
                                 with_article(type), in_quotes(node.text)));
    return false;
  }
  return true;
}

/// Parses a decimal number as from_chars does: "1", "1.5", ".5", "1e-3". No sign "+", no
/// hexadecimals.
std::optional<double> to_double(std::string_view text, bool& overflows) {
  overflows = false;
  const std::size_t first = text.find_first_not_of('-');
  if (first == std::string_view::npos || first > 1) return std::nullopt;
  if (text[first] != '.' && !is_digits(text.substr(first, 1))) return std::nullopt;  // nan, inf
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size()) return std::nullopt;
  overflows = error == std::errc::result_out_of_range;
  if (error != std::errc{} && !overflows) return std::nullopt;
  return value;
}

bool is_nan_or_infinity(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (text.starts_with("+") || text.starts_with("-")) text.erase(0, 1);
  if (text.starts_with(".")) text.erase(0, 1);
  return text == "nan" || text == "inf" || text == "infinity";
}

/// Returns the probable meaning of another integer spelling: "1e3", "010", "1_000", "0x10", "+1";
/// or "".
std::string plain_integer(const std::string& text) {
  std::string digits = text.starts_with("+") ? text.substr(1) : text;
  std::uint64_t value = 0;
  if (digits.starts_with("0x") || digits.starts_with("0X")) {
    const auto [end, error] =
        std::from_chars(digits.data() + 2, digits.data() + digits.size(), value, 16);
    const bool whole = error == std::errc{} && end == digits.data() + digits.size();
    return whole ? std::to_string(value) : "";
  }
  digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
  if (is_digits(digits)) {
    digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
    return digits;
  }
  bool overflows = false;
  const std::optional<double> number = to_double(digits, overflows);
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (number && !overflows && *number >= 0 && *number <= kExact && std::floor(*number) == *number) {
    return fmt::format("{:.0f}", *number);
  }
  return "";
}

}  // namespace

bool NumberRange::contains(double value) const {
  const bool above = low_included ? value >= low : value > low;
  const bool below = high_included ? value <= high : value < high;
  return above && below;
}

std::string describe(const IntegerRange& range) {
  if (range.high == kLargestInt) return fmt::format("integer ≥ {}", range.low);
  return fmt::format("integer from {} to {}", range.low, range.high);
}

std::string describe(const NumberRange& range) {
  if (std::isinf(range.high)) {
    return fmt::format("number {} {}", range.low_included ? "≥" : ">", range.low);
  }
  return fmt::format("number in {}{}, {}{}", range.low_included ? '[' : '(', range.low, range.high,
                     range.high_included ? ']' : ')');
}

std::optional<std::uint64_t> read_integer(const ConfigNode& node, const Field& field,
                                          const IntegerRange& range) {
  if (!expect_plain(node, field, describe(range))) return std::nullopt;
  const std::string& text = node.text;
  const std::string digits = text.starts_with("-") ? text.substr(1) : text;
  const bool plain = is_digits(digits) && (digits.size() == 1 || digits[0] != '0');
  if (!plain) {
    const std::string meant = plain_integer(text);
    field.fail(node, meant.empty() ? fmt::format("{} is not an integer; give {}", in_quotes(text),
                                                 with_article(describe(range)))
                                   : fmt::format("{} is not a plain integer; write {}",
                                                 in_quotes(text), meant));
    return std::nullopt;
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool too_large = error != std::errc{} || (value > range.high && digits == text);
  if (too_large) {
    field.fail(node, fmt::format("{} is too large; give an integer from {} to {}", in_quotes(text),
                                 range.low, range.high));
    return std::nullopt;
  }
  if (digits != text || value < range.low) {
    field.fail(node, fmt::format("{} is out of range; give {}", in_quotes(text),
                                 with_article(describe(range))));
    return std::nullopt;
  }
  return value;
}

std::optional<double> read_number(const ConfigNode& node, const Field& field,
                                  const NumberRange& range) {
  if (!expect_plain(node, field, describe(range))) return std::nullopt;
  const std::string& text = node.text;
  const std::string wanted = with_article(describe(range));
  if (is_nan_or_infinity(text)) {
    field.fail(node, fmt::format("{} is not finite; give {}", in_quotes(text), wanted));
    return std::nullopt;
  }
  bool overflows = false;
  const std::optional<double> value = to_double(text, overflows);
  if (!value) {
    std::string pointed = text.starts_with("+") ? text.substr(1) : text;
    std::replace(pointed.begin(), pointed.end(), ',', '.');
    const bool meant = pointed != text && to_double(pointed, overflows) && !overflows;
    const std::string colon = colon_hint(text);
    const std::string hint = meant ? "write " + pointed : colon.empty() ? "give " + wanted : colon;
    field.fail(node, fmt::format("{} is not a number; {}", in_quotes(text), hint));
    return std::nullopt;
  }
  if (overflows) {
    field.fail(node, fmt::format("{} does not fit in 64 bits; give {}", in_quotes(text), wanted));
    return std::nullopt;
  }
  const double positive_zero = *value == 0.0 ? 0.0 : *value;  // -0 means 0
  if (!range.contains(positive_zero)) {
    field.fail(node, fmt::format("{} is out of range; give {}", in_quotes(text), wanted));
    return std::nullopt;
  }
  return positive_zero;
}

std::optional<bool> read_switch(const ConfigNode& node, const Field& field) {
  if (!expect_plain(node, field, "switch, true or false")) return std::nullopt;
  if (node.text == "true") return true;
  if (node.text == "false") return false;
  std::string lower = node.text;
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  const bool like_true =
      lower == "true" || lower == "yes" || lower == "on" || lower == "y" || lower == "1";
  const bool like_false =
      lower == "false" || lower == "no" || lower == "off" || lower == "n" || lower == "0";
  const std::string hint = like_true    ? "write true"
                           : like_false ? "write false"
                                        : "give true or false";
  field.fail(node, fmt::format("{} is not true or false; {}", in_quotes(node.text), hint));
  return std::nullopt;
}

std::optional<std::string> read_text(const ConfigNode& node, const Field& field) {
  if (node.kind != NodeKind::scalar) {
    field.fail(node, fmt::format("expected a text, got a {}; give one value",
                                 node.kind == NodeKind::list ? "list" : "map"));
    return std::nullopt;
  }
  if (node.text.empty()) {
    field.fail(node, "the text is empty; give it a value, or remove the key");
    return std::nullopt;
  }
  // Checks escapes such as "\xff"; the bytes of the file were checked earlier.
  if (printable_name(node.text) != node.text) {
    field.fail(node, fmt::format("{} has control characters; give a text on one line",
                                 in_quotes(node.text)));
    return std::nullopt;
  }
  return node.text;
}

std::optional<std::string> read_path(const ConfigNode& node, const Field& field) {
  const auto text = read_text(node, field);
  if (!text) return std::nullopt;
  try {
    return expand_path(*text);
  } catch (const InputError& error) {
    field.fail(node, error.what());
    return std::nullopt;
  }
}

std::optional<std::string> read_name(const ConfigNode& node, const Field& field) {
  const std::optional<std::string> text = read_text(node, field);
  if (!text) return std::nullopt;
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  const bool fits = text->find_first_not_of(kAllowed) == std::string::npos &&
                    text->front() != '.' && text->front() != '-' && text->size() <= 128;
  if (!fits) {
    const std::string colon = colon_hint(*text);
    field.fail(node, fmt::format("{} is not a name; {}", in_quotes(*text),
                                 colon.empty() ? "use at most 128 letters, digits, '.', '_' and "
                                                 "'-', and begin with none of '.' and '-'"
                                               : colon));
    return std::nullopt;
  }
  return text;
}

std::optional<std::size_t> read_word(const ConfigNode& node, const Field& field,
                                     const std::vector<std::string>& words) {
  if (node.kind != NodeKind::scalar) {
    field.fail(node, fmt::format("expected a word, got a {}; give {}",
                                 node.kind == NodeKind::list ? "list" : "map", either(words)));
    return std::nullopt;
  }
  const auto found = std::find(words.begin(), words.end(), node.text);
  if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
  const std::string guess = nearest(node.text, words);
  const std::string colon = colon_hint(node.text);
  const std::string hint = !colon.empty()  ? colon
                           : guess.empty() ? "give " + either(words)
                                           : fmt::format("did you mean {}? The choices are {}",
                                                         guess, fmt::join(words, ", "));
  field.fail(node, fmt::format("{} is not a choice; {}", in_quotes(node.text), hint));
  return std::nullopt;
}

bool expect_list(const ConfigNode& node, const Field& field) {
  if (node.kind == NodeKind::list) return true;
  field.fail(node, node.kind == NodeKind::map
                       ? std::string("expected a list, got a map; write [a, b]")
                       : fmt::format("expected a list, got {}; write [{}]", in_quotes(node.text),
                                     node.text.size() <= 40 ? node.text : "..."));
  return false;
}

namespace {

bool expect_count(const ConfigNode& node, const Field& field, std::size_t count) {
  if (!expect_list(node, field)) return false;
  if (count == kAnyCount || node.items.size() == count) return true;
  field.fail(node, fmt::format("has {} entries; give {}", node.items.size(), count));
  return false;
}

}  // namespace

std::optional<std::vector<int>> read_integer_list(const ConfigNode& node, const Field& field,
                                                  const IntegerRange& range, std::size_t count) {
  if (!expect_count(node, field, count)) return std::nullopt;
  std::vector<int> values;
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const Field item{fmt::format("{}[{}]", field.key, i), field.problems};
    const auto value = read_integer(node.items[i], item, range);
    if (value) values.push_back(static_cast<int>(*value));
  }
  if (values.size() != node.items.size()) return std::nullopt;
  return values;
}

std::optional<std::vector<double>> read_number_list(const ConfigNode& node, const Field& field,
                                                    const NumberRange& range, std::size_t count) {
  if (!expect_count(node, field, count)) return std::nullopt;
  std::vector<double> values;
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const Field item{fmt::format("{}[{}]", field.key, i), field.problems};
    if (const auto value = read_number(node.items[i], item, range)) values.push_back(*value);
  }
  if (values.size() != node.items.size()) return std::nullopt;
  return values;
}

std::string number_text(double value) {
  std::string text = fmt::format("{}", value);
  // YAML 1.1 readers take "1e-05" for a text; with a point it is a number for all.
  const std::size_t exponent = text.find('e');
  if (exponent != std::string::npos && text.find('.') == std::string::npos) {
    text.insert(exponent, ".0");
  }
  return text;
}

}  // namespace syncnorm::config
