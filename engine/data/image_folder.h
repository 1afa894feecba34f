// Image folders: DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg, or val instead of test.
//
// Classes are numbered by name, and samples are ordered by class and file name (both by bytes), so
// the order depends only on the files. Listing opens no image. Entries that are no image of a class
// are left out and counted; an unreachable image (a dangling link) is an error.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/data/dataset.h"
#include "engine/data/left_out.h"

namespace syncnorm {

/// The listing of one split.
struct ImageListing {
  struct File {
    std::string name;    // CLASS/FILE, below the folder
    std::uint64_t size;  // bytes
    std::int32_t label;
  };
  std::filesystem::path folder;
  std::vector<std::string> classes;
  std::vector<File> files;
};

struct FolderListing {
  ImageListing train, test;
  LeftOut left_out;
};

/// Returns both splits. Throws InputError that names all mistakes: no such folder, a class without
/// images or in only one split, entries that cannot be examined.
FolderListing list_image_folder(const std::filesystem::path& folder);

/// Returns 16 hex digits that depend on names and sizes of all files.
std::string folder_fingerprint(const FolderListing& listing);

/// Fills both splits, the fingerprint and the notes.
void load_image_folder(const DataConfig& config, Dataset& dataset);

}  // namespace syncnorm
