// A mutex for Clang's thread safety analysis, which the lint runs and which rejects code that uses
// a guarded member without its mutex (clang.llvm.org/docs/ThreadSafetyAnalysis.html). Other
// compilers ignore the annotations.
//
// The analysis does not follow lambdas, so code that waits loops over its condition itself.
#pragma once

#include <condition_variable>
#include <mutex>

#ifdef __clang__
#define SYNCNORM_THREAD_SAFETY(attribute) __attribute__((attribute))
#else
#define SYNCNORM_THREAD_SAFETY(attribute)
#endif

/// A member that may be used only while `mutex` is held.
#define SYNCNORM_GUARDED_BY(mutex) SYNCNORM_THREAD_SAFETY(guarded_by(mutex))
/// A function that may be called only while `mutex` is held, and that still holds it when it
/// returns.
#define SYNCNORM_REQUIRES(mutex) SYNCNORM_THREAD_SAFETY(requires_capability(mutex))

namespace syncnorm {

class SYNCNORM_THREAD_SAFETY(capability("mutex")) Mutex {
 public:
  void lock() SYNCNORM_THREAD_SAFETY(acquire_capability()) { mutex_.lock(); }
  void unlock() SYNCNORM_THREAD_SAFETY(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

/// Holds a mutex until the end of its scope.
class SYNCNORM_THREAD_SAFETY(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) SYNCNORM_THREAD_SAFETY(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() SYNCNORM_THREAD_SAFETY(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// Waits with a held Mutex; see std::condition_variable_any.
using Condition = std::condition_variable_any;

}  // namespace syncnorm
