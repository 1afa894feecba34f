// Rows of the schema: each helper makes a SchemaKey from a path, an accessor to the member of
// Experiment, a range and a meaning.
//
// An accessor is a generic lambda, `[](auto& e) -> auto& { return e.data.limit; }`, so that it can
// both store (Experiment&) and print (const Experiment&).
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/config/schema.h"
#include "engine/config/suggest.h"

namespace syncnorm::config {

constexpr IntegerRange at_least(std::uint64_t low) { return {low, kLargestInt}; }
constexpr IntegerRange between(std::uint64_t low, std::uint64_t high) { return {low, high}; }

/// Returns the key with permission to change on resume.
inline SchemaKey free_on_resume(SchemaKey key) {
  key.free_on_resume = true;
  return key;
}

template <typename Access>
SchemaKey integer_key(std::string path, Access access, IntegerRange range, std::string meaning) {
  return {std::move(path), describe(range), std::move(meaning),
          [=](const ConfigNode& node, const Field& field, Draft& draft) {
            const auto value = read_integer(node, field, range);
            auto& target = access(draft.experiment);
            if (value) target = static_cast<std::remove_reference_t<decltype(target)>>(*value);
            return value.has_value();
          },
          [=](const Draft& draft) { return std::to_string(access(draft.experiment)); }};
}

/// Makes a key that prints nothing while it is 0, because its exclusive partner applies.
template <typename Access>
SchemaKey optional_integer_key(std::string path, Access access, IntegerRange range,
                               std::string meaning) {
  SchemaKey key = integer_key(std::move(path), access, range, std::move(meaning));
  key.print = [=](const Draft& draft) {
    const int value = access(draft.experiment);
    return value == 0 ? std::string() : std::to_string(value);
  };
  return key;
}

template <typename Access>
SchemaKey number_key(std::string path, Access access, NumberRange range, std::string meaning) {
  return {std::move(path), describe(range), std::move(meaning),
          [=](const ConfigNode& node, const Field& field, Draft& draft) {
            const auto value = read_number(node, field, range);
            if (value) access(draft.experiment) = *value;
            return value.has_value();
          },
          [=](const Draft& draft) { return number_text(access(draft.experiment)); }};
}

template <typename Access>
SchemaKey switch_key(std::string path, Access access, std::string meaning) {
  return {
      std::move(path), "true, false", std::move(meaning),
      [=](const ConfigNode& node, const Field& field, Draft& draft) {
        const auto value = read_switch(node, field);
        if (value) access(draft.experiment) = *value;
        return value.has_value();
      },
      [=](const Draft& draft) { return std::string(access(draft.experiment) ? "true" : "false"); }};
}

template <typename Access>
SchemaKey choice_key(std::string path, Access access, std::string meaning) {
  using E = std::remove_cvref_t<decltype(access(std::declval<Experiment&>()))>;
  const std::vector<std::string> words = words_of<E>(choices(E{}));
  return {std::move(path), fmt::format("{}", fmt::join(words, ", ")), std::move(meaning),
          [=](const ConfigNode& node, const Field& field, Draft& draft) {
            const auto value = read_choice<E>(node, field);
            if (value) access(draft.experiment) = *value;
            return value.has_value();
          },
          [=](const Draft& draft) { return std::string(name_of(access(draft.experiment))); }};
}

/// Makes a key whose text must be one of some words.
template <typename Access>
SchemaKey word_key(std::string path, Access access, std::span<const std::string_view> choices,
                   std::string meaning) {
  const std::vector<std::string> words(choices.begin(), choices.end());
  return {std::move(path), fmt::format("{}", fmt::join(words, ", ")), std::move(meaning),
          [=](const ConfigNode& node, const Field& field, Draft& draft) {
            const auto index = read_word(node, field, words);
            if (index) access(draft.experiment) = words[*index];
            return index.has_value();
          },
          [=](const Draft& draft) { return scalar_text(access(draft.experiment)); }};
}

template <typename Access>
SchemaKey text_key(std::string path, Access access, std::string type, std::string meaning) {
  return {std::move(path), std::move(type), std::move(meaning),
          [=](const ConfigNode& node, const Field& field, Draft& draft) {
            const auto value = read_text(node, field);
            if (value) access(draft.experiment) = *value;
            return value.has_value();
          },
          [=](const Draft& draft) { return scalar_text(access(draft.experiment)); }};
}

/// Makes a key for a file or folder; see paths.h for its expansion.
template <typename Access>
SchemaKey path_key(std::string path, Access access, std::string type, std::string meaning) {
  SchemaKey key = text_key(std::move(path), access, std::move(type), std::move(meaning));
  key.store = [access](const ConfigNode& node, const Field& field, Draft& draft) {
    const auto value = read_path(node, field);
    if (value) access(draft.experiment) = *value;
    return value.has_value();
  };
  return key;
}

/// Returns the key with permission to be "", which means none.
template <typename Access>
SchemaKey or_empty(SchemaKey key, Access access) {
  key.store = [access, full = key.store](const ConfigNode& node, const Field& field, Draft& draft) {
    const bool is_none = node.kind == NodeKind::scalar && node.quoted && node.text.empty();
    if (!is_none) return full(node, field, draft);
    access(draft.experiment).clear();
    return true;
  };
  return key;
}

template <typename Access>
SchemaKey optional_text_key(std::string path, Access access, std::string type,
                            std::string meaning) {
  return or_empty(text_key(std::move(path), access, std::move(type), std::move(meaning)), access);
}

template <typename Access>
SchemaKey optional_path_key(std::string path, Access access, std::string meaning) {
  return or_empty(path_key(std::move(path), access, "path, or `\"\"`", std::move(meaning)), access);
}

inline std::string list_type(const std::string& entry, std::size_t count) {
  return count == kAnyCount ? "list of: " + entry : fmt::format("list of {}: {}", count, entry);
}

template <typename Access>
SchemaKey integer_list_key(std::string path, Access access, IntegerRange range, std::string meaning,
                           std::size_t count = kAnyCount) {
  return {std::move(path), list_type(describe(range), count), std::move(meaning),
          [=](const ConfigNode& node, const Field& field, Draft& draft) {
            const auto values = read_integer_list(node, field, range, count);
            if (values) access(draft.experiment) = *values;
            return values.has_value();
          },
          [=](const Draft& draft) {
            return fmt::format("[{}]", fmt::join(access(draft.experiment), ", "));
          }};
}

template <typename Access>
SchemaKey number_list_key(std::string path, Access access, NumberRange range, std::size_t count,
                          std::string meaning) {
  return {std::move(path), list_type(describe(range), count), std::move(meaning),
          [=](const ConfigNode& node, const Field& field, Draft& draft) {
            const auto values = read_number_list(node, field, range, count);
            if (values) access(draft.experiment) = *values;
            return values.has_value();
          },
          [=](const Draft& draft) {
            std::vector<std::string> texts;
            for (const double value : access(draft.experiment)) texts.push_back(number_text(value));
            return fmt::format("[{}]", fmt::join(texts, ", "));
          }};
}

/// Makes a key for a list of distinct words of one enumeration.
template <typename Access>
SchemaKey choice_list_key(std::string path, Access access, std::string meaning) {
  using List = std::remove_cvref_t<decltype(access(std::declval<Experiment&>()))>;
  using E = typename List::value_type;
  const std::vector<std::string> words = words_of<E>(choices(E{}));
  return {std::move(path), fmt::format("list of: {}", fmt::join(words, ", ")), std::move(meaning),
          [=](const ConfigNode& node, const Field& field, Draft& draft) {
            if (!expect_list(node, field)) return false;
            List values;
            bool good = true;
            for (std::size_t i = 0; i < node.items.size(); ++i) {
              const Field item{fmt::format("{}[{}]", field.key, i), field.problems};
              const auto value = read_choice<E>(node.items[i], item);
              const bool twice =
                  value && std::find(values.begin(), values.end(), *value) != values.end();
              if (twice) {
                item.fail(node.items[i], fmt::format("{} is listed twice; list it once",
                                                     in_quotes(node.items[i].text)));
              }
              good = good && value && !twice;
              if (value && !twice) values.push_back(*value);
            }
            if (good) access(draft.experiment) = values;
            return good;
          },
          [=](const Draft& draft) {
            std::vector<std::string_view> names;
            for (const E value : access(draft.experiment)) names.push_back(name_of(value));
            return fmt::format("[{}]", fmt::join(names, ", "));
          }};
}

}  // namespace syncnorm::config
