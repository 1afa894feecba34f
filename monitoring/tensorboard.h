// TensorBoard event files with the run's curves.
//
// The format, from TensorFlow's description: a file is a list of records, each
//   length (u64), masked CRC-32C of the length (u32), data, masked CRC-32C of the data (u32),
// little-endian; the data is a protocol buffer of type Event. Only the fields that scalars need are
// written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "engine/train/observer.h"
#include "monitoring/append_file.h"

namespace syncnorm {

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4).
std::uint32_t crc32c(std::string_view bytes);

class TensorBoard final : public Observer {
 public:
  /// `say` shows warnings to the user.
  explicit TensorBoard(AppendFile::Say say) : file_("record", std::move(say)) {}

  /// Opens run_dir/events.out.tfevents.TIME.HOST.PID, sorted after existing ones. Throws InputError
  /// when the file cannot be written; later, a full disk only causes a warning.
  void on_start(const StartEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_eval(const EvalEvent& event) override;
  void on_end(const EndEvent& event) override;

 private:
  using Scalars = std::vector<std::pair<std::string, double>>;

  void write(std::int64_t step, const Scalars& scalars);
  void write_record(const std::string& data);

  AppendFile file_;
  Clock::time_point next_flush_;
};

}  // namespace syncnorm
