// See near_miss.h.
#include "engine/data/near_miss.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>
#include <system_error>

#include "base/printable.h"
#include "engine/config/suggest.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostEntries = 10'000;  // examined, in any order: enough for a hint
constexpr std::size_t kMostFolders = 100;

struct Found {
  std::string name;
  bool folder = false;
};

/// Returns the name in lower case, with every separator as a hyphen.
std::string plain(std::string_view name) {
  std::string text;
  for (const char c : name)
    text += c == '_' || c == '.' || c == ' '
                ? '-'
                : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool ends_in_any(const std::string& name, const auto& endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](std::string_view ending) { return plain(name).ends_with(plain(ending)); });
}

bool is_archive(const std::string& name) {
  constexpr std::array<std::string_view, 11> kEndings = {
      ".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z", ".bz2", ".xz", ".zst", ".lz4", ".Z"};
  return ends_in_any(name, kEndings);
}

/// Returns true for CIFAR in Python's pickle format: data_batch_1 without an extension, its folders
/// and archives.
bool is_python_form(const std::string& name) {
  return plain(name).starts_with("cifar-") && (plain(name).find("-python") != std::string::npos ||
                                               plain(name).find("batches-py") != std::string::npos);
}

bool is_table(const std::string& name) {
  constexpr std::array<std::string_view, 7> kEndings = {".parquet", ".arrow", ".csv", ".npz",
                                                        ".npy",     ".pt",    ".pkl"};
  return ends_in_any(name, kEndings);
}

bool is_unfinished(const std::string& name) {
  constexpr std::array<std::string_view, 4> kEndings = {".part", ".partial", ".crdownload", ".tmp"};
  return ends_in_any(name, kEndings);
}

/// Returns the wanted name of which `name` is a variation: one that it extends, or one at a small
/// edit distance, ignoring separators and case; "" for none.
std::string nearest(const std::string& name, const std::vector<std::string>& wanted) {
  constexpr std::size_t kLongest = 64;
  if (name.size() > kLongest) return "";
  const std::string own = plain(name);
  std::string best;
  for (const std::string& want : wanted)
    if (own.starts_with(plain(want)) && want.size() > best.size()) best = want;
  if (!best.empty()) return best;
  int best_distance = kLongest;
  for (const std::string& want : wanted) {
    const int distance = config::edit_distance(own, plain(want));
    if (distance > static_cast<int>(want.size() / 8) || distance >= best_distance) continue;
    best = want;
    best_distance = distance;
  }
  return best;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string listed(std::vector<Found> found) {
  constexpr std::size_t kNamed = 5;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min(kNamed, found.size()); ++i)
    names.push_back(config::shortened(printable_name(found[i].name), 60) +
                    (found[i].folder ? "/" : ""));
  const std::size_t more = found.size() - names.size();
  if (more > 0) return fmt::format("{} and {} more", fmt::join(names, ", "), more);
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i)
    text += (i == 0 ? "" : i + 1 == names.size() ? " and " : ", ") + names[i];
  return text;
}

/// Returns the first of `wanted` in a subfolder of `folder`, relative to `folder`; "" for none.
std::string below(const fs::path& folder, const std::vector<Found>& found,
                  const std::vector<std::string>& wanted) {
  std::size_t looked_at = 0;
  for (const Found& one : found) {
    if (!one.folder || ++looked_at > kMostFolders) continue;
    for (const std::string& name : wanted) {
      std::error_code error;
      if (fs::exists(folder / one.name / name, error)) return one.name + "/" + name;
    }
  }
  return "";
}

std::string hint(const fs::path& folder, const std::vector<Found>& found,
                 const std::vector<std::string>& wanted, const std::vector<std::string>& known) {
  if (const std::string file = below(folder, found, wanted); !file.empty())
    return fmt::format("it has {}: give {}", printable_name(file),
                       printable_name((folder / file).parent_path().string()));
  for (const Found& one : found) {
    const std::string name = printable_name(one.name);
    if (one.folder && contains(wanted, one.name))
      return fmt::format("{} is a folder there, not a file", name);
    if (contains(known, one.name)) continue;
    if (is_python_form(one.name) || contains(wanted, one.name + ".bin"))
      return fmt::format("it has {}, of the version for Python: get the binary version", name);
    if (is_archive(one.name)) return fmt::format("it has {}: unpack it", name);
    const std::string near = nearest(one.name, wanted);
    if (near.empty()) continue;
    if (is_unfinished(one.name)) return fmt::format("it has {}: finish the download", name);
    return fmt::format("it has {}: rename it to {}", name, near);
  }
  for (const Found& one : found)
    if (is_table(one.name))
      return fmt::format("it has {}, a form that is not read", printable_name(one.name));
  return "";
}

}  // namespace

std::string what_lies_in(const fs::path& folder, const std::vector<std::string>& wanted,
                         const std::vector<std::string>& known) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (status.type() == fs::file_type::not_found) return "there is no such folder";
  if (!error && !fs::is_directory(status)) return "it is a file; give the folder it lies in";
  std::vector<Found> found;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (found.size() == kMostEntries) break;
    std::error_code ignored;
    found.push_back({at->path().filename().string(), at->is_directory(ignored)});
  }
  if (error) return fmt::format("it cannot be listed: {}", error.message());
  std::erase_if(found, [](const Found& one) { return one.name.starts_with("."); });
  if (found.empty()) return "it is empty";
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.name < b.name; });
  const std::string text = hint(folder, found, wanted, known);
  return text.empty() ? "it has only " + listed(found) : text;
}

}  // namespace syncnorm
