// See pack_index.h.
#include "engine/data/pack_index.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "engine/data/byte_reader.h"
#include "engine/data/content_hash.h"
#include "engine/data/image_codec.h"

namespace syncnorm {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMagic = "SYNCPACK";
constexpr int kFormat = 2;  // 1 had the XXH64 of every image
constexpr int kPairFormat = 3;
constexpr std::size_t kRecordBytes = 32, kPairRecordBytes = 64;
constexpr std::uint64_t kMostBetween = 4096;  // bytes from an image to its mask: tar's header
constexpr std::size_t kMostShards = 1 << 20;
constexpr const char* kHint = "make the pack anew with syncnorm pack";

template <class T>
void put(std::string& bytes, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    bytes.push_back(static_cast<char>(static_cast<unsigned char>(value >> (8 * i))));
}

/// Reads numbers and texts from the front of the bytes.
class Reader {
 public:
  Reader(std::span<const std::uint8_t> bytes, const std::string& file)
      : left_(bytes), file_(file) {}

  std::span<const std::uint8_t> take(std::uint64_t count, const char* what) {
    if (count > left_.size())
      reject_file(file_, what, fmt::format("{} bytes", count), fmt::format("{}", left_.size()));
    const auto taken = left_.first(static_cast<std::size_t>(count));
    left_ = left_.subspan(static_cast<std::size_t>(count));
    return taken;
  }
  template <class T>
  T number(const char* what) {
    T value = 0;
    const auto bytes = take(sizeof(T), what);
    for (std::size_t i = 0; i < sizeof(T); ++i)
      value = static_cast<T>(value | static_cast<T>(static_cast<T>(bytes[i]) << (8 * i)));
    return value;
  }
  std::size_t left() const { return left_.size(); }

