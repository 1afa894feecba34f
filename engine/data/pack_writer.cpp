// Writes packs with libarchive; see pack.h.
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <memory>

#include "base/error.h"
#include "base/printable.h"
#include "engine/data/byte_reader.h"
#include "engine/data/image_checksum.h"
#include "engine/data/image_folder.h"
#include "engine/data/pack.h"
#include "engine/data/pack_index.h"
#include "engine/data/segmentation_folder.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kBlock = 512;  // tar block, bytes

std::uint64_t to_block(std::uint64_t bytes) { return (bytes + kBlock - 1) / kBlock * kBlock; }

[[noreturn]] void cannot_write(const fs::path& path, const std::string& reason) {
  throw InputError(fmt::format("{}: cannot be written: {}; make room, or choose another folder",
                               path.string(), reason));
}

void sync(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool good = fd >= 0 && fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  if (!good) cannot_write(path, std::strerror(error));
}

/// One tar file. An entry is a header block and its bytes, padded to whole blocks. Names are short,
/// so ustar needs nothing else, and the offset of every byte is known.
class TarFile {
 public:
  explicit TarFile(fs::path path)
      : path_(std::move(path)), archive_(archive_write_new(), archive_write_free) {
    check(archive_write_set_format_ustar(archive_.get()));
    check(archive_write_open_filename(archive_.get(), path_.c_str()));
  }

  /// Returns the bytes that an entry of `size` occupies.
  static std::uint64_t entry_bytes(std::uint64_t size) { return kBlock + to_block(size); }

  /// Adds an entry and returns the offset of its content.
  std::uint64_t add(const std::string& name, std::span<const std::uint8_t> content) {
    const std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry(archive_entry_new(),
                                                                              archive_entry_free);
    archive_entry_set_pathname(entry.get(), name.c_str());
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), 0644);
    archive_entry_set_mtime(entry.get(), 0, 0);
    check(archive_write_header(archive_.get(), entry.get()));
    const la_ssize_t written = archive_write_data(archive_.get(), content.data(), content.size());
    if (written != static_cast<la_ssize_t>(content.size())) fail();
    check(archive_write_finish_entry(archive_.get()));
    const std::uint64_t offset = bytes_ + kBlock;
    bytes_ += entry_bytes(content.size());
    return offset;
  }

  std::uint64_t bytes() const { return bytes_; }

  /// Completes and syncs the file; returns its size.
  std::uint64_t finish() {
    check(archive_write_close(archive_.get()));
    sync(path_);
    return fs::file_size(path_);
  }

 private:
  void check(int status) {
    if (status != ARCHIVE_OK) fail();
  }
  [[noreturn]] void fail() {
    if (const int error = archive_errno(archive_.get()); error > 0)
      cannot_write(path_, std::strerror(error));
    const char* reason = archive_error_string(archive_.get());
    cannot_write(path_, reason != nullptr ? reason : "unknown reason");
  }

  fs::path path_;
  std::unique_ptr<archive, decltype(&archive_write_free)> archive_;
  std::uint64_t bytes_ = 0;
};

/// Writes splits to shards and records their locations.
class Packer {
 public:
  Packer(fs::path folder, std::uint64_t shard_bytes)
      : folder_(std::move(folder)), shard_bytes_(shard_bytes) {}

  void add_split(const char* name, const ImageListing& listing,
                 std::vector<PackIndex::Sample>& samples) {
    std::vector<std::uint8_t> image;
    for (const ImageListing::File& file : listing.files) {
      read_unchanged(listing.folder / file.name, file.size, image);
      const std::string label = std::to_string(file.label);
      begin_sample(name, {image.size(), label.size()});
      const std::string key = fmt::format("{:06}", samples.size());
      PackIndex::Sample sample = add_image(key, file.name, image);
      sample.label = static_cast<std::uint32_t>(file.label);
      tar_->add(key + ".cls", {reinterpret_cast<const std::uint8_t*>(label.data()), label.size()});
      samples.push_back(sample);
    }
    end_shard();
  }

  void add_split(const char* name, const PairListing& listing,
                 std::vector<PackIndex::Sample>& samples) {
    std::vector<std::uint8_t> image, mask;
    for (const PairListing::File& file : listing.files) {
      read_unchanged(listing.folder / file.image, file.image_bytes, image);
      read_unchanged(listing.folder / file.mask, file.mask_bytes, mask);
      begin_sample(name, {image.size(), mask.size()});
      const std::string key = fmt::format("{:06}", samples.size());
      PackIndex::Sample sample = add_image(key, file.image, image);
      sample.mask_offset = tar_->add(key + ".mask.png", mask);
      sample.mask_length = mask.size();
      sample.mask_checksum = image_checksum(mask);
      sample.height = static_cast<std::uint32_t>(file.height);
      sample.width = static_cast<std::uint32_t>(file.width);
      samples.push_back(sample);
    }
    end_shard();
  }

