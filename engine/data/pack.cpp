// Reads packs; see pack.h.
#include "engine/data/pack.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/printable.h"
#include "engine/data/byte_reader.h"
#include "engine/data/content_hash.h"
#include "engine/data/evaluation_size.h"
#include "engine/data/image_checksum.h"
#include "engine/data/near_miss.h"
#include "engine/data/pack_index.h"
#include "engine/data/segmentation_folder.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;

/// The open shards of a pack, shared by both splits.
class Shards {
 public:
  Shards(const fs::path& folder, const std::vector<PackIndex::Shard>& shards) {
    for (const PackIndex::Shard& shard : shards) {
      const std::string path = (folder / shard.name).string();
      const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
      if (fd < 0) throw ReadError(path, std::strerror(errno));
      open_.push_back({path, fd, shard.bytes});
      struct stat status {};
      if (fstat(fd, &status) != 0) throw ReadError(path, std::strerror(errno));
      if (!S_ISREG(status.st_mode)) throw ReadError(path, "it is no regular file");
      if (static_cast<std::uint64_t>(status.st_size) != shard.bytes)
        reject_file(path, "size", fmt::format("{} bytes, as when it was packed", shard.bytes),
                    fmt::format("{}", status.st_size));
    }
  }
  ~Shards() {
    for (const Shard& shard : open_) close(shard.fd);
  }
  Shards(const Shards&) = delete;
  Shards& operator=(const Shards&) = delete;

  const std::string& path(std::uint32_t shard) const { return open_[shard].path; }

  /// Bytes of a shard, with their image_checksum.
  struct Part {
    std::uint32_t shard = 0;
    std::uint64_t offset = 0, length = 0, checksum = 0;
    std::uint64_t end() const { return offset + length; }
  };

  /// Reads a part, and whatever follows it up to `end`, if that is behind it.
  std::span<const std::uint8_t> read(const Part& part, std::uint64_t end,
                                     ReadBuffer& buffer) const {
    if (!holds(buffer, part)) fetch(part, std::max(end, part.end()), buffer);
    buffer.next = part.end();
    const auto bytes = std::span<const std::uint8_t>(buffer.bytes)
                           .subspan(static_cast<std::size_t>(part.offset - buffer.offset),
                                    static_cast<std::size_t>(part.length));
    if (image_checksum(bytes) != part.checksum)
      throw CorruptImageError("differs from what was packed: its checksum is wrong");
    return bytes;
  }

 private:
  struct Shard {
    std::string path;
    int fd;
    std::uint64_t bytes;
  };

  static bool holds(const ReadBuffer& buffer, const Part& part) {
    return part.shard == buffer.shard && part.offset >= buffer.offset &&
           part.end() <= buffer.offset + buffer.held;
  }

  /// Reads from the part to `end`, to the front of the buffer. If that is small and follows the
  /// last part, reads a window of later samples, too: a system call costs more than copying a small
  /// image.
  void fetch(const Part& part, std::uint64_t end, ReadBuffer& buffer) const {
    constexpr std::uint64_t kWindow = 1 << 17, kSmall = kWindow / 8, kGap = 1 << 14;
    const Shard& shard = open_[part.shard];
    const bool follows = part.shard == buffer.shard && part.offset >= buffer.next &&
                         part.offset - buffer.next <= kGap;
    const std::uint64_t needed = end - part.offset;
    std::uint64_t size = needed;
    if (follows && size <= kSmall) size = std::min(kWindow, shard.bytes - part.offset);
    if (buffer.bytes.size() < size) buffer.bytes.resize(static_cast<std::size_t>(size));
    buffer.shard = part.shard;
    buffer.offset = part.offset;
    buffer.held = 0;
    while (buffer.held < needed) {
      const ssize_t count = pread(shard.fd, buffer.bytes.data() + buffer.held,
                                  static_cast<std::size_t>(size) - buffer.held,
                                  static_cast<off_t>(part.offset + buffer.held));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw ReadError(shard.path, std::strerror(errno));
      if (count == 0) throw ReadError(shard.path, "the shard ends early: it was cut off meanwhile");
      buffer.held += static_cast<std::size_t>(count);
    }
  }

  std::vector<Shard> open_;
};

