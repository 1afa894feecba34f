// Drops brackets and spaces, as in "model.hidden=32,16". Only a name that loses information gets a
// hash.
#include "engine/config/run_name.h"

#include <fmt/format.h>

#include <cstdint>
#include <string_view>

namespace syncnorm::config {

namespace {

/// Returns FNV-1a, 64 bits, which is the same on every machine, unlike std::hash.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

}  // namespace

std::string unique_run_name(const std::vector<std::pair<std::string, std::string>>& settings,
                            std::set<std::string>& taken) {
  constexpr std::string_view kKept =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.=,-+";
  constexpr std::string_view kDropped = "[]{} \"";
  constexpr std::size_t kLongest = 160;  // bytes; file systems allow 255
  std::string text;
  for (const auto& [path, value] : settings) {
    text += (text.empty() ? "" : ",") + path + "=" + value;
  }
  std::string name;
  bool lossless = true;
  for (const char c : text) {
    if (kKept.find(c) != std::string_view::npos) {
      name += c;
    } else if (c == ':') {
      name += '=';
    } else if (kDropped.find(c) == std::string_view::npos) {
      name += '-';
      lossless = false;
    }
  }
  if (name.size() > kLongest) {
    name.resize(kLongest);
    lossless = false;
  }
  if (!lossless) name += fmt::format("-{:08x}", hash_of(text) & 0xFFFFFFFFu);
  std::string unique = name;
  for (int number = 2; !taken.insert(unique).second; ++number) {
    unique = fmt::format("{}-{}", name, number);
  }
  return unique;
}

}  // namespace syncnorm::config
