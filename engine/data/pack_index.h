// The index of a pack: location, label and checksum of every image, and of every mask.
//
// One file, pack.index, little-endian: the magic; the bytes of a JSON header; the header (format,
// classes, shards with their bytes, samples of each split, and the fingerprint of the packed
// folder, which earlier packs lack); a record per sample (training samples first, then test
// samples, each in the order of the packed folder); and the XXH64 of all that.
//
// A record has 32 bytes: shard u32, label u32, offset u64, length u64, XXH3 u64 (format 2). With
// labels per pixel it has 64 (format 3): also the mask's offset u64, length u64 and XXH3 u64, and
// height u32 and width u32 of the image, 0 if they are unknown. The header then has ignore_label
// and class_count, too, since the classes may have no names.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace syncnorm {

inline constexpr const char* kPackIndexName = "pack.index";

struct PackIndex {
  struct Shard {
    std::string name;
    std::uint64_t bytes = 0;
  };
  struct Sample {
    std::uint32_t shard = 0;
    std::uint32_t label = 0;
    std::uint64_t offset = 0;  // of the image's first byte in the shard
    std::uint64_t length = 0;
    std::uint64_t checksum = 0;  // image_checksum of the image's bytes
    // Labels per pixel: the mask follows its image in the same shard.
    std::uint64_t mask_offset = 0, mask_length = 0, mask_checksum = 0;
    std::uint32_t height = 0, width = 0;  // pixels; 0: unknown

    bool operator==(const Sample&) const = default;
  };
  std::vector<std::string> classes;
  std::vector<Shard> shards;
  std::vector<Sample> train, test;
  bool per_pixel = false;
  int class_count = 0;             // per_pixel; else as many as `classes`
  int ignore_label = 255;          // per_pixel
  std::string folder_fingerprint;  // of image_folder.h; "": unknown
};

/// Returns 16 hex digits that depend on the classes, and on label, length and checksum of every
/// image and mask in order, but not on the shards.
std::string content_fingerprint(const PackIndex& index);

std::string pack_index_bytes(const PackIndex& index);

/// Parses an index. Throws InputError, naming `file` and the field, for another format or version,
/// a damaged or truncated file, samples outside their shard, masks that do not follow their image,
/// invalid labels, and names outside the folder.
PackIndex parse_pack_index(std::span<const std::uint8_t> bytes, const std::string& file);

}  // namespace syncnorm
