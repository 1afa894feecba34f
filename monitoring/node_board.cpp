// See node_board.h. Ranks on one machine find each other without a launcher's variables: by equal
// host name and boot, and by the same shared memory. The memory's name is removed as soon as all of
// them have mapped it, so that nothing remains however the job ends.
#include "monitoring/node_board.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "comm/node.h"

namespace syncnorm {
namespace {

constexpr std::size_t kCacheLine = 64;

std::size_t padded(std::size_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine; }

}  // namespace

NodeBoard::NodeBoard(Communicator& comm, std::vector<std::size_t> sizes)
    : sizes_(std::move(sizes)) {
  for (const std::size_t count : sizes_) bytes_per_rank_ += padded(SharedBlock::bytes(count));
  ranks_ = ranks_of_this_node(comm);
  local_ = static_cast<int>(std::find(ranks_.begin(), ranks_.end(), comm.rank()) - ranks_.begin());
  const std::string name = is_first() ? fmt::format("/syncnorm-{}-{}", getuid(), getpid()) : "";
  if (is_first()) map(name, true);
  const std::vector<std::string> names = comm.all_gather_text(memory_ != nullptr ? name : "");
  const std::string& shared = names[static_cast<std::size_t>(ranks_[0])];
  if (!is_first() && !shared.empty()) map(shared, false);
  comm.all_gather_text("");  // all have mapped it
  if (is_first() && memory_ != nullptr) shm_unlink(name.c_str());
  if (!is_first() && shared.empty()) problem_ = "the first rank of the node has no shared memory";
  if (memory_ == nullptr) use_private_memory();
}

NodeBoard::~NodeBoard() { munmap(memory_, mapped_); }

void NodeBoard::map(const std::string& name, bool create) {
  const std::size_t size = bytes_per_rank_ * ranks_.size();
  const int flags = create ? O_RDWR | O_CREAT | O_EXCL : O_RDWR;
  if (create) shm_unlink(name.c_str());  // left by a killed process with the same number
  const int file = shm_open(name.c_str(), flags | O_CLOEXEC, S_IRUSR | S_IWUSR);
  void* memory = MAP_FAILED;
  // posix_fallocate, because on a full /dev/shm the first write would otherwise kill the process.
  if (file >= 0 && (!create || (errno = posix_fallocate(file, 0, static_cast<off_t>(size))) == 0))
    memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) {
    problem_ = fmt::format("shared memory {}: {}", name, std::strerror(errno));
    if (create && file >= 0) shm_unlink(name.c_str());
  } else {
    memory_ = static_cast<std::byte*>(memory);
    mapped_ = size;
  }
  if (file >= 0) close(file);
}

void NodeBoard::use_private_memory() {
  mapped_ = bytes_per_rank_ * ranks_.size();
  void* memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<std::byte*>(memory);
}

SharedBlock NodeBoard::block(int local, std::size_t index) const {
  std::size_t offset = static_cast<std::size_t>(local) * bytes_per_rank_;
  for (std::size_t i = 0; i < index; ++i) offset += padded(SharedBlock::bytes(sizes_[i]));
  return {memory_ + offset, sizes_[index]};
}

}  // namespace syncnorm