class PackFiles : public ImageFiles {
 public:
  PackFiles(std::shared_ptr<const Shards> shards, std::vector<PackIndex::Sample> samples)
      : shards_(std::move(shards)), samples_(std::move(samples)) {}
  std::string name(std::uint32_t sample) const override {
    const PackIndex::Sample& one = samples_[sample];
    return fmt::format("{}, sample {:06}", shards_->path(one.shard), sample);
  }
  std::span<const std::uint8_t> read(std::uint32_t sample, ReadBuffer& buffer) const override {
    const PackIndex::Sample& one = samples_[sample];
    return shards_->read({one.shard, one.offset, one.length, one.checksum}, mask_of(one).end(),
                         buffer);
  }
  std::string mask_name(std::uint32_t sample) const override {
    return fmt::format("{:06}.mask.png", sample);
  }
  std::span<const std::uint8_t> read_mask(std::uint32_t sample, ReadBuffer& buffer) const override {
    return shards_->read(mask_of(samples_[sample]), 0, buffer);
  }

 private:
  static Shards::Part mask_of(const PackIndex::Sample& sample) {
    return {sample.shard, sample.mask_offset, sample.mask_length, sample.mask_checksum};
  }

  std::shared_ptr<const Shards> shards_;
  std::vector<PackIndex::Sample> samples_;
};

ImageSet image_set(const std::shared_ptr<const Shards>& shards,
                   std::vector<PackIndex::Sample> samples, std::size_t classes,
                   const ImagesConfig& config) {
  std::vector<std::int32_t> labels;
  for (const PackIndex::Sample& sample : samples)
    labels.push_back(static_cast<std::int32_t>(sample.label));
  return stored_image_set(std::make_unique<PackFiles>(shards, std::move(samples)),
                          std::move(labels), classes, config);
}

/// Returns what is known of the masks. Throws InputError where the configuration says otherwise.
StoredMasks masks_of(const PackIndex& index, const DataConfig& config, const std::string& name) {
  const MasksConfig& masks = config.masks;
  if (masks.classes > 0 && masks.classes != index.class_count)
    throw InputError(fmt::format("data.masks.classes: {}, but {} has {}; leave it out",
                                 masks.classes, printable_name(name), index.class_count));
  if (masks.ignore_label != MasksConfig{}.ignore_label && masks.ignore_label != index.ignore_label)
    throw InputError(fmt::format(
        "data.masks.ignore_label: {}, but {} was packed with {}; leave it out, or pack anew with "
        "--ignore-label {}",
        masks.ignore_label, printable_name(name), index.ignore_label, masks.ignore_label));
  EvaluationSize size(config.images);
  const auto add = [&](const char* split, const std::vector<PackIndex::Sample>& samples) {
    for (std::size_t i = 0; i < samples.size(); ++i)
      size.add(static_cast<int>(samples[i].height), static_cast<int>(samples[i].width),
               [&] { return fmt::format("{}, {} sample {:06}", name, split, i); });
  };
  add("test", index.test);
  if (config.validation > 0) add("training", index.train);
  const auto [height, width] = size.sides();
  return {index.class_count, index.ignore_label, height, width};
}

ImageSet pair_set(const std::shared_ptr<const Shards>& shards,
                  std::vector<PackIndex::Sample> samples, const StoredMasks& masks,
                  const DataConfig& config) {
  const std::size_t count = samples.size();
  return stored_pair_set(std::make_unique<PackFiles>(shards, std::move(samples)), count, masks,
                         config);
}

}  // namespace

void load_pack(const DataConfig& config, Dataset& dataset) {
  const fs::path folder = config.path;
  const fs::path path = folder / kPackIndexName;
  std::error_code error;
  if (!fs::exists(path, error) && !error)
    throw InputError(fmt::format(
        "{}: is no pack: there is no {} ({}); make one with syncnorm pack{}",
        printable_name(folder.string()), kPackIndexName, what_lies_in(folder, {kPackIndexName}),
        is_segmentation_folder(folder)              ? ", or set data.dataset: segmentation_folder"
        : fs::is_directory(folder / "train", error) ? ", or set data.dataset: image_folder"
                                                    : ""));
  const std::vector<std::uint8_t> bytes = read_file(path);
  PackIndex index = parse_pack_index(bytes, path.string());
  const auto shards = std::make_shared<const Shards>(folder, index.shards);
  const std::size_t classes = index.classes.size();
  const std::string content = content_fingerprint(index);
  if (index.per_pixel) {
    const StoredMasks masks = masks_of(index, config, folder.string());
    dataset.train = pair_set(shards, std::move(index.train), masks, config);
    dataset.test = pair_set(shards, std::move(index.test), masks, config);
  } else {
    dataset.train = image_set(shards, std::move(index.train), classes, config.images);
    dataset.test = image_set(shards, std::move(index.test), classes, config.images);
  }
  dataset.class_names = std::move(index.classes);
  dataset.fingerprint =
      index.folder_fingerprint.empty() ? fmt::format("{:016x}", content_hash(bytes)) : content;
  dataset.folder_fingerprint = index.folder_fingerprint;
}

}  // namespace syncnorm
