// See tensorboard.h. A protocol buffer is a list of (field number · 8 + wire type, value).
#include "monitoring/tensorboard.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/printable.h"

namespace syncnorm {
namespace {

constexpr std::chrono::seconds kFlushInterval{2};
constexpr std::uint32_t kMaskDelta = 0xa282ead8;

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  constexpr std::uint32_t kCastagnoli = 0x82f63b78;  // bits reversed
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? kCastagnoli : 0);
    table[i] = value;
  }
  return table;
}

constexpr std::array<std::uint32_t, 256> kCrcTable = make_crc_table();

template <class T>
std::string little_endian(T value) {
  static_assert(std::endian::native == std::endian::little);
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::uint32_t masked(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + kMaskDelta; }

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

enum WireType { kVarint = 0, kDouble = 1, kBytes = 2, kFloat = 5 };

std::string key(int field, WireType type) {
  return varint(static_cast<std::uint64_t>(field) << 3 | static_cast<std::uint64_t>(type));
}
std::string bytes_field(int field, const std::string& bytes) {
  return key(field, kBytes) + varint(bytes.size()) + bytes;
}

/// Event: wall_time = 1 (double), step = 2 (int64), then file_version = 3, summary = 5 or
/// session_log = 7.
std::string event(std::int64_t step, const std::string& content) {
  const double now = unix_seconds();
  return key(1, kDouble) + little_endian(now) + key(2, kVarint) +
         varint(static_cast<std::uint64_t>(step)) + content;
}

/// SessionLog: status = 1, with START = 1. It makes readers discard this step and later ones of
/// older files: the steps that a resumed run had lost after its checkpoint.
std::string session_start() { return bytes_field(7, key(1, kVarint) + varint(1)); }

constexpr std::string_view kFileName = "events.out.tfevents.";

/// Returns the time (Unix, seconds) for the name of a new file. Readers sort files by name, so it
/// is later than that of every file in the folder.
std::int64_t next_time(const std::filesystem::path& folder) {
  std::int64_t time = std::chrono::duration_cast<std::chrono::seconds>(
                          std::chrono::system_clock::now().time_since_epoch())
                          .count();
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kFileName))
      time = std::max<std::int64_t>(time,
                                    std::strtoll(name.c_str() + kFileName.size(), nullptr, 10) + 1);
  }
  return time;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const char c : bytes)
    crc = crc >> 8 ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

void TensorBoard::on_start(const StartEvent& start) {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  const std::filesystem::path folder = start.run_dir;
  file_.open(folder / fmt::format("{}{:010}.{}.{}", kFileName, next_time(folder), host, getpid()));
  write_record(event(0, bytes_field(3, "brain.Event:2")));
  write_record(event(start.first_step + 1, session_start()));
  file_.flush();
}

void TensorBoard::on_step(const StepEvent& step) {
  Scalars scalars = {{"train/loss", step.loss},
                     {"train/accuracy", step.accuracy},
                     {"train/learning_rate", step.lr},
                     {"time/step_seconds", step.seconds},
                     {"time/data_share", step.data_seconds / step.seconds},
                     {"time/exposed_reduction_share", step.reduction_seconds / step.seconds},
                     {"time/images_per_second", static_cast<double>(step.samples) / step.seconds}};
  if (step.gradient_norm >= 0.0) scalars.emplace_back("train/gradient_norm", step.gradient_norm);
  write(step.step, scalars);
  const auto now = Clock::now();
  if (now < next_flush_) return;
  file_.flush();
  next_flush_ = now + kFlushInterval;
}

void TensorBoard::on_eval(const EvalEvent& eval) {
  Scalars scalars = {{eval.split + "/loss" + eval.suffix(), eval.loss},
                     {eval.split + "/accuracy" + eval.suffix(), eval.accuracy}};
  if (eval.per_pixel()) {
    scalars.emplace_back(eval.split + "/mean_iou" + eval.suffix(), eval.mean_iou);
    for (const ClassResult& one : eval.classes)
      if (!std::isnan(one.iou))
        scalars.emplace_back(
            fmt::format("{}/iou{}/{}", eval.split, eval.suffix(), printable(one.name)), one.iou);
  }
  write(eval.step, scalars);
  file_.flush();
}

void TensorBoard::on_end(const EndEvent&) { file_.close(); }

/// Summary: value = 1 (repeated Value); Value: tag = 1, simple_value = 2 (float).
void TensorBoard::write(std::int64_t step, const Scalars& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars)
    summary += bytes_field(
        1, bytes_field(1, tag) + key(2, kFloat) + little_endian(static_cast<float>(value)));
  write_record(event(step, bytes_field(5, summary)));
}

void TensorBoard::write_record(const std::string& data) {
  const std::string length = little_endian(static_cast<std::uint64_t>(data.size()));
  file_.append(length + little_endian(masked(length)) + data + little_endian(masked(data)));
}

}  // namespace syncnorm
