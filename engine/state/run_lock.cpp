// A POSIX lock, which also works over NFS and reports the process that holds it.
#include "engine/state/run_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm {

void create_run_folder(const std::filesystem::path& run_dir) {
  std::error_code error;
  std::filesystem::create_directories(run_dir, error);
  if (error)
    throw InputError(fmt::format("{}: cannot create the run folder ({}); choose another run_dir",
                                 run_dir.string(), error.message()));
}

RunLock::RunLock(const std::filesystem::path& run_dir) {
  const std::filesystem::path path = run_dir / ".lock";
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0)
    throw InputError(fmt::format("{}: cannot be opened ({}); choose another run_dir", path.string(),
                                 std::strerror(errno)));
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd_, F_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES)) return;
  lock.l_type = F_WRLCK;
  lock.l_pid = 0;
  fcntl(fd_, F_GETLK, &lock);
  close(fd_);
  throw InputError(fmt::format(
      "{}: another run is training here (process {}); wait for its end, or choose another run_dir",
      run_dir.string(), lock.l_pid));
}

RunLock::~RunLock() { close(fd_); }

}  // namespace syncnorm
