// Reads values from JSON of any origin: a value of the wrong type counts as missing.
#pragma once

#include <cstdint>
#include <string>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm {

/// Returns the text under a key, or `otherwise` when there is none or `json` is not an object.
template <class Json>
std::string text_of(const Json& json, const char* key, const std::string& otherwise = "") {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->template get<std::string>() : otherwise;
}

/// Returns the integer under a key of an object. Throws InputError "KEY: expected ..." unless it is
/// in [least, most].
template <class Json>
std::int64_t whole_number(const Json& json, const char* key, std::int64_t least,
                          std::int64_t most = INT64_MAX) {
  const auto found = json.find(key);
  if (found != json.end() && found->is_number_integer() &&
      (!found->is_number_unsigned() || found->template get<std::uint64_t>() <= INT64_MAX)) {
    const auto value = found->template get<std::int64_t>();
    if (value >= least && value <= most) return value;
  }
  throw InputError(fmt::format("{}: expected a whole number from {} to {}", key, least, most));
}

}  // namespace syncnorm
