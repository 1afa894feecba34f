// Parses each argument as a separate source named "command line", so that problems print in order.
#include "engine/config/overrides.h"

#include <fmt/format.h>

#include <memory>

#include "engine/config/apply.h"
#include "engine/config/suggest.h"

namespace syncnorm::config {

std::vector<Override> parse_overrides(const std::vector<std::string>& arguments,
                                      Problems& problems) {
  constexpr int kAfterAllFiles = 1'000'000;
  std::vector<Override> overrides;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto source = std::make_shared<const Source>(
        Source{"command line", kAfterAllFiles + static_cast<int>(i)});
    const Position where{source, 0, 0};
    const std::string& argument = arguments[i];
    const std::size_t equals = argument.find('=');
    if (equals == std::string::npos) {
      const std::string colon = argument.find(':') == std::string::npos
                                    ? "write key.path=value"
                                    : "write = instead of the colon: key.path=value";
      problems.add(where, "", fmt::format("{} has no '='; {}", in_quotes(argument), colon));
      continue;
    }
    const std::string path = argument.substr(0, equals);
    if (path.empty()) {
      problems.add(
          where, "",
          fmt::format("{} has no key before '='; write key.path=value", in_quotes(argument)));
      continue;
    }
    // Prints a key as typed, unless it could corrupt the terminal.
    const bool printable = path.find_first_not_of(
                               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
                               "WXYZ0123456789_.-") == std::string::npos;
    if (!printable) {
      problems.add(where, "",
                   "a key has other characters than letters, digits, '_', '.' and '-'; "
                   "write key.path=value");
      continue;
    }
    Problems found;
    std::optional<ConfigNode> value = parse_yaml(argument.substr(equals + 1), source, path, found);
    problems.add_all(found);
    if (value) {
      overrides.push_back({path, std::move(*value)});
    } else if (found.empty()) {
      problems.add(where, path, "has no value; write " + path + "=value");
    }
  }
  return overrides;
}

void apply_overrides(const Schema& schema, const std::vector<Override>& overrides, int layer,
                     Draft& draft, Problems& problems) {
  for (const Override& override : overrides) {
    apply_setting(schema, override.path, override.value.position, override.value, layer, draft,
                  problems);
  }
}

}  // namespace syncnorm::config
