// Folders of images with masks: DIR/train/images/NAME.jpg (or .png) and DIR/train/masks/NAME.png,
// and the same in DIR/test, or val instead of test.
//
// A mask is a PNG of grey values or palette indices, each the label of its pixel. DIR/classes.txt
// may name the classes, a line each in the order of labels. Samples are ordered by the names of the
// images (by bytes). Listing reads the headers of all files, and decodes none.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/data/dataset.h"
#include "engine/data/folder_lister.h"

namespace syncnorm {

/// The listing of one split.
struct PairListing {
  struct File {
    std::string image, mask;  // images/FILE and masks/FILE, below the folder
    std::uint64_t image_bytes = 0;
    std::uint64_t mask_bytes = 0;
    int height = 0, width = 0;  // pixels
  };
  std::filesystem::path folder;
  std::vector<File> files;
};

struct SegmentationListing {
  PairListing train, test;
  std::vector<std::string> class_names;  // of classes.txt; empty without one
  LeftOut left_out;
};

/// Returns true if `folder` has train/images and train/masks.
bool is_segmentation_folder(const std::filesystem::path& folder);

/// Returns both splits. Throws InputError that names all mistakes: images without mask, masks
/// without image, two images for a mask, files that are no masks, masks of another size than their
/// image, an unusable classes.txt.
SegmentationListing list_segmentation_folder(const std::filesystem::path& folder);

/// Returns 16 hex digits that depend on names and sizes of all files.
std::string folder_fingerprint(const SegmentationListing& listing);

struct MaskCheck {
  int classes = 0;
  Mistakes mistakes;  // masks that cannot be decoded, and labels that are no class
};

/// Decodes all masks. The number of classes is `classes`, or if that is 0 follows from the largest
/// label.
MaskCheck check_masks(const SegmentationListing& listing, int classes, int ignore_label);

/// Returns the number of classes that classes.txt or, without it, data.masks.classes says; 0:
/// neither does. Throws InputError if they differ.
int known_classes(const std::vector<std::string>& class_names, const MasksConfig& config);

/// Fills both splits, the fingerprint and the notes.
void load_segmentation_folder(const DataConfig& config, Dataset& dataset);

}  // namespace syncnorm
