// Rejects bytes that no YAML reader should see, and reports their position.
#include "engine/config/source_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/regular_file.h"
#include "base/utf8.h"

namespace syncnorm::config {

namespace {

Position position_of(const SourcePointer& source, std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0, the first line
  return {source, static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1,
          static_cast<int>(offset - line_start) + 1};
}

bool is_forbidden_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t' && c != '\n' && c != '\r') || byte == 0x7F;
}

}  // namespace

std::string read_config_file(const std::filesystem::path& path, std::string& problem) {
  RegularFile file(path);
  std::string text = file.read_text(kLongestText + 1);
  const auto hint = [&] {
    switch (file.trouble()) {
      case FileTrouble::none:
        break;
      case FileTrouble::missing:
        return "check the path";
      case FileTrouble::folder:
        return "give a YAML file in it";
      case FileTrouble::not_regular:
        return "give a YAML file";
      case FileTrouble::unreadable:
        return "check its permissions";
    }
    return "";
  };
  if (file.trouble() != FileTrouble::none) problem = fmt::format("{}; {}", file.problem(), hint());
  return text;
}

std::optional<std::string> check_text(std::string text, const SourcePointer& source,
                                      const std::string& key, Problems& problems) {
  const Position whole{source, 0, 0};
  if (text.size() > kLongestText) {
    problems.add(whole, key, "is longer than 1 MiB; a configuration is a short text");
    return std::nullopt;
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  const std::size_t invalid = find_invalid_utf8(text);
  if (invalid != std::string_view::npos) {
    problems.add(position_of(source, text, invalid), key,
                 fmt::format("byte 0x{:02x} at offset {} is not UTF-8; save the file as UTF-8",
                             static_cast<unsigned char>(text[invalid]), invalid));
    return std::nullopt;
  }
  const auto control = std::find_if(text.begin(), text.end(), is_forbidden_control);
  if (control != text.end()) {
    const auto offset = static_cast<std::size_t>(control - text.begin());
    problems.add(position_of(source, text, offset), key,
                 fmt::format("control byte 0x{:02x} at offset {}; remove it",
                             static_cast<unsigned char>(*control), offset));
    return std::nullopt;
  }
  return text;
}

}  // namespace syncnorm::config
