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
#include "engine/data/image_checksum.h"
#include "engine/data/near_miss.h"
#include "engine/data/pack_index.h"

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

  std::span<const std::uint8_t> read(const PackIndex::Sample& sample, ReadBuffer& buffer) const {
    if (!holds(buffer, sample)) fetch(sample, buffer);
    buffer.next = sample.offset + sample.length;
    const auto image = std::span<const std::uint8_t>(buffer.bytes)
                           .subspan(static_cast<std::size_t>(sample.offset - buffer.offset),
                                    static_cast<std::size_t>(sample.length));
    if (image_checksum(image) != sample.checksum)
      throw CorruptImageError("differs from what was packed: its checksum is wrong");
    return image;
  }

 private:
  struct Shard {
    std::string path;
    int fd;
    std::uint64_t bytes;
  };

  static bool holds(const ReadBuffer& buffer, const PackIndex::Sample& sample) {
    return sample.shard == buffer.shard && sample.offset >= buffer.offset &&
           sample.offset + sample.length <= buffer.offset + buffer.held;
  }

  /// Reads the sample to the front of the buffer. If it is small and follows the last one, reads a
  /// window of later samples, too: a system call costs more than copying a small image.
  void fetch(const PackIndex::Sample& sample, ReadBuffer& buffer) const {
    constexpr std::uint64_t kWindow = 1 << 17, kSmall = kWindow / 8, kGap = 1 << 14;
    const Shard& shard = open_[sample.shard];
    const bool follows = sample.shard == buffer.shard && sample.offset >= buffer.next &&
                         sample.offset - buffer.next <= kGap;
    std::uint64_t size = sample.length;
    if (follows && size <= kSmall) size = std::min(kWindow, shard.bytes - sample.offset);
    if (buffer.bytes.size() < size) buffer.bytes.resize(static_cast<std::size_t>(size));
    buffer.shard = sample.shard;
    buffer.offset = sample.offset;
    buffer.held = 0;
    while (buffer.held < sample.length) {
      const ssize_t count = pread(shard.fd, buffer.bytes.data() + buffer.held,
                                  static_cast<std::size_t>(size) - buffer.held,
                                  static_cast<off_t>(sample.offset + buffer.held));
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
    return shards_->read(samples_[sample], buffer);
  }

 private:
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

}  // namespace

void load_pack(const DataConfig& config, Dataset& dataset) {
  const fs::path folder = config.path;
  const fs::path path = folder / kPackIndexName;
  std::error_code error;
  if (!fs::exists(path, error) && !error)
    throw InputError(fmt::format(
        "{}: is no pack: there is no {} ({}); make one with syncnorm pack{}",
        printable_name(folder.string()), kPackIndexName, what_lies_in(folder, {kPackIndexName}),
        fs::is_directory(folder / "train", error) ? ", or set data.dataset: image_folder" : ""));
  const std::vector<std::uint8_t> bytes = read_file(path);
  PackIndex index = parse_pack_index(bytes, path.string());
  const auto shards = std::make_shared<const Shards>(folder, index.shards);
  const std::size_t classes = index.classes.size();
  const std::string content = content_fingerprint(index);
  dataset.train = image_set(shards, std::move(index.train), classes, config.images);
  dataset.test = image_set(shards, std::move(index.test), classes, config.images);
  dataset.fingerprint =
      index.folder_fingerprint.empty() ? fmt::format("{:016x}", content_hash(bytes)) : content;
  dataset.folder_fingerprint = index.folder_fingerprint;
}

}  // namespace syncnorm
