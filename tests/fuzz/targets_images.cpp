// Images and the index of a pack.
#include <algorithm>
#include <cstdint>
#include <span>

#include "engine/data/image_codec.h"
#include "engine/data/image_header.h"
#include "engine/data/pack_index.h"
#include "engine/data/png_codec.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/targets.h"

namespace syncnorm::fuzz {
namespace {

std::span<const std::uint8_t> unsigned_bytes(std::string_view bytes) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

}  // namespace

bool image(std::string_view bytes) {
  ImageDecoder decoder;
  RgbImage first, second;
  try {
    decoder.decode(unsigned_bytes(bytes), first);
  } catch (const CorruptImageError&) {
    return false;
  }
  promise(first.height() > 0 && first.width() > 0, "there are pixels");
  decoder.decode(unsigned_bytes(bytes), second);
  promise(second.height() == first.height() && second.width() == first.width(),
          "a decoder gives the same size again");
  for (int y = 0; y < first.height(); ++y)
    promise(std::equal(first.row(y), first.row(y) + first.row_bytes(), second.row(y)),
            "a decoder gives the same pixels again");
  return true;
}

bool mask(std::string_view bytes) {
  const ImageHeader header = parse_image_header(unsigned_bytes(bytes));
  MaskImage first, second;
  try {
    decode_mask(unsigned_bytes(bytes), first);
  } catch (const CorruptImageError&) {
    return false;
  }
  promise(first.height == header.height && first.width == header.width,
          "the header has the size of the mask");
  promise(first.pixels.size() ==
              static_cast<std::size_t>(first.height) * static_cast<std::size_t>(first.width),
          "every pixel has a label");
  decode_mask(unsigned_bytes(bytes), second);
  promise(first.pixels == second.pixels, "a mask is decoded to the same labels again");
  constexpr int kClasses = 3, kIgnored = 7;
  try {
    check_labels(first, kClasses, kIgnored);
  } catch (const CorruptImageError&) {
    return true;
  }
  for (const std::uint8_t label : first.pixels)
    promise(label < kClasses || label == kIgnoredPixel, "every label is a class or ignored");
  return true;
}

bool pack_index(std::string_view bytes) {
  PackIndex index;
  if (!answered([&] { index = parse_pack_index(unsigned_bytes(bytes), "pack.index"); }))
    return false;
  promise(!index.train.empty() && !index.test.empty(), "both splits have samples");
  for (const auto* split : {&index.train, &index.test})
    for (const PackIndex::Sample& sample : *split)
      promise(sample.label < static_cast<std::size_t>(index.class_count) &&
                  sample.shard < index.shards.size() &&
                  sample.offset + sample.length <= index.shards[sample.shard].bytes,
              "every sample lies in its shard and has a class");
  if (!index.per_pixel) return true;
  for (const auto* split : {&index.train, &index.test})
    for (const PackIndex::Sample& sample : *split)
      promise(sample.mask_offset >= sample.offset + sample.length &&
                  sample.mask_offset + sample.mask_length <= index.shards[sample.shard].bytes,
              "every mask lies in its shard, behind its image");
  return true;
}

}  // namespace syncnorm::fuzz
