// See segmentation_folder.h.
#include "engine/data/segmentation_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/printable.h"
#include "base/regular_file.h"
#include "engine/data/byte_reader.h"
#include "engine/data/content_hash.h"
#include "engine/data/evaluation_size.h"
#include "engine/data/image_header.h"
#include "engine/data/png_codec.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;
using Kind = FolderEntry::Kind;

constexpr const char* kClassesName = "classes.txt";

std::string stem(const FolderEntry& entry) { return entry.path.stem().string(); }

std::string shown(const fs::path& path) { return printable_name(path.string()); }

/// Lists one folder of pairs, and collects all mistakes.
class PairLister : public FolderLister {
 public:
  PairListing split(const fs::path& folder);
  std::vector<std::string> class_names(const fs::path& file);

 private:
  std::map<std::string, FolderEntry> by_stem(const fs::path& folder);
  void check_pair(PairListing::File& file, const fs::path& folder);
};

/// Returns the images of a folder by their stems.
std::map<std::string, FolderEntry> PairLister::by_stem(const fs::path& folder) {
  std::map<std::string, FolderEntry> found;
  for (FolderEntry& entry : entries(folder)) {
    const std::string path = entry.path.string();
    if (entry.kind == Kind::folder) {
      left_out.add("folder inside images or masks", "folders inside images or masks", path);
    } else if (entry.kind == Kind::special) {
      left_out.add("special file", "special files", path);
    } else if (!is_image_name(entry.name)) {
      if (entry.kind == Kind::file)
        left_out.add_file(path);
      else
        left_out.add("dangling link", "dangling links", path);
    } else if (entry.kind == Kind::unknown) {
      cannot_look(entry);
    } else if (const auto [same, is_new] = found.try_emplace(stem(entry), entry); !is_new) {
      mistakes.add(
          fmt::format("{}: has the name of {}, and a mask belongs to one image; rename or "
                      "remove one",
                      shown(entry.path), printable_name(same->second.name)));
    }
  }
  return found;
}

/// Reads both headers. An image without a readable header is left to decoding, which says why.
void PairLister::check_pair(PairListing::File& file, const fs::path& folder) {
  try {
    const ImageHeader image = read_image_header(folder / file.image);
    file.height = image.height;
    file.width = image.width;
    const ImageHeader mask = read_image_header(folder / file.mask);
    std::string problem = mask_problem(mask);
    if (problem.empty() && image.height > 0)
      problem = size_problem(mask.height, mask.width, image.height, image.width);
    if (!problem.empty()) mistakes.add(fmt::format("{}: {}", shown(folder / file.mask), problem));
  } catch (const ReadError& error) {
    mistakes.add(error.what());
  }
}

PairListing PairLister::split(const fs::path& folder) {
  PairListing listing;
  listing.folder = folder;
  const std::size_t known = mistakes.count();
  const std::map<std::string, FolderEntry> images = by_stem(folder / "images");
  const std::map<std::string, FolderEntry> masks = by_stem(folder / "masks");
  for (const FolderEntry& entry : entries(folder))
    if (entry.name != "images" && entry.name != "masks")
      left_out.add(entry.kind == Kind::folder ? "folder beside images and masks"
                                              : "file beside images and masks",
                   entry.kind == Kind::folder ? "folders beside images and masks"
                                              : "files beside images and masks",
                   entry.path.string());
  for (const auto& [name, image] : images) {
    const auto mask = masks.find(name);
    if (mask == masks.end()) {
      mistakes.add(fmt::format("{}: has no mask; expected {}", shown(image.path),
                               shown(folder / "masks" / (name + ".png"))));
      continue;
    }
    listing.files.push_back({"images/" + image.name, "masks/" + mask->second.name, image.size,
                             mask->second.size, 0, 0});
    check_pair(listing.files.back(), folder);
  }
  for (const auto& [name, mask] : masks)
    if (!images.contains(name))
      mistakes.add(fmt::format("{}: has no image; expected {} (or .png)", shown(mask.path),
                               shown(folder / "images" / (name + ".jpg"))));
  if (listing.files.empty() && mistakes.count() == known)
    mistakes.add(
        fmt::format("{}: no images: expected files that end in {} in images, and .png in "
                    "masks",
                    shown(folder), kImageNames));
  std::sort(listing.files.begin(), listing.files.end(),
            [](const auto& a, const auto& b) { return a.image < b.image; });
  return listing;
}

std::vector<std::string> PairLister::class_names(const fs::path& file) {
  std::vector<std::string> names;
  const std::optional<std::string> text =
      read_text_file_if_there(file, "give a class a line, or remove it");
  if (!text) return names;
  for_each_line(*text, [&names](std::string_view line) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    names.emplace_back(line);
  });
  while (!names.empty() && names.back().empty()) names.pop_back();
  const auto blank = std::find(names.begin(), names.end(), "");
  if (blank != names.end())
    mistakes.add(fmt::format("{}: line {} is blank; expected the name of class {}", shown(file),
                             blank - names.begin() + 1, blank - names.begin()));
  if (names.size() < 2 || names.size() > kMostMaskClasses)
    mistakes.add(fmt::format("{}: has {} names; expected 2 to {}, one a line", shown(file),
                             names.size(), kMostMaskClasses));
  return names;
}

class PairFiles : public ImageFiles {
 public:
  explicit PairFiles(PairListing listing) : listing_(std::move(listing)) {}
  std::string name(std::uint32_t sample) const override { return image(sample).string(); }
  std::span<const std::uint8_t> read(std::uint32_t sample, ReadBuffer& buffer) const override {
    return read_image_file(image(sample), buffer);
  }
  std::string mask_name(std::uint32_t sample) const override { return mask(sample).string(); }
  std::span<const std::uint8_t> read_mask(std::uint32_t sample, ReadBuffer& buffer) const override {
    return read_image_file(mask(sample), buffer);
  }

