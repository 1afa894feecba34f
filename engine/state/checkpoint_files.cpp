// See checkpoint_files.h.
#include "engine/state/checkpoint_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const char* action, int error) {
  throw CheckpointError(
      fmt::format("{}: cannot {}: {}", path.string(), action, std::strerror(error)));
}

/// Closes a file descriptor when its scope ends.
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

FaultEffect CheckpointFiles::boundary(const fs::path& path, const char* action) {
  ++boundaries_;
  if (faults_ == nullptr) return FaultEffect::none;
  const FaultEffect effect = faults_->at(FaultPlace::save, step_, boundaries_);
  if (effect == FaultEffect::no_space) fail(path, action, ENOSPC);
  if (effect == FaultEffect::io_error) fail(path, action, EIO);
  return effect;
}

void CheckpointFiles::create_folder(const fs::path& folder) {
  boundary(folder, "create the folder");
  std::error_code error;
  if (!fs::create_directory(folder, error)) fail(folder, "create the folder", error.value());
}

void CheckpointFiles::write(const fs::path& path, const std::string& bytes) {
  boundary(path, "create the file");
  const Descriptor file(path, O_WRONLY | O_CREAT | O_EXCL);
  if (file.get() < 0) fail(path, "create the file", errno);
  write_all(file.get(), path, bytes);
  boundary(path, "sync the file");
  if (fsync(file.get()) != 0) fail(path, "sync the file", errno);
}

void CheckpointFiles::write_all(int fd, const fs::path& path, std::string bytes) {
  const FaultEffect effect = boundary(path, "write the file");
  const std::size_t half = bytes.size() / 2;
  if (effect == FaultEffect::torn) bytes.resize(half);
  if (effect == FaultEffect::flip) bytes[half] = static_cast<char>(bytes[half] ^ 1);
  std::size_t at = 0;
  bool shorten = effect == FaultEffect::short_write;
  while (at < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + at, shorten ? half : bytes.size() - at);
    shorten = false;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, "write the file", errno);
    at += static_cast<std::size_t>(n);
  }
}

void CheckpointFiles::sync_folder(const fs::path& folder) {
  boundary(folder, "sync the folder");
  const Descriptor opened(folder, O_RDONLY | O_DIRECTORY);
  if (opened.get() < 0) fail(folder, "open the folder", errno);
  if (fsync(opened.get()) != 0) fail(folder, "sync the folder", errno);
}

void CheckpointFiles::rename(const fs::path& from, const fs::path& to) {
  boundary(to, "rename the folder");
  if (::rename(from.c_str(), to.c_str()) != 0) fail(to, "rename the folder", errno);
}

void CheckpointFiles::remove_all(const fs::path& folder) {
  boundary(folder, "remove the folder");
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) fail(folder, "remove the folder", error.value());
}

}  // namespace syncnorm
