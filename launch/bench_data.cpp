// syncnorm bench data: measures how fast images on disk are read and decoded, relative to
// libjpeg-turbo alone and to reading a pack's shards in blocks.
//
// Every round measures both sides of a ratio one after the other, so that other load on the machine
// affects both.
#include <cstdio>

#include <jpeglib.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <numeric>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/config/names.h"
#include "engine/data/byte_reader.h"
#include "engine/data/loader.h"
#include "engine/data/pack_index.h"
#include "engine/train/bench.h"
#include "launch/commands.h"
#include "launch/session.h"

namespace syncnorm {
namespace {

using Bytes = std::vector<std::uint8_t>;

double seconds_of(const std::function<void()>& action) {
  const auto begin = Clock::now();
  action();
  return seconds_since(begin);
}

/// The leading part of each shard that holds the first `count` training images of a pack.
class ShardParts {
 public:
  ShardParts(const std::filesystem::path& folder, std::size_t count) : block_(1 << 18) {
    const std::string path = folder / kPackIndexName;
    const PackIndex index = parse_pack_index(read_file(path), path);
    for (std::size_t i = 0; i < count; ++i) {
      const PackIndex::Sample& sample = index.train[i];
      if (parts_.empty() || parts_.back().shard != sample.shard)
        parts_.push_back({sample.shard, folder / index.shards[sample.shard].name, 0});
      parts_.back().bytes = sample.offset + sample.length;
    }
  }

  std::uint64_t bytes() const {
    std::uint64_t sum = 0;
    for (const Part& part : parts_) sum += part.bytes;
    return sum;
  }

  /// Reads them in blocks, as cat does, into memory that is already allocated.
  void read() {
    for (const Part& part : parts_) {
      std::filebuf file;
      file.pubsetbuf(nullptr, 0);
      if (file.open(part.path, std::ios::in | std::ios::binary) == nullptr)
        throw InputError(fmt::format("{}: cannot be read", part.path.string()));
      std::uint64_t left = part.bytes;
      while (left > 0) {
        const auto size =
            static_cast<std::streamsize>(std::min<std::uint64_t>(left, block_.size()));
        if (file.sgetn(reinterpret_cast<char*>(block_.data()), size) != size)
          throw InputError(fmt::format("{}: ends early", part.path.string()));
        left -= static_cast<std::uint64_t>(size);
      }
    }
  }

 private:
  struct Part {
    std::uint32_t shard;
    std::filesystem::path path;
    std::uint64_t bytes;
  };
  std::vector<Part> parts_;
  Bytes block_;
};

/// Runs work(0..count-1), divided among `threads` threads.
void spread(std::size_t count, int threads, const std::function<void(std::size_t, int)>& work) {
  std::vector<std::jthread> others;
  const auto run = [&](int thread) {
    for (std::size_t i = static_cast<std::size_t>(thread); i < count;
         i += static_cast<std::size_t>(threads))
      work(i, thread);
  };
  for (int t = 1; t < threads; ++t) others.emplace_back(run, t);
  run(0);
}

/// Decodes as libjpeg-turbo's own programs do: no checks, no limits, the same transform. The rows
/// are aligned as is fastest for it (RgbImage); at arbitrary addresses its speed varies.
void decode_alone(const Bytes& bytes, RgbImage& pixels) {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, bytes.data(), bytes.size());
  jpeg_read_header(&info, TRUE);
  info.out_color_space = JCS_RGB;
  jpeg_start_decompress(&info);
  pixels.reshape(static_cast<int>(info.output_height), static_cast<int>(info.output_width));
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = pixels.row(static_cast<int>(info.output_scanline));
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  jpeg_destroy_decompress(&info);
}

struct Sides {
  std::vector<double> ours, other;  // seconds of each round
  double ratio() const {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < ours.size(); ++i) ratios.push_back(other[i] / ours[i]);
    return median(ratios);
  }
};

/// The images to measure, and the measurements of reading and decoding them in every way.
class DataBench {
 public:
  DataBench(const Dataset& dataset, const Experiment& experiment, int images)
      : dataset_(dataset), experiment_(experiment), threads_(experiment.data.images.threads) {
    const std::size_t count = std::min(dataset.train.size(), static_cast<std::size_t>(images));
    images_.resize(count);
    samples_.resize(count);
    std::iota(samples_.begin(), samples_.end(), 0u);
    if (packed()) shards_.emplace(experiment.data.path, count);
    shuffled_samples_ = epoch_order(samples_, experiment.seed, 0, true);
    ImageDecoder decoder;
    RgbImage picture;
    for (std::uint32_t i : samples_) {
      const auto image = usable(i, decoder, picture);
      images_[i].assign(image.begin(), image.end());
      bytes_ += images_[i].size();
      all_jpeg_ = all_jpeg_ && images_[i].size() > 1 && images_[i][0] == 0xff;
    }
    if (!all_jpeg_)
      throw InputError("bench data: compares with libjpeg-turbo; give a data set of JPEG images");
  }

  void round() {
    std::vector<RgbImage> pictures(static_cast<std::size_t>(threads_));
    if (packed()) {
      shards_->read();  // so that the bytes are equally cached for all sides
      reading_.other.push_back(seconds_of([&] { shards_->read(); }));
      shuffled_.other = reading_.other;
    }
    reading_.ours.push_back(seconds_of([&] { read_all(samples_); }));
    shuffled_.ours.push_back(seconds_of([&] { read_all(shuffled_samples_); }));
    alone_.push_back(seconds_of([&] {
      spread(images_.size(), threads_, [&](std::size_t i, int t) {
        decode_alone(images_[i], pictures[static_cast<std::size_t>(t)]);
      });
    }));
    decoding_.other.push_back(alone_.back());
    decoding_.ours.push_back(seconds_of([&] { decode_all(); }));
    loading_.other.push_back(alone_.back());
    const LoaderOptions options = loader_options();
    loading_.ours.push_back(seconds_of([&] { load_all(options); }));
  }