 private:
  fs::path image(std::uint32_t sample) const {
    return listing_.folder / listing_.files[sample].image;
  }
  fs::path mask(std::uint32_t sample) const {
    return listing_.folder / listing_.files[sample].mask;
  }

  PairListing listing_;
};

/// Decodes the masks of a split; returns the largest label.
int check_split(const PairListing& listing, int classes, int ignore_label, Mistakes& mistakes) {
  ReadBuffer buffer;
  MaskImage mask;
  int largest = -1;
  for (const PairListing::File& file : listing.files) {
    const fs::path path = listing.folder / file.mask;
    try {
      decode_mask(read_image_file(path, buffer), mask);
      check_labels(mask, classes, ignore_label);
      for (const std::uint8_t label : mask.pixels)
        largest = std::max(largest, label == kIgnoredPixel ? -1 : int{label});
    } catch (const CorruptImageError& error) {
      mistakes.add(fmt::format("{}: {}", shown(path), printable_name(error.what())));
    } catch (const ReadError& error) {
      mistakes.add(error.what());
    }
  }
  return largest;
}

ImageSet pair_set(const PairListing& listing, const StoredMasks& masks, const DataConfig& config) {
  return stored_pair_set(std::make_unique<PairFiles>(listing), listing.files.size(), masks, config);
}

}  // namespace

bool is_segmentation_folder(const fs::path& folder) {
  std::error_code error;
  return fs::is_directory(folder / "train" / "images", error) &&
         fs::is_directory(folder / "train" / "masks", error);
}

SegmentationListing list_segmentation_folder(const fs::path& folder) {
  PairLister lister;
  const SplitFolders splits = lister.find_splits(
      folder, "train/images/NAME.jpg, train/masks/NAME.png, and the same in test");
  for (const std::string& split : {std::string("train"), splits.test})
    for (const char* part : {"images", "masks"})
      if (std::error_code error; !fs::is_directory(folder / split / part, error))
        lister.mistakes.add(fmt::format("{}: there is no folder {}; expected images and masks",
                                        shown(folder / split), part));
  lister.mistakes.expect_none();
  SegmentationListing listing{lister.split(folder / "train"),
                              lister.split(folder / splits.test),
                              lister.class_names(folder / kClassesName),
                              {}};
  lister.leave_out_beside(splits, {kClassesName, "README"});
  lister.mistakes.expect_none();
  listing.left_out = std::move(lister.left_out);
  return listing;
}

std::string folder_fingerprint(const SegmentationListing& listing) {
  std::string text;
  for (const PairListing* split : {&listing.train, &listing.test}) {
    for (const PairListing::File& file : split->files)
      text +=
          fmt::format("{}\n{}\n{}\n{}\n", file.image, file.image_bytes, file.mask, file.mask_bytes);
    text += "\n";
  }
  return fmt::format(
      "{:016x}", content_hash({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}));
}

MaskCheck check_masks(const SegmentationListing& listing, int classes, int ignore_label) {
  MaskCheck check;
  const int most = classes > 0 ? classes : kMostMaskClasses;
  int largest = -1;
  for (const PairListing* split : {&listing.train, &listing.test})
    largest = std::max(largest, check_split(*split, most, ignore_label, check.mistakes));
  check.classes = classes > 0 ? classes : largest + 1;
  if (check.classes < 2)
    check.mistakes.add(fmt::format("{}: its masks have {}; expected at least two classes",
                                   shown(listing.train.folder.parent_path()),
                                   largest < 0 ? "no labels" : "no label but 0"));
  return check;
}

int known_classes(const std::vector<std::string>& class_names, const MasksConfig& config) {
  const auto named = static_cast<int>(class_names.size());
  if (config.classes > 0 && named > 0 && config.classes != named)
    throw InputError(fmt::format(
        "data.masks.classes: {}, but the data set names {} classes; leave it out, or correct {}",
        config.classes, named, kClassesName));
  return named > 0 ? named : config.classes;
}

void load_segmentation_folder(const DataConfig& config, Dataset& dataset) {
  const SegmentationListing listing = list_segmentation_folder(config.path);
  StoredMasks masks{known_classes(listing.class_names, config.masks), config.masks.ignore_label, 0,
                    0};
  if (masks.classes == 0) {
    const MaskCheck check = check_masks(listing, 0, masks.ignore_label);
    if (config.images.corrupt == CorruptPolicy::stop || check.classes < 2)
      check.mistakes.expect_none();
    masks.classes = check.classes;
    dataset.notes.push_back(fmt::format(
        "{}: {} classes, found by reading all {} masks; name them in {}, one a line, to start "
        "faster",
        printable_name(config.path), masks.classes,
        listing.train.files.size() + listing.test.files.size(), kClassesName));
  }
  EvaluationSize size(config.images);
  for (const PairListing* split : {&listing.test, &listing.train})
    if (split == &listing.test || config.validation > 0)
      for (const PairListing::File& file : split->files)
        size.add(file.height, file.width, [&] { return (split->folder / file.image).string(); });
  std::tie(masks.height, masks.width) = size.sides();
  dataset.train = pair_set(listing.train, masks, config);
  dataset.test = pair_set(listing.test, masks, config);
  dataset.class_names = listing.class_names;
  dataset.fingerprint = folder_fingerprint(listing);
  if (const std::string left_out = listing.left_out.text(); !left_out.empty())
    dataset.notes.push_back(fmt::format("{}: {}", printable_name(config.path), left_out));
}

}  // namespace syncnorm
