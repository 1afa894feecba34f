// Images and the index of a pack.
#include <cstdint>
#include <span>

#include "engine/data/image_codec.h"
#include "engine/data/pack_index.h"
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
  promise(first.height > 0 && first.width > 0 &&
              first.pixels.size() == static_cast<std::size_t>(first.height) * first.row_bytes(),
          "every pixel is there");
  decoder.decode(unsigned_bytes(bytes), second);
  promise(first.pixels == second.pixels, "a decoder gives the same pixels again");
  return true;
}

bool pack_index(std::string_view bytes) {
  PackIndex index;
  if (!answered([&] { index = parse_pack_index(unsigned_bytes(bytes), "pack.index"); }))
    return false;
  promise(!index.train.empty() && !index.test.empty(), "both splits have samples");
  for (const auto* split : {&index.train, &index.test})
    for (const PackIndex::Sample& sample : *split)
      promise(sample.label < index.classes.size() && sample.shard < index.shards.size() &&
                  sample.offset + sample.length <= index.shards[sample.shard].bytes,
              "every sample lies in its shard and has a class");
  return true;
}

}  // namespace syncnorm::fuzz
