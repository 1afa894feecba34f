// See image_folder.h.
#include "engine/data/image_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "engine/data/byte_reader.h"
#include "engine/data/content_hash.h"
#include "kernels/error.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;

bool is_image(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

/// What lies in a folder, in the order of names; hidden entries are not looked at.
std::vector<fs::directory_entry> entries_of(const fs::path& folder) {
  std::vector<fs::directory_entry> entries;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (!at->path().filename().string().starts_with(".")) entries.push_back(*at);
  if (error)
    throw InputError(fmt::format("{}: cannot be listed: {}", folder.string(), error.message()));
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return a.path().filename().native() < b.path().filename().native();
  });
  return entries;
}

void list_class(const fs::directory_entry& folder, std::int32_t label, ImageListing& listing) {
  const std::size_t before = listing.files.size();
  const std::string name = folder.path().filename().string();
  for (const fs::directory_entry& entry : entries_of(folder.path())) {
    std::error_code error;
    if (!is_image(entry.path()) || !entry.is_regular_file(error)) continue;
    const std::uint64_t size = entry.file_size(error);
    listing.files.push_back(
        {name + "/" + entry.path().filename().string(), error ? 0 : size, label});
  }
  if (listing.files.size() == before)
    throw InputError(fmt::format(
        "{}: no images: expected files that end in .jpg, .jpeg or .png; remove the folder if it is "
        "no class",
        folder.path().string()));
}

ImageListing list_split(const fs::path& folder) {
  ImageListing listing;
  listing.folder = folder;
  for (const fs::directory_entry& entry : entries_of(folder)) {
    std::error_code error;
    if (!entry.is_directory(error)) continue;
    listing.classes.push_back(entry.path().filename().string());
    list_class(entry, static_cast<std::int32_t>(listing.classes.size()) - 1, listing);
  }
  if (listing.classes.empty())
    throw InputError(
        fmt::format("{}: no classes: expected a folder of images for each class", folder.string()));
  return listing;
}

void check_classes(const ImageListing& train, const ImageListing& test) {
  for (const auto& [one, other] : {std::pair(&train, &test), std::pair(&test, &train)})
    for (const std::string& name : one->classes)
      if (std::find(other->classes.begin(), other->classes.end(), name) == other->classes.end())
        throw InputError(
            fmt::format("{}: class \"{}\" of {} is missing; both splits need the same "
                        "class folders",
                        other->folder.string(), name, one->folder.string()));
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
    } catch (const InputError&) {
      throw CorruptImageError("cannot be read");
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

std::string fingerprint(const FolderListing& listing) {
  std::string text;
  for (const ImageListing* split : {&listing.train, &listing.test}) {
    for (const ImageListing::File& file : split->files)
      text += fmt::format("{}\n{}\n", file.name, file.size);
    text += "\n";
  }
  return fmt::format(
      "{:016x}", content_hash({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}));
}

}  // namespace

FolderListing list_image_folder(const fs::path& folder) {
  std::error_code error;
  const auto has = [&](const char* split) { return fs::is_directory(folder / split, error); };
  if (!has("train") || (!has("test") && !has("val")))
    throw InputError(
        fmt::format("{}: expected train/CLASS/IMAGE and test/CLASS/IMAGE (or val), "
                    "found no folder {}",
                    folder.string(), has("train") ? "test or val" : "train"));
  FolderListing listing = {list_split(folder / "train"),
                           list_split(folder / (has("test") ? "test" : "val"))};
  check_classes(listing.train, listing.test);
  return listing;
}

void load_image_folder(const DataConfig& config, Dataset& dataset) {
  const FolderListing listing = list_image_folder(config.path);
  dataset.train = image_set(listing.train, config.images);
  dataset.test = image_set(listing.test, config.images);
  dataset.fingerprint = fingerprint(listing);
}

}  // namespace syncnorm
