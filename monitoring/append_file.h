// A file to which whole records, such as lines, are appended, and which survives a temporarily full
// disk.
//
// Records that cannot be written are held in memory and retried before any later ones, so the file
// continues exactly where it stopped. Only beyond kMostHeld are records lost, and counted.
#pragma once

#include <cstddef>
#include <deque>
#include <filesystem>
#include <functional>
#include <string>

namespace syncnorm {

class AppendFile {
 public:
  /// The most bytes that are held in memory.
  static constexpr std::size_t kMostHeld = std::size_t{16} << 20;
  /// Receives a warning: one sentence, without "syncnorm: ".
  using Say = std::function<void(const std::string&)>;

  /// `record` is the word for a record in warnings, such as "line".
  AppendFile(std::string record, Say say) : record_(std::move(record)), say_(std::move(say)) {}
  ~AppendFile() { close(); }
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  /// Opens `path` for appending, creating it if necessary. Throws InputError "PATH: cannot be
  /// opened (why); choose another run_dir".
  void open(const std::filesystem::path& path);

  /// Adds a record; flush() writes it, or append() itself once many are held.
  void append(const std::string& record);

  /// Writes the held records, as far as there is room. Warns when that begins to fail and when it
  /// works again.
  void flush();

  /// Writes the remaining records; those without room are lost, and a partly written one is
  /// removed. Returns the number of records lost since open(), and warns when there are any. Never
  /// throws.
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
  std::string held_;               // not yet written; may begin inside a record
  std::deque<std::size_t> sizes_;  // remaining bytes of each record in held_
  std::size_t written_of_first_ = 0;
  std::size_t late_ = 0, lost_ = 0;  // records: written after a failure; never written
  int error_ = 0;                    // errno while writing fails
};

}  // namespace syncnorm
