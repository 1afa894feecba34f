// See folder_lister.h.
#include "engine/data/folder_lister.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/printable.h"
#include "engine/data/byte_reader.h"
#include "engine/data/near_miss.h"
#include "engine/data/pack_index.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;
using Kind = FolderEntry::Kind;

FolderEntry look_at(const fs::path& path) {
  FolderEntry entry{path.filename().string(), path, Kind::unknown, 0, ""};
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    const int error = errno;
    std::error_code ignored;
    const bool dangling = error == ENOENT && fs::is_symlink(path, ignored);
    entry.reason = dangling ? fmt::format("is a link to {}, which is not there",
                                          fs::read_symlink(path, ignored).string())
                            : fmt::format("cannot be looked at: {}", std::strerror(error));
  } else if (S_ISDIR(status.st_mode)) {
    entry.kind = Kind::folder;
  } else if (S_ISREG(status.st_mode)) {
    entry.kind = Kind::file;
    entry.size = static_cast<std::uint64_t>(status.st_size);
  } else {
    entry.kind = Kind::special;
  }
  return entry;
}

}  // namespace

bool is_image_name(const std::string& name) {
  const std::string extension = lower_extension(name);
  return extension == ".jpg" || extension == ".jpeg" || extension == ".jfif" || extension == ".png";
}

std::span<const std::uint8_t> read_image_file(const fs::path& path, ReadBuffer& buffer) {
  try {
    read_file(path, buffer.bytes);
    return buffer.bytes;
  } catch (const ReadError&) {
    throw;
  } catch (const InputError&) {
    throw CorruptImageError(fmt::format("has more than {} bytes", kMaxDataBytes));
  }
}

void Mistakes::expect_none() const {
  constexpr std::size_t kTold = 10;
  if (texts_.empty()) return;
  std::string text;
  for (std::size_t i = 0; i < std::min(kTold, texts_.size()); ++i)
    text += (i > 0 ? "\n  " : "") + texts_[i];
  if (texts_.size() > kTold) text += fmt::format("\n  and {} more", texts_.size() - kTold);
  throw InputError(text);
}

void FolderLister::cannot_look(const FolderEntry& entry) {
  mistakes.add(
      fmt::format("{}: {}; mend or remove it", printable_name(entry.path.string()), entry.reason));
}

std::vector<FolderEntry> FolderLister::entries(const fs::path& folder) {
  std::vector<FolderEntry> entries;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    FolderEntry entry = look_at(at->path());
    const bool is_folder = entry.kind == Kind::folder;
    if (entry.name.starts_with("."))
      left_out.add(is_folder ? "hidden folder" : "hidden file",
                   is_folder ? "hidden folders" : "hidden files", entry.path.string());
    else
      entries.push_back(std::move(entry));
  }
  if (error)
    mistakes.add(
        fmt::format("{}: cannot be listed: {}", printable_name(folder.string()), error.message()));
  std::sort(entries.begin(), entries.end(),
            [](const FolderEntry& a, const FolderEntry& b) { return a.name < b.name; });
  return entries;
}

SplitFolders FolderLister::find_splits(const fs::path& folder, const std::string& layout) {
  SplitFolders splits{entries(folder), ""};
  for (const FolderEntry& entry : splits.entries)
    if (entry.kind == Kind::unknown &&
        (entry.name == "train" || entry.name == "test" || entry.name == "val"))
      cannot_look(entry);
  mistakes.expect_none();
  const auto has = [&splits](const std::string& split) {
    return std::any_of(splits.entries.begin(), splits.entries.end(),
                       [&split](const FolderEntry& entry) {
                         return entry.name == split && entry.kind == Kind::folder;
                       });
  };
  splits.test = has("test") ? "test" : "val";
  if (std::error_code error; !has("train") && fs::exists(folder / kPackIndexName, error))
    throw InputError(fmt::format("{}: is a pack, not a folder of images; set data.dataset: packed",
                                 printable_name(folder.string())));
  if (!has("train") || !has(splits.test)) {
    const std::vector<std::string> missing =
        has("train") ? std::vector<std::string>{"test", "val"} : std::vector<std::string>{"train"};
    throw InputError(fmt::format("{}: expected {} (or val), found no folder {}; {}",
                                 printable_name(folder.string()), layout,
                                 has("train") ? "test or val" : "train",
                                 what_lies_in(folder, missing, {"train", "test", "val"})));
  }
  return splits;
}

void FolderLister::leave_out_beside(const SplitFolders& splits,
                                    const std::vector<std::string>& known) {
  for (const FolderEntry& entry : splits.entries) {
    if (entry.name == "train" || entry.name == splits.test ||
        std::find(known.begin(), known.end(), entry.name) != known.end())
      continue;
    if (entry.kind == Kind::folder)
      left_out.add(fmt::format("folder beside train and {}", splits.test),
                   fmt::format("folders beside train and {}", splits.test), entry.path.string());
    else
      left_out.add_file(entry.path.string());
  }
}

}  // namespace syncnorm
