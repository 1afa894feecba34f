// See paths.h.
#include "engine/config/paths.h"

#include <cctype>
#include <cstdlib>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/config/suggest.h"

namespace syncnorm::config {
namespace {

bool begins_name(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool continues_name(char c) { return begins_name(c) || (c >= '0' && c <= '9'); }

std::string variable(const std::string& path, const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr)
    throw InputError(
        fmt::format("{}: the environment variable {} is not set; set it, or write "
                    "the folder itself",
                    in_quotes(path), name));
  return value;
}

/// Returns the home folder for a path that begins with `~`.
std::string home(const std::string& path) {
  if (path.size() > 1 && path[1] != '/')
    throw InputError(
        fmt::format("{}: only one's own home folder is known, as ~/; write others "
                    "out, and a name that begins with ~ as ./{}",
                    in_quotes(path), shortened(path, 40)));
  return variable(path, "HOME");
}

}  // namespace

std::string expand_path(const std::string& path) {
  std::string expanded;
  std::size_t at = 0;
  if (path.starts_with('~')) {
    expanded = home(path);
    at = 1;
  }
  while (at < path.size()) {
    const bool braced = path.compare(at, 2, "${") == 0;
    const std::size_t begin = at + (braced ? 2 : 1);
    if (path[at] != '$' || begin >= path.size() || !begins_name(path[begin])) {
      expanded += path[at++];
      continue;
    }
    std::size_t end = begin;
    while (end < path.size() && continues_name(path[end])) ++end;
    if (braced && (end == path.size() || path[end] != '}'))
      throw InputError(fmt::format("{}: after ${{ a name and }} are expected, such as ${{HOME}}",
                                   in_quotes(path)));
    expanded += variable(path, path.substr(begin, end - begin));
    at = end + (braced ? 1 : 0);
  }
  return expanded;
}

}  // namespace syncnorm::config
