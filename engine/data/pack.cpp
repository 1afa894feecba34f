// Reading a pack; see pack.h.
#include "engine/data/pack.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine/data/byte_reader.h"
#include "engine/data/content_hash.h"
#include "engine/data/image_checksum.h"
#include "engine/data/pack_index.h"
#include "kernels/error.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;

/// The open shards of a pack, shared by both splits.
class Shards {
 public:
  Shards(const fs::path& folder, const std::vector<PackIndex::Shard>& shards) {
    for (const PackIndex::Shard& shard : shards) {
      const std::string path = (folder / shard.name).string();
      const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
      if (fd < 0) reject_file(path, "shard", "a readable file", std::strerror(errno));
      open_.push_back({path, fd});
      struct stat status {};
      if (fstat(fd, &status) != 0 || static_cast<std::uint64_t>(status.st_size) != shard.bytes)
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

  void read(const PackIndex::Sample& sample, std::vector<std::uint8_t>& bytes) const {
    bytes.resize(static_cast<std::size_t>(sample.length));
    std::size_t got = 0;
    while (got < bytes.size()) {
      const ssize_t count = pread(open_[sample.shard].fd, bytes.data() + got, bytes.size() - got,
                                  static_cast<off_t>(sample.offset + got));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0)
        throw CorruptImageError(fmt::format("cannot be read ({})",
                                            count < 0 ? std::strerror(errno) : "the shard ends"));
      got += static_cast<std::size_t>(count);
    }
    if (image_checksum(bytes) != sample.checksum)
      throw CorruptImageError("differs from what was packed: its checksum is wrong");
  }

 private:
  struct Shard {
    std::string path;
    int fd;
  };
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
  void read(std::uint32_t sample, std::vector<std::uint8_t>& bytes) const override {
    shards_->read(samples_[sample], bytes);
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
  if (!fs::exists(path, error))
    throw InputError(fmt::format("{}: is no pack: there is no {}; make one with syncnorm pack",
                                 folder.string(), kPackIndexName));
  const std::vector<std::uint8_t> bytes = read_file(path);
  PackIndex index = parse_pack_index(bytes, path.string());
  const auto shards = std::make_shared<const Shards>(folder, index.shards);
  const std::size_t classes = index.classes.size();
  dataset.train = image_set(shards, std::move(index.train), classes, config.images);
  dataset.test = image_set(shards, std::move(index.test), classes, config.images);
  dataset.fingerprint = fmt::format("{:016x}", content_hash(bytes));
}

}  // namespace syncnorm
