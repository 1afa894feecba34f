// See append_file.h.
#include "monitoring/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm {
namespace {

constexpr std::size_t kTogether = 65536;  // held bytes at which append() flushes

}  // namespace

void AppendFile::open(const std::filesystem::path& path) {
  close();
  path_ = path;
  late_ = lost_ = 0;
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0)
    throw InputError(fmt::format("{}: cannot be opened ({}); choose another run_dir", path.string(),
                                 std::strerror(errno)));
}

void AppendFile::append(const std::string& record) {
  if (held_.size() + record.size() > kMostHeld) flush();
  if (held_.size() + record.size() > kMostHeld) {
    ++lost_;
    return;
  }
  held_ += record;
  sizes_.push_back(record.size());
  if (error_ == 0 && held_.size() >= kTogether) flush();
}

void AppendFile::flush() {
  std::size_t done = 0;
  int error = 0;
  while (done < held_.size() && error == 0) {
    const ssize_t n = ::write(descriptor_, held_.data() + done, held_.size() - done);
    if (n >= 0)
      done += static_cast<std::size_t>(n);
    else if (errno != EINTR)
      error = errno;
  }
  const bool failing = error_ != 0;
  if (failing) late_ += sizes_.size();
  drop_written(done);
  if (failing) late_ -= sizes_.size();
  error_ = error;
  if (!failing && error != 0)
    tell(fmt::format("{}; {}s are held back until there is room", std::strerror(error), record_));
  if (failing && error == 0)
    tell(fmt::format("can be written again; {} {}s were held back, {} were lost", late_, record_,
                     lost_));
}

void AppendFile::drop_written(std::size_t bytes) {
  held_.erase(0, bytes);
  while (!sizes_.empty() && bytes >= sizes_.front()) {
    bytes -= sizes_.front();
    sizes_.pop_front();
    written_of_first_ = 0;
  }
  if (bytes == 0) return;
  sizes_.front() -= bytes;
  written_of_first_ += bytes;
}

std::size_t AppendFile::close() {
  if (descriptor_ < 0) return 0;
  flush();
  lost_ += sizes_.size();
  // Removes a partly written last record.
  if (written_of_first_ > 0) {
    const off_t end = lseek(descriptor_, 0, SEEK_END);
    const auto torn = static_cast<off_t>(written_of_first_);
    if (end >= torn && ftruncate(descriptor_, end - torn) != 0)
      tell(fmt::format("its last {} is torn ({})", record_, std::strerror(errno)));
  }
  int error = error_;
  if (::close(descriptor_) != 0 && error == 0) error = errno;
  descriptor_ = -1;
  if (lost_ > 0 || error != 0)
    tell(fmt::format("{} {}s were lost ({})", lost_, record_,
                     error != 0 ? std::strerror(error) : "there was no room for a while"));
  held_.clear();
  sizes_.clear();
  written_of_first_ = 0;
  error_ = 0;
  return std::max<std::size_t>(lost_, error != 0 ? 1 : 0);
}

void AppendFile::tell(const std::string& message) const {
  if (say_) say_(path_.string() + ": " + message);
}

}  // namespace syncnorm
