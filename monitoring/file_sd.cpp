// See file_sd.h.
#include "monitoring/file_sd.h"

#include <unistd.h>

#include <charconv>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "monitoring/whole_file.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;
constexpr const char* kHint = "choose another metrics.file_sd_dir";

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

/// Returns the kernel's name of a process, or "" if it does not exist or is a zombie.
std::string process_name(pid_t process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string stat;
  std::getline(file, stat);
  const std::size_t begin = stat.find('('), end = stat.rfind(')');
  if (begin == std::string::npos || end == std::string::npos || end + 2 >= stat.size()) return "";
  return stat[end + 2] == 'Z' ? "" : stat.substr(begin + 1, end - begin - 1);
}

/// Removes the files of killed runs. When another run reuses a process number, the old file stays:
/// Prometheus then only shows a target that is down.
void remove_stale(const fs::path& folder, const std::string& prefix) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || entry.path().extension() != ".json") continue;
    pid_t process = 0;
    const char* end = name.data() + name.size() - 5;
    const auto [rest, bad] = std::from_chars(name.data() + prefix.size(), end, process);
    if (bad != std::errc() || rest != end || process <= 0) continue;
    if (process_name(process) != process_name(getpid())) fs::remove(entry.path(), error);
  }
}

}  // namespace

TargetFile::TargetFile(const fs::path& folder, const std::vector<ListenAddress>& addresses,
                       const std::string& run) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw InputError(
        fmt::format("{}: cannot be created ({}); {}", folder.string(), error.message(), kHint));
  const std::string prefix = fmt::format("syncnorm-{}-", host_name());
  remove_stale(folder, prefix);
  // Writes one target only: Prometheus would take every address for another instance of the run.
  ListenAddress first = addresses.front();
  const std::string target =
      first.is_any() ? fmt::format("{}:{}", host_name(), first.port) : first.text();
  const nlohmann::json entry = {{"targets", {target}}, {"labels", {{"__meta_syncnorm_run", run}}}};
  path_ = folder / fmt::format("{}{}.json", prefix, getpid());
  write_whole(path_, nlohmann::json::array({entry}).dump(2) + "\n", kHint);
}

TargetFile::~TargetFile() {
  std::error_code error;
  fs::remove(path_, error);
}

}  // namespace syncnorm