 private:
  std::span<const std::uint8_t> left_;
  const std::string& file_;
};

[[noreturn]] void reject(const std::string& file, const std::string& what) {
  throw InputError(fmt::format("{}: {}; {}", file, what, kHint));
}

/// Returns true for a plain file name in the pack's own folder.
bool plain_name(const std::string& name) {
  return !name.empty() && name[0] != '.' && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

void read_pair_header(const Json& json, const std::string& file, PackIndex& index) {
  constexpr int kMostClasses = 254, kLargestLabel = 255;
  index.class_count = json.at("class_count").get<int>();
  index.ignore_label = json.at("ignore_label").get<int>();
  if (index.class_count < 1 || index.class_count > kMostClasses ||
      (!index.classes.empty() && index.classes.size() != std::size_t(index.class_count)))
    reject(file, "has an impossible number of classes");
  if (index.ignore_label < 0 || index.ignore_label > kLargestLabel)
    reject(file, "has an ignore_label that is no label");
}

void read_header(const Json& json, const std::string& file, PackIndex& index) {
  const int format = json.at("format").get<int>();
  if (format != kFormat && format != kPairFormat)
    reject(file, fmt::format("is of format {}; this program reads {} and {}", format, kFormat,
                             kPairFormat));
  index.per_pixel = format == kPairFormat;
  index.classes = json.at("classes").get<std::vector<std::string>>();
  index.class_count = static_cast<int>(index.classes.size());
  if (index.per_pixel) read_pair_header(json, file, index);
  if (index.class_count == 0) reject(file, "has no classes");
  for (const Json& shard : json.at("shards")) {
    index.shards.push_back(
        {shard.at("name").get<std::string>(), shard.at("bytes").get<std::uint64_t>()});
    if (!plain_name(index.shards.back().name))
      reject(file, "names a shard that is no file of its folder");
  }
  index.folder_fingerprint = json.value("folder_fingerprint", "");
  if (index.shards.size() > kMostShards) reject(file, "has more shards than are possible");
}

PackIndex::Sample read_sample(Reader& reader, const PackIndex& index, const std::string& file) {
  PackIndex::Sample sample;
  sample.shard = reader.number<std::uint32_t>("sample");
  sample.label = reader.number<std::uint32_t>("sample");
  sample.offset = reader.number<std::uint64_t>("sample");
  sample.length = reader.number<std::uint64_t>("sample");
  sample.checksum = reader.number<std::uint64_t>("sample");
  if (sample.label >= static_cast<std::size_t>(index.class_count))
    reject(file, "has a label that is no class");
  if (sample.shard >= index.shards.size()) reject(file, "has a sample in no shard");
  const std::uint64_t size = index.shards[sample.shard].bytes;
  const auto lies_outside = [size](std::uint64_t offset, std::uint64_t length) {
    return length > kMaxDataBytes || length > size || offset > size - length;
  };
  if (lies_outside(sample.offset, sample.length))
    reject(file, "has a sample that lies outside its shard");
  if (!index.per_pixel) return sample;
  sample.mask_offset = reader.number<std::uint64_t>("mask");
  sample.mask_length = reader.number<std::uint64_t>("mask");
  sample.mask_checksum = reader.number<std::uint64_t>("mask");
  sample.height = reader.number<std::uint32_t>("height");
  sample.width = reader.number<std::uint32_t>("width");
  if (lies_outside(sample.mask_offset, sample.mask_length))
    reject(file, "has a mask that lies outside its shard");
  const std::uint64_t end = sample.offset + sample.length;
  if (sample.mask_offset < end || sample.mask_offset - end > kMostBetween)
    reject(file, "has a mask that does not follow its image");
  if (sample.height > kMaxImageSide || sample.width > kMaxImageSide)
    reject(file, "has an image of an impossible size");
  return sample;
}

}  // namespace

std::string content_fingerprint(const PackIndex& index) {
  std::string bytes;
  for (const std::string& name : index.classes) bytes += name + '\n';
  for (const auto* split : {&index.train, &index.test}) {
    put<std::uint64_t>(bytes, split->size());
    for (const PackIndex::Sample& sample : *split) {
      put(bytes, sample.label);
      put(bytes, sample.length);
      put(bytes, sample.checksum);
      if (!index.per_pixel) continue;
      put(bytes, sample.mask_length);
      put(bytes, sample.mask_checksum);
    }
  }
  return fmt::format(
      "{:016x}", content_hash({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}));
}

std::string pack_index_bytes(const PackIndex& index) {
  Json shards = Json::array();
  for (const PackIndex::Shard& shard : index.shards)
    shards.push_back({{"name", shard.name}, {"bytes", shard.bytes}});
  Json json = {{"format", index.per_pixel ? kPairFormat : kFormat},
               {"classes", index.classes},
               {"shards", shards},
               {"train", index.train.size()},
               {"test", index.test.size()}};
  if (index.per_pixel) {
    json["class_count"] = index.class_count;
    json["ignore_label"] = index.ignore_label;
  }
  if (!index.folder_fingerprint.empty()) json["folder_fingerprint"] = index.folder_fingerprint;
  const std::string header = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string bytes(kMagic);
  put<std::uint64_t>(bytes, header.size());
  bytes += header;
  for (const auto* split : {&index.train, &index.test}) {
    for (const PackIndex::Sample& sample : *split) {
      put(bytes, sample.shard);
      put(bytes, sample.label);
      put(bytes, sample.offset);
      put(bytes, sample.length);
      put(bytes, sample.checksum);
      if (!index.per_pixel) continue;
      put(bytes, sample.mask_offset);
      put(bytes, sample.mask_length);
      put(bytes, sample.mask_checksum);
      put(bytes, sample.height);
      put(bytes, sample.width);
    }
  }
  put(bytes, content_hash({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}));
  return bytes;
}

PackIndex parse_pack_index(std::span<const std::uint8_t> bytes, const std::string& file) {
  Reader reader(bytes, file);
  const auto magic = reader.take(kMagic.size(), "magic");
  if (!std::equal(magic.begin(), magic.end(), kMagic.begin()))
    reject(file, "is no index of a pack");
  const auto header = reader.take(reader.number<std::uint64_t>("length of the header"), "header");
  PackIndex index;
  std::uint64_t train = 0, test = 0;
  try {
    const Json json = Json::parse(header.begin(), header.end());
    read_header(json, file, index);
    train = json.at("train").get<std::uint64_t>();
    test = json.at("test").get<std::uint64_t>();
  } catch (const Json::exception& error) {
    reject(file, fmt::format("its header cannot be read ({})", error.what()));
  }
  const std::size_t record_bytes = index.per_pixel ? kPairRecordBytes : kRecordBytes;
  const std::uint64_t records = reader.left() / record_bytes;
  if (train > records || test > records || train + test != records ||
      reader.left() != records * record_bytes + sizeof(std::uint64_t))
    reject(file, fmt::format("is cut off or too long: {} and {} samples in {} bytes", train, test,
                             reader.left()));
  if (train == 0 || test == 0) reject(file, "has a split without samples");
  for (std::uint64_t i = 0; i < train; ++i) index.train.push_back(read_sample(reader, index, file));
  for (std::uint64_t i = 0; i < test; ++i) index.test.push_back(read_sample(reader, index, file));
  if (reader.number<std::uint64_t>("checksum") !=
      content_hash(bytes.first(bytes.size() - sizeof(std::uint64_t))))
    reject(file, "is damaged: its checksum is wrong");
  return index;
}

}  // namespace syncnorm
