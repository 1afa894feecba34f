// syncnorm bench norm: compares the normalization kernels' speed with that of memory.
#include <iostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/train/bench.h"
#include "kernels/bench/norm_bench.h"
#include "launch/build_info.h"
#include "launch/commands.h"

namespace syncnorm {
namespace {

/// Sizes within a core's cache, at the edge of the shared cache, and beyond all caches.
constexpr NormShape kShapes[] = {{2, 14, 14, 32}, {16, 28, 28, 64}, {64, 56, 56, 64}};
/// Sizes beyond any GPU's cache, in bf16 too.
constexpr NormShape kGpuShapes[] = {{192, 112, 112, 64}, {192, 56, 56, 256}};

std::vector<NormShape> shapes_of(const BenchLine& line) {
  NormShape own = kShapes[2];
  bool given = false;
  const auto set = [&given](int& size, int wanted) {
    if (wanted == 0) return;
    size = wanted;
    given = true;
  };
  set(own.samples, line.samples);
  set(own.height, line.height);
  set(own.width, line.width);
  set(own.channels, line.channels);
  std::vector<NormShape> shapes(std::begin(kShapes), std::end(kShapes));
  if (line.cuda) shapes.assign(std::begin(kGpuShapes), std::end(kGpuShapes));
  if (given) shapes = {own};
  for (NormShape& shape : shapes) shape.storage = line.bf16 ? Storage::bf16 : Storage::f32;
  return shapes;
}

double gb_per_second(std::size_t bytes, double seconds) {
  return 1e-9 * static_cast<double>(bytes) / seconds;
}

std::vector<double> ratios(const std::vector<double>& above, const std::vector<double>& below) {
  std::vector<double> values;
  for (std::size_t i = 0; i < above.size(); ++i) values.push_back(above[i] / below[i]);
  return values;
}

/// The printed values of one kernel: medians over rounds, of ratios within a round.
struct Row {
  std::size_t bytes;
  double seconds, bandwidth, share_of_copy;
  double onednn_seconds = 0.0, times_onednn = 0.0;  // 0 when oneDNN has none

  Row(const NormShape& shape, const NormKernelBench& kernel)
      : bytes(shape.bytes() * static_cast<std::size_t>(kernel.passes)),
        seconds(median(kernel.seconds)),
        bandwidth(gb_per_second(bytes, seconds)),
        share_of_copy(0.5 * kernel.passes * median(ratios(kernel.copy_seconds, kernel.seconds))) {
    if (kernel.onednn_seconds.empty()) return;
    onednn_seconds = median(kernel.onednn_seconds);
    times_onednn = median(ratios(kernel.onednn_seconds, kernel.seconds));
  }
};

std::string table(const NormBench& bench) {
  const NormShape& s = bench.shape;
  const double plain = gb_per_second(2 * s.bytes(), median(bench.plain_copy));
  std::string copies = fmt::format("{:.1f} GB/s", plain);
  if (!bench.streamed_copy.empty())
    copies += fmt::format(
        " with ordinary stores, {:.1f} GB/s with non-temporal ones; compared with the {}",
        gb_per_second(2 * s.bytes(), median(bench.streamed_copy)),
        bench.streamed_is_faster ? "latter" : "former");
  std::string text = fmt::format(
      "\n{} x {} x {} x {} {}, {:.3f} MB a tensor\n"
      "copy, read + written bytes: {}\n"
      "oneDNN: {}\n\n"
      "| kernel | passes | us | MB | GB/s | of copy | oneDNN, us | faster than oneDNN |\n"
      "|---|---:|---:|---:|---:|---:|---:|---:|\n",
      s.samples, s.height, s.width, s.channels, s.storage == Storage::f32 ? "f32" : "bf16",
      1e-6 * static_cast<double>(s.bytes()), copies,
      bench.onednn.empty() ? "not compared" : bench.onednn);
  for (const NormKernelBench& kernel : bench.kernels) {
    const Row row(s, kernel);
    text += fmt::format("| {} | {} | {:.1f} | {:.3f} | {:.1f} | {:.0f}% |", kernel.name,
                        kernel.passes, 1e6 * row.seconds, 1e-6 * static_cast<double>(row.bytes),
                        row.bandwidth, 100.0 * row.share_of_copy);
    text += kernel.onednn_seconds.empty()
                ? " | |\n"
                : fmt::format(" {:.1f} | {:.2f}x |\n", 1e6 * row.onednn_seconds, row.times_onednn);
  }
  return text;
}

nlohmann::json json(const NormBench& bench) {
  const NormShape& s = bench.shape;
  const auto copy = [&](const std::vector<double>& seconds) {
    return nlohmann::json{{"seconds", median(seconds)},
                          {"gb_per_second", gb_per_second(2 * s.bytes(), median(seconds))}};
  };
  nlohmann::json out = {{"samples", s.samples},
                        {"height", s.height},
                        {"width", s.width},
                        {"channels", s.channels},
                        {"storage", s.storage == Storage::f32 ? "f32" : "bf16"},
                        {"bytes", s.bytes()},
                        {"copy", copy(bench.plain_copy)},
                        {"compared_copy_is_non_temporal", bench.streamed_is_faster},
                        {"onednn", bench.onednn}};
  if (!bench.streamed_copy.empty()) out["non_temporal_copy"] = copy(bench.streamed_copy);
  for (const NormKernelBench& kernel : bench.kernels) {
    const Row row(s, kernel);
    nlohmann::json one = {{"name", kernel.name},
                          {"passes", kernel.passes},
                          {"bytes", row.bytes},
                          {"seconds", row.seconds},
                          {"gb_per_second", row.bandwidth},
                          {"share_of_copy", row.share_of_copy}};
    if (!kernel.onednn_seconds.empty()) {
      one["onednn_seconds"] = row.onednn_seconds;
      one["times_onednn"] = row.times_onednn;
    }
    out["kernels"].push_back(one);
  }
  return out;
}

}  // namespace

int run_bench_norm(const CommandLine& line, Communicator&) {
  const std::unique_ptr<Device> device = line.bench.cuda ? make_cuda_device(0) : make_cpu_device();
  // Normalization needs no bf16 instructions, so the CPU always emulates them here.
  if (line.bench.bf16) device->use_storage(Storage::bf16, device->host_memory());
  nlohmann::json out = {
      {"version", kVersion}, {"device", device->description()}, {"rounds", line.bench.rounds}};
  if (!line.bench.json)
    std::cout << fmt::format("{}{}, medians of {} rounds\n", device->description(),
                             device->host_memory() ? ", one core" : "", line.bench.rounds);
  for (const NormShape& shape : shapes_of(line.bench)) {
    const NormBench bench = bench_norms(*device, shape, line.bench.rounds);
    if (line.bench.json)
      out["tensors"].push_back(json(bench));
    else
      std::cout << table(bench) << std::flush;
  }
  if (line.bench.json) std::cout << out.dump(2) << "\n";
  return 0;
}

}  // namespace syncnorm
