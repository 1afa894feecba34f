// See terminal.h.
#include "launch/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string>

#include "comm/communicator.h"

namespace syncnorm {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// Returns true when the locale's first variable that is set names UTF-8; "C" does not.
bool is_utf8_locale() {
  std::string name;
  for (const char* each : {"LC_ALL", "LC_CTYPE", "LANG"})
    if (name = variable(each); !name.empty()) break;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name.find("utf-8") != std::string::npos || name.find("utf8") != std::string::npos;
}

}  // namespace

bool can_redraw() {
  const std::string term = variable("TERM");
  return isatty(STDOUT_FILENO) == 1 && !term.empty() && term != "dumb" &&
         (!launched_by_mpi() || std::getenv("SYNCNORM_TERMINAL") != nullptr);
}

bool shows_ascii_only(int descriptor) { return isatty(descriptor) == 1 && !is_utf8_locale(); }

int terminal_columns() {
  constexpr int kUnknown = 1000;  // no window limits the width
  winsize size = {};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  const int said = std::atoi(variable("COLUMNS").c_str());
  if (known && said > 0) return std::min<int>(size.ws_col, said);
  return known ? size.ws_col : (said > 0 ? said : kUnknown);
}

}  // namespace syncnorm
