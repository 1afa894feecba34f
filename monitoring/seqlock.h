// A block of numbers with one writer and any number of readers, in memory that processes may share.
// Readers never block the writer and never see a partial write.
//
// It is a sequence lock: the sequence is odd during a write. Values are relaxed atomics, so a read
// that overlaps a write yields numbers that are discarded, not a data race.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace syncnorm {

class SharedBlock {
 public:
  SharedBlock() = default;
  /// `memory`: bytes(count) bytes, 8-byte aligned, initially zero, shared by writer and readers.
  SharedBlock(void* memory, std::size_t count)
      : sequence_(static_cast<std::atomic<std::uint64_t>*>(memory)),
        values_(reinterpret_cast<std::atomic<double>*>(sequence_ + 1)),
        count_(count) {}

  static std::size_t bytes(std::size_t count) { return sizeof(std::uint64_t) * (1 + count); }
  std::size_t count() const { return count_; }

  /// Writes count() `values`. Never waits. Only one thread may write.
  void write(std::span<const double> values) {
    const std::uint64_t before = sequence_->load(std::memory_order_relaxed);
    sequence_->store(before + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    for (std::size_t i = 0; i < count_; ++i) values_[i].store(values[i], std::memory_order_relaxed);
    sequence_->store(before + 2, std::memory_order_release);
  }

  /// Returns false when nothing was written yet, or when every try overlapped a write (the writer
  /// may have died during one); `values` is then unusable.
  bool read(std::span<double> values) const {
    constexpr int kTries = 100;
    for (int attempt = 0; attempt < kTries; ++attempt) {
      const std::uint64_t before = sequence_->load(std::memory_order_acquire);
      if (before == 0) return false;
      if (before % 2 != 0) continue;
      for (std::size_t i = 0; i < count_; ++i)
        values[i] = values_[i].load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (sequence_->load(std::memory_order_relaxed) == before) return true;
    }
    return false;
  }

 private:
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
                std::atomic<double>::is_always_lock_free && sizeof(std::atomic<double>) == 8);

  std::atomic<std::uint64_t>* sequence_ = nullptr;
  std::atomic<double>* values_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace syncnorm
