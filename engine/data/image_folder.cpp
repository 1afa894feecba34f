// See image_folder.h.
#include "engine/data/image_folder.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/printable.h"
#include "engine/data/byte_reader.h"
#include "engine/data/content_hash.h"
#include "engine/data/near_miss.h"
#include "engine/data/pack_index.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;

constexpr const char* kImageNames = ".jpg, .jpeg, .jfif or .png";

bool is_image(const std::string& name) {
  std::string extension = fs::path(name).extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".jpg" || extension == ".jpeg" || extension == ".jfif" || extension == ".png";
}

/// An entry of a folder, after following links.
struct Entry {
  enum class Kind { folder, file, special, unknown };
  std::string name;
  fs::path path;
  Kind kind = Kind::unknown;
  std::uint64_t size = 0;  // bytes, for a file
  std::string reason;      // why the kind is unknown
};

/// Lists one image folder, and collects all mistakes.
class Lister {
 public:
  ImageListing split(const fs::path& folder);
  /// Returns the entries of a folder, sorted by name, except hidden ones.
  std::vector<Entry> entries(const fs::path& folder);
  void check_classes(const ImageListing& train, const ImageListing& test);
  void beside_splits(const std::vector<Entry>& entries, const std::string& test);
  /// Throws InputError with all mistakes, if there are any.
  void expect_no_mistakes() const;
  void cannot_look(const Entry& entry) {
    mistakes_.push_back(fmt::format("{}: {}; mend or remove it",
                                    printable_name(entry.path.string()), entry.reason));
  }

  LeftOut left_out;

 private:
  static Entry look_at(const fs::path& path);
  void list_class(const Entry& folder, ImageListing& listing);
  void add_hidden(const Entry& entry) {
    const bool folder = entry.kind == Entry::Kind::folder;
    left_out.add(folder ? "hidden folder" : "hidden file",
                 folder ? "hidden folders" : "hidden files", entry.path.string());
  }

  std::vector<std::string> mistakes_;
};

Entry Lister::look_at(const fs::path& path) {
  Entry entry{path.filename().string(), path, Entry::Kind::unknown, 0, ""};
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    const int error = errno;
    std::error_code ignored;
    const bool dangling = error == ENOENT && fs::is_symlink(path, ignored);
    entry.reason = dangling ? fmt::format("is a link to {}, which is not there",
                                          fs::read_symlink(path, ignored).string())
                            : fmt::format("cannot be looked at: {}", std::strerror(error));
  } else if (S_ISDIR(status.st_mode)) {
    entry.kind = Entry::Kind::folder;
  } else if (S_ISREG(status.st_mode)) {
    entry.kind = Entry::Kind::file;
    entry.size = static_cast<std::uint64_t>(status.st_size);
  } else {
    entry.kind = Entry::Kind::special;
  }
  return entry;
}

std::vector<Entry> Lister::entries(const fs::path& folder) {
  std::vector<Entry> entries;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    Entry entry = look_at(at->path());
    if (entry.name.starts_with("."))
      add_hidden(entry);
    else
      entries.push_back(std::move(entry));
  }
  if (error)
    mistakes_.push_back(
        fmt::format("{}: cannot be listed: {}", printable_name(folder.string()), error.message()));
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

void Lister::list_class(const Entry& folder, ImageListing& listing) {
  const auto label = static_cast<std::int32_t>(listing.classes.size()) - 1;
  const std::size_t before = listing.files.size(), mistakes = mistakes_.size();
  LeftOut own;
  for (const Entry& entry : entries(folder.path)) {
    const std::string path = entry.path.string();
    switch (entry.kind) {
      case Entry::Kind::folder:
        own.add("folder inside a class", "folders inside classes", path);
        break;
      case Entry::Kind::special:
        own.add("special file", "special files", path);
        break;
      case Entry::Kind::unknown:
        if (is_image(entry.name))
          cannot_look(entry);
        else
          own.add("dangling link", "dangling links", path);
        break;
      case Entry::Kind::file:
        if (is_image(entry.name))
          listing.files.push_back({folder.name + "/" + entry.name, entry.size, label});
        else
          own.add_file(path);
    }
  }
  if (listing.files.size() == before && mistakes_.size() == mistakes) {
    const std::string instead = own.text();
    mistakes_.push_back(fmt::format(
        "{}: no images: expected files that end in {}; remove the folder if it is no class{}",
        printable_name(folder.path.string()), kImageNames,
        instead.empty() ? "" : " (" + instead + ")"));
  }
  left_out.add(own);
}

ImageListing Lister::split(const fs::path& folder) {
  ImageListing listing;
  listing.folder = folder;
  const std::size_t mistakes = mistakes_.size();
  for (const Entry& entry : entries(folder)) {
    const std::string path = entry.path.string();
    if (entry.kind == Entry::Kind::folder) {
      listing.classes.push_back(entry.name);
      list_class(entry, listing);
    } else if (entry.kind == Entry::Kind::unknown) {
      cannot_look(entry);  // an error, since it may be a class
    } else if (is_image(entry.name)) {
      left_out.add("image in no class", "images in no class", path);
    } else if (entry.kind == Entry::Kind::special) {
      left_out.add("special file", "special files", path);
    } else {
      left_out.add_file(path);
    }
  }
  if (listing.classes.empty() && mistakes_.size() == mistakes)
    mistakes_.push_back(fmt::format("{}: no classes: expected a folder of images for each class",
                                    printable_name(folder.string())));
  return listing;
}