  PackIndex& index() { return index_; }

 private:
  static void read_unchanged(const fs::path& path, std::uint64_t size,
                             std::vector<std::uint8_t>& bytes) {
    read_file(path, bytes);
    if (bytes.size() != size)
      throw InputError(fmt::format(
          "{}: has {} bytes, but had {} when the folder was listed; pack a folder that nobody "
          "changes",
          printable_name(path.string()), bytes.size(), size));
  }
  /// Begins a shard, unless entries of these sizes fit into the last one.
  void begin_sample(const char* split, std::initializer_list<std::size_t> sizes) {
    std::uint64_t needed = 0;
    for (const std::size_t size : sizes) needed += TarFile::entry_bytes(size);
    if (tar_ != nullptr && tar_->bytes() + needed > shard_bytes_) end_shard();
    if (tar_ == nullptr) begin_shard(split);
  }
  PackIndex::Sample add_image(const std::string& key, const std::string& file,
                              std::span<const std::uint8_t> image) {
    PackIndex::Sample sample;
    sample.shard = static_cast<std::uint32_t>(index_.shards.size() - 1);
    sample.offset = tar_->add(key + (lower_extension(file) == ".png" ? ".png" : ".jpg"), image);
    sample.length = image.size();
    sample.checksum = image_checksum(image);
    return sample;
  }
  void begin_shard(const char* split) {
    if (split_ != split) number_ = 0;
    split_ = split;
    index_.shards.push_back({fmt::format("{}-{:06}.tar", split, number_++), 0});
    tar_ = std::make_unique<TarFile>(folder_ / index_.shards.back().name);
  }
  void end_shard() {
    index_.shards.back().bytes = tar_->finish();
    tar_.reset();
  }

  fs::path folder_;
  std::uint64_t shard_bytes_;
  PackIndex index_;
  std::unique_ptr<TarFile> tar_;
  std::string split_;
  int number_ = 0;
};

void write_synced(const fs::path& path, const std::string& bytes) {
  const std::unique_ptr<std::FILE, decltype(&std::fclose)> file(std::fopen(path.c_str(), "wb"),
                                                                std::fclose);
  if (file == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size() ||
      std::fflush(file.get()) != 0)
    cannot_write(path, std::strerror(errno));
  sync(path);
}

/// Writes a pack from a listing whose classes and fingerprint are in `about`.
template <class Listing>
PackSummary write_pack(const fs::path& target, std::uint64_t shard_bytes, const Listing& listing,
                       const PackIndex& about) {
  std::error_code error;
  const fs::path partial = target.string() + ".partial";
  fs::remove_all(partial, error);
  fs::create_directories(partial, error);
  if (error) cannot_write(partial, error.message());
  Packer packer(partial, shard_bytes);
  PackIndex& index = packer.index();
  index = about;
  packer.add_split("train", listing.train, index.train);
  packer.add_split("test", listing.test, index.test);
  write_synced(partial / kPackIndexName, pack_index_bytes(index));
  sync(partial);
  fs::rename(partial, target, error);
  if (error) cannot_write(target, error.message());
  PackSummary summary{index.train.size(),
                      index.test.size(),
                      static_cast<std::uint64_t>(index.class_count),
                      index.shards.size(),
                      0,
                      listing.left_out.text(),
                      index.per_pixel};
  for (const PackIndex::Shard& shard : index.shards) summary.bytes += shard.bytes;
  return summary;
}

/// Returns `to` without a slash at its end. Throws InputError if it exists.
fs::path new_folder(const fs::path& to) {
  const fs::path target = to.has_filename() ? to : to.parent_path();
  if (std::error_code error; fs::exists(target, error))
    throw InputError(fmt::format("{}: exists; give a new folder, or remove it", target.string()));
  return target;
}

}  // namespace

PackSummary pack_image_folder(const fs::path& from, const fs::path& to, std::uint64_t shard_bytes) {
  const fs::path target = new_folder(to);
  const FolderListing listing = list_image_folder(from);
  PackIndex about;
  about.classes = listing.train.classes;
  about.class_count = static_cast<int>(about.classes.size());
  about.folder_fingerprint = folder_fingerprint(listing);
  return write_pack(target, shard_bytes, listing, about);
}

PackSummary pack_segmentation_folder(const fs::path& from, const fs::path& to,
                                     std::uint64_t shard_bytes, int ignore_label) {
  const fs::path target = new_folder(to);
  const SegmentationListing listing = list_segmentation_folder(from);
  const MaskCheck check =
      check_masks(listing, static_cast<int>(listing.class_names.size()), ignore_label);
  check.mistakes.expect_none();
  PackIndex about;
  about.per_pixel = true;
  about.classes = listing.class_names;
  about.class_count = check.classes;
  about.ignore_label = ignore_label;
  about.folder_fingerprint = folder_fingerprint(listing);
  return write_pack(target, shard_bytes, listing, about);
}

}  // namespace syncnorm
