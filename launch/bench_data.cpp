// syncnorm bench data: how fast images on disk are read and decoded, against libjpeg-turbo alone
// and against copying the same bytes from the page cache.
//
// Every round measures both sides of a ratio, one after the other, so that what else the machine
// does meets both.
#include <cstdio>

#include <jpeglib.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <numeric>
#include <thread>

#include <fmt/format.h>

#include "engine/data/loader.h"
#include "engine/train/bench.h"
#include "kernels/error.h"
#include "launch/commands.h"
#include "launch/session.h"

namespace syncnorm {
namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::vector<std::uint8_t>;

double seconds_of(const std::function<void()>& action) {
  const auto begin = Clock::now();
  action();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// The first `bytes` of the shards of a pack, in blocks, as cat reads them; returns how many came.
std::size_t read_shards(const std::string& folder, std::size_t bytes) {
  constexpr std::size_t kBlock = 1 << 20;
  Bytes block(kBlock);
  std::size_t got = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".tar") continue;
    std::filebuf file;
    file.pubsetbuf(nullptr, 0);
    if (file.open(entry.path(), std::ios::in | std::ios::binary) == nullptr) continue;
    std::streamsize count = 1;
    while (got < bytes && count > 0) {
      count = file.sgetn(reinterpret_cast<char*>(block.data()), kBlock);
      got += static_cast<std::size_t>(count);
    }
  }
  return got;
}

/// Runs work(0..count-1), one after another on each of `threads` threads.
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

/// libjpeg-turbo as its own programs use it: no checks, no limits, the same transform. Its rows are
/// where they are fastest for it (RgbImage): in memory from anywhere the rate is a matter of luck.
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

/// The images that are measured, read and decoded in every way.
class DataBench {
 public:
  DataBench(const Dataset& dataset, const Experiment& experiment, int images)
      : dataset_(dataset), experiment_(experiment), threads_(experiment.data.images.threads) {
    const std::size_t count = std::min(dataset.train.size(), static_cast<std::size_t>(images));
    images_.resize(count);
    samples_.resize(count);
    std::iota(samples_.begin(), samples_.end(), 0u);
    for (std::uint32_t i : samples_) {
      dataset.train.stored->files->read(i, images_[i]);
      bytes_ += images_[i].size();
      all_jpeg_ = all_jpeg_ && images_[i].size() > 1 && images_[i][0] == 0xff;
    }
    if (!all_jpeg_)
      throw InputError("bench data: compares with libjpeg-turbo; give a data set of JPEG images");
  }

  void round() {
    Bytes buffer;
    std::vector<RgbImage> pictures(static_cast<std::size_t>(threads_));
    if (packed()) {
      std::size_t got = 0;
      const double seconds = seconds_of([&] { got = read_shards(experiment_.data.path, bytes_); });
      reading_.other.push_back(seconds * static_cast<double>(bytes_) / static_cast<double>(got));
    }
    reading_.ours.push_back(seconds_of([&] {
      for (std::uint32_t i : samples_) dataset_.train.stored->files->read(i, buffer);
    }));
    alone_.push_back(seconds_of([&] {
      spread(images_.size(), threads_, [&](std::size_t i, int t) {
        decode_alone(images_[i], pictures[static_cast<std::size_t>(t)]);
      });
    }));
    decoding_.other.push_back(alone_.back());
    decoding_.ours.push_back(seconds_of([&] { decode_all(); }));
    loading_.other.push_back(alone_.back());
    loading_.ours.push_back(seconds_of([&] { load_all(); }));
  }

  void print() const {
    const auto count = static_cast<double>(images_.size());
    const double megabytes = 1e-6 * static_cast<double>(bytes_);
    std::cout
        << fmt::format("{} images, {:.1f} MB, {} thread{}; medians of {} rounds\n", images_.size(),
                       megabytes, threads_, threads_ == 1 ? "" : "s", alone_.size())
        << fmt::format("reading             {:>9.1f} MB/s", megabytes / median(reading_.ours))
        << (packed() ? fmt::format("     {:>5.1f}% of reading the shards in blocks\n",
                                   100.0 * reading_.ratio())
                     : "\n")
        << fmt::format("libjpeg-turbo alone {:>9.1f} images/s\n", count / median(alone_))
        << fmt::format("decoding            {:>9.1f} images/s {:>5.1f}% of libjpeg-turbo alone\n",
                       count / median(decoding_.ours), 100.0 * decoding_.ratio())
        << fmt::format("whole loader        {:>9.1f} images/s {:>5.1f}% of libjpeg-turbo alone\n",
                       count / median(loading_.ours), 100.0 * loading_.ratio());
  }

 private:
  bool packed() const { return experiment_.data.dataset == "packed"; }

  void decode_all() {
    std::vector<ImageDecoder> decoders(static_cast<std::size_t>(threads_));
    std::vector<RgbImage> pictures(decoders.size());
    spread(images_.size(), threads_, [&](std::size_t i, int t) {
      const auto own = static_cast<std::size_t>(t);
      decoders[own].decode(images_[i], pictures[own]);
    });
  }

  /// Reading, decoding, crop, colors and normalization: what a step gets.
  void load_all() {
    LoaderOptions options;
    options.plan = {1, 1, true, static_cast<std::int64_t>(samples_.size())};
    options.replicas = {0, 1};
    options.augment = AugmentConfig::from(experiment_.data);
    options.total_steps = options.plan.samples;
    options.prefetch = 2 * threads_;
    Loader loader(dataset_, samples_, options);
    for (std::int64_t step = 0; step < options.total_steps; ++step) loader.next();
  }

  const Dataset& dataset_;
  const Experiment& experiment_;
  const int threads_;
  std::vector<std::uint32_t> samples_;
  std::vector<Bytes> images_;
  std::size_t bytes_ = 0;
  bool all_jpeg_ = true;
  Sides reading_, decoding_, loading_;
  std::vector<double> alone_;
};

}  // namespace

int run_bench_data(const CommandLine& line, Communicator& comm) {
  const LoadedExperiment loaded = load_on_all_ranks(line, comm);
  if (!loaded.experiment.data.on_disk())
    throw InputError(fmt::format("{}: data.dataset: {} is not on disk; give image_folder or packed",
                                 loaded.at("data.dataset"), loaded.experiment.data.dataset));
  const Dataset dataset = load_data_on_all_ranks(loaded, comm);
  DataBench bench(dataset, loaded.experiment, line.bench.images);
  for (int i = 0; i < line.bench.rounds; ++i) bench.round();
  bench.print();
  return 0;
}

}  // namespace syncnorm
