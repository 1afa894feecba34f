// See regular_file.h.
#include "base/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm {

RegularFile::RegularFile(const std::filesystem::path& path)
    : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {
  struct stat status {};
  if (descriptor_ < 0 || fstat(descriptor_, &status) != 0) {
    error_ = errno;
    trouble_ = error_ == ENOENT || error_ == ENOTDIR ? FileTrouble::missing
               : error_ == ENXIO                     ? FileTrouble::not_regular  // a socket
                                                     : FileTrouble::unreadable;
    return;
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
  if (S_ISDIR(status.st_mode)) {
    trouble_ = FileTrouble::folder;
  } else if (!S_ISREG(status.st_mode)) {
    trouble_ = FileTrouble::not_regular;
  }
}

RegularFile::~RegularFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

std::string RegularFile::problem() const {
  switch (trouble_) {
    case FileTrouble::none:
      return "";
    case FileTrouble::missing:
      return "no such file";
    case FileTrouble::folder:
      return "is a folder";
    case FileTrouble::not_regular:
      return "is not a regular file";
    case FileTrouble::unreadable:
      break;
  }
  return fmt::format("cannot be read ({})", std::strerror(error_));
}

std::string RegularFile::reason() const {
  return error_ != 0 ? std::strerror(error_) : "it " + problem();
}

std::size_t RegularFile::read(std::span<std::byte> to) {
  std::size_t got = 0;
  while (got < to.size() && trouble_ == FileTrouble::none) {
    const ssize_t count = ::read(descriptor_, to.data() + got, to.size() - got);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      error_ = errno;
      trouble_ = FileTrouble::unreadable;
    }
    if (count <= 0) break;
    got += static_cast<std::size_t>(count);
  }
  return got;
}

std::string RegularFile::read_text(std::uint64_t most) {
  if (trouble_ != FileTrouble::none) return "";
  std::string text(static_cast<std::size_t>(std::min(most, size_)), '\0');
  text.resize(read(std::as_writable_bytes(std::span(text))));
  return text;
}

std::optional<std::string> read_text_file_if_there(const std::filesystem::path& path,
                                                   std::string_view hint) {
  RegularFile file(path);
  std::string text = file.read_text();
  if (file.trouble() == FileTrouble::missing) return std::nullopt;
  if (file.trouble() != FileTrouble::none)
    throw InputError(fmt::format("{}: {}; {}", path.string(), file.problem(), hint));
  return text;
}

std::string read_text_file(const std::filesystem::path& path, std::string_view hint) {
  std::optional<std::string> text = read_text_file_if_there(path, hint);
  if (!text) throw InputError(fmt::format("{}: no such file; {}", path.string(), hint));
  return *std::move(text);
}

}  // namespace syncnorm
