// Images and the index of a pack.
#include <algorithm>
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
  promise(first.height() > 0 && first.width() > 0, "there are pixels");
  decoder.decode(unsigned_bytes(bytes), second);
  promise(second.height() == first.height() && second.width() == first.width(),
          "a decoder gives the same size again");
  for (int y = 0; y < first.height(); ++y)
    promise(std::equal(first.row(y), first.row(y) + first.row_bytes(), second.row(y)),
            "a decoder gives the same pixels again");
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
