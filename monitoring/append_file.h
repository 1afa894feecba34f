// A file that grows by whole records, such as lines, and gets over a disk that is full for a while.
//
// What cannot be written is held back in memory and tried again with everything that comes later,
// so the file goes on exactly where it stopped; only beyond kMostHeld are records lost, and
// counted.
#pragma once

#include <cstddef>
#include <deque>
#include <filesystem>
#include <functional>
#include <string>

namespace syncnorm {

class AppendFile {
 public:
  /// Bytes that are held back at most.
  static constexpr std::size_t kMostHeld = std::size_t{16} << 20;
  /// Takes a warning: one sentence, without "syncnorm: ".
  using Say = std::function<void(const std::string&)>;

  /// `record`: what a record is called in warnings, such as "line".
  AppendFile(std::string record, Say say) : record_(std::move(record)), say_(std::move(say)) {}
  ~AppendFile() { close(); }
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  /// Opens `path` to append to it, and makes it where it is not there. Throws InputError "PATH:
  /// cannot be opened (why); choose another run_dir".
  void open(const std::filesystem::path& path);

  /// Adds a record, which is written by flush() or when many have come together.
  void append(const std::string& record);

  /// Writes what is held back, as far as there is room; a warning tells when that begins to fail
  /// and when it works again.
  void flush();

  /// Writes the rest; what there is no room for is lost, but for whole records. Returns how many
  /// records were lost since open(), and tells it when there are any. Never throws.
  std::size_t close();

  /// Records lost so far, since open().
  std::size_t lost() const { return lost_; }

 private:
  void drop_written(std::size_t bytes);
  void tell(const std::string& message) const;

  std::string record_;
  Say say_;
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::string held_;               // not yet written; may begin within a record
  std::deque<std::size_t> sizes_;  // bytes left of the records in held_
  std::size_t written_of_first_ = 0;
  std::size_t late_ = 0, lost_ = 0;  // records: written after a failure; never
  int error_ = 0;                    // errno while writing fails
};

}  // namespace syncnorm
