// See image_folder.h.
#include "engine/data/image_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/printable.h"
#include "engine/data/content_hash.h"
#include "engine/data/folder_lister.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;

using Kind = FolderEntry::Kind;

/// Lists one image folder, and collects all mistakes.
class Lister : public FolderLister {
 public:
  ImageListing split(const fs::path& folder);
  void check_classes(const ImageListing& train, const ImageListing& test);

 private:
  void list_class(const FolderEntry& folder, ImageListing& listing);
};

void Lister::list_class(const FolderEntry& folder, ImageListing& listing) {
  const auto label = static_cast<std::int32_t>(listing.classes.size()) - 1;
  const std::size_t before = listing.files.size(), known = mistakes.count();
  LeftOut own;
  for (const FolderEntry& entry : entries(folder.path)) {
    const std::string path = entry.path.string();
    switch (entry.kind) {
      case Kind::folder:
        own.add("folder inside a class", "folders inside classes", path);
        break;
      case Kind::special:
        own.add("special file", "special files", path);
        break;
      case Kind::unknown:
        if (is_image_name(entry.name))
          cannot_look(entry);
        else
          own.add("dangling link", "dangling links", path);
        break;
      case Kind::file:
        if (is_image_name(entry.name))
          listing.files.push_back({folder.name + "/" + entry.name, entry.size, label});
        else
          own.add_file(path);
    }
  }
  if (listing.files.size() == before && mistakes.count() == known) {
    const std::string instead = own.text();
    mistakes.add(fmt::format(
        "{}: no images: expected files that end in {}; remove the folder if it is no class{}",
        printable_name(folder.path.string()), kImageNames,
        instead.empty() ? "" : " (" + instead + ")"));
  }
  left_out.add(own);
}

ImageListing Lister::split(const fs::path& folder) {
  ImageListing listing;
  listing.folder = folder;
  const std::size_t known = mistakes.count();
  for (const FolderEntry& entry : entries(folder)) {
    const std::string path = entry.path.string();
    if (entry.kind == Kind::folder) {
      listing.classes.push_back(entry.name);
      list_class(entry, listing);
    } else if (entry.kind == Kind::unknown) {
      cannot_look(entry);  // an error, since it may be a class
    } else if (is_image_name(entry.name)) {
      left_out.add("image in no class", "images in no class", path);
    } else if (entry.kind == Kind::special) {
      left_out.add("special file", "special files", path);
    } else {
      left_out.add_file(path);
    }
  }
  if (listing.classes.empty() && mistakes.count() == known)
    mistakes.add(fmt::format("{}: no classes: expected a folder of images for each class",
                             printable_name(folder.string())));
  return listing;
}

void Lister::check_classes(const ImageListing& train, const ImageListing& test) {
  for (const auto& [one, other] : {std::pair(&train, &test), std::pair(&test, &train)})
    for (const std::string& name : one->classes)
      if (!std::binary_search(other->classes.begin(), other->classes.end(), name))
        mistakes.add(
            fmt::format("{}: class \"{}\" of {} is missing; both splits need the same "
                        "class folders",
                        printable_name(other->folder.string()), printable_name(name),
                        printable_name(one->folder.string())));
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
    return read_image_file(folder_ / names_[sample], buffer);
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
  const SplitFolders splits = lister.find_splits(folder, "train/CLASS/IMAGE and test/CLASS/IMAGE");
  FolderListing listing = {lister.split(folder / "train"), lister.split(folder / splits.test), {}};
  if (listing.train.classes == std::vector<std::string>{"images", "masks"})
    throw InputError(
        fmt::format("{}: has images and masks, not a folder for each class; set "
                    "data.dataset: segmentation_folder",
                    printable_name((folder / "train").string())));
  lister.check_classes(listing.train, listing.test);
  lister.leave_out_beside(splits);
  lister.mistakes.expect_none();
  listing.left_out = std::move(lister.left_out);
  return listing;
}

void load_image_folder(const DataConfig& config, Dataset& dataset) {
  const FolderListing listing = list_image_folder(config.path);
  dataset.train = image_set(listing.train, config.images);
  dataset.test = image_set(listing.test, config.images);
  dataset.class_names = listing.train.classes;
  dataset.fingerprint = folder_fingerprint(listing);
  if (const std::string left_out = listing.left_out.text(); !left_out.empty())
    dataset.notes.push_back(fmt::format("{}: {}", printable_name(config.path), left_out));
}

}  // namespace syncnorm
