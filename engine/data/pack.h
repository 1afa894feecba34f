// Packs: an image folder, or a folder of images with masks, as a few tar files (shards) that other
// tools can read, and an index of our own.
//
// Shards are plain ustar in WebDataset's convention: sample K is K.jpg (or .png) and K.cls, its
// label as text; with labels per pixel it is K.jpg and K.mask.png. Samples are in the order of the
// folder, so training without shuffle reads sequentially; with shuffle, every rank reads its
// samples by their offsets in the index.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "engine/data/dataset.h"

namespace syncnorm {

struct PackSummary {
  std::uint64_t train = 0, test = 0;  // samples
  std::uint64_t classes = 0, shards = 0, bytes = 0;
  std::string left_out;  // LeftOut::text() of the folder
  bool per_pixel = false;
};

/// Packs the image folder `from` into the new folder `to`. A shard is closed before it would exceed
/// `shard_bytes`, unless its only sample does. Everything is written to `to`.partial, synced, and
/// renamed when complete; the remains of an interrupted pack are replaced. Images are not decoded.
/// Throws InputError if `from` is no image folder, `to` exists, or a file cannot be read or written
/// or has changed since the folder was listed.
PackSummary pack_image_folder(const std::filesystem::path& from, const std::filesystem::path& to,
                              std::uint64_t shard_bytes);

/// Does the same for a folder of images with masks (segmentation_folder.h). Masks are decoded
/// first: throws InputError that names all that are damaged or have labels that are no class.
PackSummary pack_segmentation_folder(const std::filesystem::path& from,
                                     const std::filesystem::path& to, std::uint64_t shard_bytes,
                                     int ignore_label);

/// Fills both splits, mean, deviation and the fingerprint. Throws InputError for an unusable index,
/// and for shards that are missing or have another size.
void load_pack(const DataConfig& config, Dataset& dataset);

}  // namespace syncnorm
