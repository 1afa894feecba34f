// See whole_file.h.
#include "monitoring/whole_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm {

void write_whole(const std::filesystem::path& path, const std::string& text,
                 const std::string& hint) {
  // The process number, because two runs may write into one folder; a hidden name, because others
  // read all *.json or *.prom there.
  const std::filesystem::path temporary =
      path.parent_path() / fmt::format(".{}.{}.tmp", path.filename().string(), getpid());
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(temporary, path, error);
  if (out && !error) return;
  const std::string why = error ? error.message() : std::strerror(errno);
  std::filesystem::remove(temporary, error);
  throw InputError(fmt::format("{}: cannot be written ({}); {}", path.string(), why, hint));
}

}  // namespace syncnorm