  void print() const {
    const auto count = static_cast<double>(images_.size());
    std::cout << fmt::format("{} images, {:.1f} MB, {} thread{}; medians of {} rounds\n",
                             images_.size(), 1e-6 * static_cast<double>(bytes_), threads_,
                             threads_ == 1 ? "" : "s", alone_.size())
              << (packed() ? fmt::format("the shards hold them in {:.1f} MB\n",
                                         1e-6 * static_cast<double>(shards_->bytes()))
                           : "")
              << reading_line("reading", reading_) << reading_line("reading, shuffled", shuffled_)
              << fmt::format("libjpeg-turbo alone {:>9.1f} images/s\n", count / median(alone_))
              << fmt::format(
                     "decoding            {:>9.1f} images/s {:>5.1f}% of libjpeg-turbo alone\n",
                     count / median(decoding_.ours), 100.0 * decoding_.ratio())
              << fmt::format(
                     "whole loader        {:>9.1f} images/s {:>5.1f}% of libjpeg-turbo alone\n",
                     count / median(loading_.ours), 100.0 * loading_.ratio())
              << fmt::format("(in batches of {} × {})\n", experiment_.replicas,
                             experiment_.batch_per_replica);
  }

 private:
  /// Returns the image's bytes after decoding it once, so that measuring meets no corrupt image.
  std::span<const std::uint8_t> usable(std::uint32_t sample, ImageDecoder& decoder,
                                       RgbImage& picture) {
    try {
      const std::span<const std::uint8_t> image = files().read(sample, buffer_);
      decoder.decode(image, picture);
      return image;
    } catch (const CorruptImageError& error) {
      throw InputError(
          fmt::format("{}: {}; bench data needs images that can be decoded: repair or "
                      "remove it",
                      files().name(sample), error.what()));
    }
  }

  const ImageFiles& files() const { return *dataset_.train.stored->files; }
  bool packed() const { return experiment_.data.dataset == DatasetKind::packed; }

  std::string reading_line(const char* name, const Sides& sides) const {
    const double megabytes = 1e-6 * static_cast<double>(bytes_);
    std::string line = fmt::format("{:<19} {:>9.1f} MB/s", name, megabytes / median(sides.ours));
    if (packed())
      line += fmt::format("     {:>5.1f}% of reading the shards in blocks", 100.0 * sides.ratio());
    return line + "\n";
  }

  void read_all(const std::vector<std::uint32_t>& samples) {
    for (const std::uint32_t i : samples) files().read(i, buffer_);
  }

  void decode_all() {
    std::vector<ImageDecoder> decoders(static_cast<std::size_t>(threads_));
    std::vector<RgbImage> pictures(decoders.size());
    spread(images_.size(), threads_, [&](std::size_t i, int t) {
      const auto own = static_cast<std::size_t>(t);
      decoders[own].decode(images_[i], pictures[own]);
    });
  }

  /// Makes the options for one epoch of the images, in memory that is already allocated, as in
  /// training.
  LoaderOptions loader_options() {
    LoaderOptions options;
    options.batching = {experiment_.replicas, experiment_.batch_per_replica, false,
                        static_cast<std::int64_t>(samples_.size())};
    options.replicas = {0, experiment_.replicas};
    options.shuffle = experiment_.data.shuffle;
    options.augment = AugmentConfig::from(experiment_.data);
    options.total_steps = options.batching.steps_per_epoch();
    options.prefetch = experiment_.data.prefetch;
    loader_memory_.resize(Loader::bytes(dataset_, options) / sizeof(Line));
    options.memory = loader_memory_.front().bytes.data();
    return options;
  }

  /// Loads one epoch as training does: reading, decoding, cropping, colors and normalization.
  void load_all(const LoaderOptions& options) {
    Loader loader(dataset_, samples_, options);
    for (std::int64_t step = 0; step < options.total_steps; ++step) loader.next();
  }

  const Dataset& dataset_;
  const Experiment& experiment_;
  const int threads_;
  struct alignas(64) Line {
    std::array<std::byte, 64> bytes;
  };
  std::vector<std::uint32_t> samples_, shuffled_samples_;
  std::vector<Bytes> images_;
  std::size_t bytes_ = 0;
  bool all_jpeg_ = true;
  std::optional<ShardParts> shards_;
  ReadBuffer buffer_;
  std::vector<Line> loader_memory_;
  Sides reading_, shuffled_, decoding_, loading_;
  std::vector<double> alone_;
};

}  // namespace

int run_bench_data(const CommandLine& line, Communicator& comm) {
  const LoadedExperiment loaded = load_on_all_ranks(line, comm);
  if (!loaded.experiment.data.on_disk())
    throw InputError(
        fmt::format("{}: data.dataset: {} is not on disk; give image_folder, "
                    "segmentation_folder or packed",
                    loaded.at("data.dataset"), name_of(loaded.experiment.data.dataset)));
  const Dataset dataset = load_data_on_all_ranks(loaded, comm);
  std::cout << summary(dataset) << "\n";
  DataBench bench(dataset, loaded.experiment, line.bench.images);
  for (int i = 0; i < line.bench.rounds; ++i) bench.round();
  bench.print();
  return 0;
}

}  // namespace syncnorm