void Lister::beside_splits(const std::vector<Entry>& entries, const std::string& test) {
  for (const Entry& entry : entries) {
    if (entry.name == "train" || entry.name == test) continue;
    if (entry.kind == Entry::Kind::folder)
      left_out.add(fmt::format("folder beside train and {}", test),
                   fmt::format("folders beside train and {}", test), entry.path.string());
    else
      left_out.add_file(entry.path.string());
  }
}

void Lister::check_classes(const ImageListing& train, const ImageListing& test) {
  for (const auto& [one, other] : {std::pair(&train, &test), std::pair(&test, &train)})
    for (const std::string& name : one->classes)
      if (!std::binary_search(other->classes.begin(), other->classes.end(), name))
        mistakes_.push_back(
            fmt::format("{}: class \"{}\" of {} is missing; both splits need the same "
                        "class folders",
                        printable_name(other->folder.string()), printable_name(name),
                        printable_name(one->folder.string())));
}

void Lister::expect_no_mistakes() const {
  constexpr std::size_t kTold = 10;
  if (mistakes_.empty()) return;
  std::string text;
  for (std::size_t i = 0; i < std::min(kTold, mistakes_.size()); ++i)
    text += (i > 0 ? "\n  " : "") + mistakes_[i];
  if (mistakes_.size() > kTold) text += fmt::format("\n  and {} more", mistakes_.size() - kTold);
  throw InputError(text);
}

class FolderFiles : public ImageFiles {
 public:
  explicit FolderFiles(const ImageListing& listing) : folder_(listing.folder) {
    for (const ImageListing::File& file : listing.files) names_.push_back(file.name);
  }
  std::string name(std::uint32_t sample) const override {
    return (folder_ / names_[sample]).string();
  }
  std::span<const std::uint8_t> read(std::uint32_t sample, ReadBuffer& buffer) const override {
    try {
      read_file(folder_ / names_[sample], buffer.bytes);
      return buffer.bytes;
    } catch (const ReadError&) {
      throw;
    } catch (const InputError&) {
      throw CorruptImageError(fmt::format("has more than {} bytes", kMaxDataBytes));
    }
  }

 private:
  fs::path folder_;
  std::vector<std::string> names_;
};

ImageSet image_set(const ImageListing& listing, const ImagesConfig& config) {
  std::vector<std::int32_t> labels;
  for (const ImageListing::File& file : listing.files) labels.push_back(file.label);
  return stored_image_set(std::make_unique<FolderFiles>(listing), std::move(labels),
                          listing.classes.size(), config);
}

}  // namespace

std::string folder_fingerprint(const FolderListing& listing) {
  std::string text;
  for (const ImageListing* split : {&listing.train, &listing.test}) {
    for (const ImageListing::File& file : split->files)
      text += fmt::format("{}\n{}\n", file.name, file.size);
    text += "\n";
  }
  return fmt::format(
      "{:016x}", content_hash({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}));
}

FolderListing list_image_folder(const fs::path& folder) {
  Lister lister;
  const std::vector<Entry> entries = lister.entries(folder);
  for (const Entry& entry : entries)
    if (entry.kind == Entry::Kind::unknown &&
        (entry.name == "train" || entry.name == "test" || entry.name == "val"))
      lister.cannot_look(entry);
  lister.expect_no_mistakes();
  const auto has = [&entries](const char* split) {
    return std::any_of(entries.begin(), entries.end(), [split](const Entry& entry) {
      return entry.name == split && entry.kind == Entry::Kind::folder;
    });
  };
  const std::string test = has("test") ? "test" : "val";
  if (std::error_code error; !has("train") && fs::exists(folder / kPackIndexName, error))
    throw InputError(fmt::format("{}: is a pack, not a folder of images; set data.dataset: packed",
                                 printable_name(folder.string())));
  if (!has("train") || !has(test.c_str())) {
    const std::vector<std::string> missing =
        has("train") ? std::vector<std::string>{"test", "val"} : std::vector<std::string>{"train"};
    throw InputError(
        fmt::format("{}: expected train/CLASS/IMAGE and test/CLASS/IMAGE (or val), "
                    "found no folder {}; {}",
                    printable_name(folder.string()), has("train") ? "test or val" : "train",
                    what_lies_in(folder, missing, {"train", "test", "val"})));
  }
  FolderListing listing = {lister.split(folder / "train"), lister.split(folder / test), {}};
  lister.check_classes(listing.train, listing.test);
  lister.beside_splits(entries, test);
  lister.expect_no_mistakes();
  listing.left_out = std::move(lister.left_out);
  return listing;
}

void load_image_folder(const DataConfig& config, Dataset& dataset) {
  const FolderListing listing = list_image_folder(config.path);
  dataset.train = image_set(listing.train, config.images);
  dataset.test = image_set(listing.test, config.images);
  dataset.fingerprint = folder_fingerprint(listing);
  if (const std::string left_out = listing.left_out.text(); !left_out.empty())
    dataset.notes.push_back(fmt::format("{}: {}", printable_name(config.path), left_out));
}

}  // namespace syncnorm
