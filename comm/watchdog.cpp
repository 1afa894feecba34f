// See watchdog.h.
#include "comm/watchdog.h"

#include <cxxabi.h>
#include <execinfo.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/error.h"
#include "comm/node.h"

namespace syncnorm {
namespace {

constexpr std::chrono::milliseconds kLook{100};
constexpr double kLongestLook = 1.0;  // seconds; a process that slept longer was itself stopped
constexpr std::chrono::seconds kForOthers{3};  // that they need to write their records
constexpr std::chrono::seconds kForStack{1};

// ---- The stack of another thread: a signal makes it write down its own. The handler has a stack
// to itself, since the thread's stack pointer may point into a heap buffer (oneDNN's generated
// code).

constexpr std::size_t kHandlerStack = std::size_t{256} << 10;  // bytes; unwinding takes some
std::array<void*, 64> stack_frames;
std::atomic<int> stack_depth{-1};

int stack_signal() { return SIGRTMIN + 4; }  // the first ones are glibc's, others debuggers'

/// The watched thread's own stack, as addresses.
std::uintptr_t stack_begin = 0, stack_end = 0;

void find_own_stack() {
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  void* begin = nullptr;
  std::size_t size = 0;
  if (pthread_attr_getstack(&attributes, &begin, &size) == 0) {
    stack_begin = reinterpret_cast<std::uintptr_t>(begin);
    stack_end = stack_begin + size;
  }
  pthread_attr_destroy(&attributes);
}

/// Where the stack pointer is elsewhere there are no frames to follow, only the place itself.
void take_stack(int, siginfo_t*, void* interrupted) {
  const auto& registers = static_cast<const ucontext_t*>(interrupted)->uc_mcontext.gregs;
  const auto pointer = static_cast<std::uintptr_t>(registers[REG_RSP]);
  if (pointer >= stack_begin && pointer < stack_end) {
    stack_depth.store(backtrace(stack_frames.data(), static_cast<int>(stack_frames.size())));
  } else {
    stack_frames[0] = reinterpret_cast<void*>(registers[REG_RIP]);
    stack_depth.store(1);
  }
}

/// A stack for signal handlers on the calling thread, if it has none.
class HandlerStack {
 public:
  HandlerStack() {
    stack_t now = {};
    if (sigaltstack(nullptr, &now) != 0 || (now.ss_flags & SS_DISABLE) == 0) return;
    memory_ = std::make_unique<std::byte[]>(kHandlerStack);
    stack_t own = {};
    own.ss_sp = memory_.get();
    own.ss_size = kHandlerStack;
    sigaltstack(&own, nullptr);
  }
  ~HandlerStack() {
    if (memory_ == nullptr) return;
    stack_t none = {};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
  }
  HandlerStack(const HandlerStack&) = delete;
  HandlerStack& operator=(const HandlerStack&) = delete;

 private:
  std::unique_ptr<std::byte[]> memory_;
};

void prepare_stack() {
  thread_local const HandlerStack stack;  // as long as the thread, which may be asked until its end
  find_own_stack();
  // The first call loads a library, which a handler must not.
  backtrace(stack_frames.data(), static_cast<int>(stack_frames.size()));
  struct sigaction action = {};
  action.sa_sigaction = take_stack;
  action.sa_flags = SA_RESTART | SA_ONSTACK | SA_SIGINFO;
  sigaction(stack_signal(), &action, nullptr);
}

/// "program(mangled+0x1f) [address]" with the name as in the source.
std::string readable(std::string frame) {
  const std::size_t begin = frame.find('(') + 1, end = frame.find('+', begin);
  if (begin == 0 || end == std::string::npos || end == begin) return frame;
  int status = -1;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(frame.substr(begin, end - begin).c_str(), nullptr, nullptr, &status),
      std::free);
  return status == 0 ? frame.replace(begin, end - begin, name.get()) : frame;
}

std::vector<std::string> stack_of(pthread_t thread) {
  stack_depth.store(-1);
  if (pthread_kill(thread, stack_signal()) != 0) return {};
  const auto end = Clock::now() + kForStack;
  while (stack_depth.load() < 0 && Clock::now() < end) std::this_thread::sleep_for(kLook / 10);
  const int depth = stack_depth.load();
  if (depth < 0) return {"(the thread did not answer)"};
  const std::unique_ptr<char*, void (*)(void*)> symbols(
      backtrace_symbols(stack_frames.data(), depth), std::free);
  std::vector<std::string> frames;
  for (int i = 0; symbols != nullptr && i < depth; ++i)
    frames.push_back(readable(symbols.get()[i]));
  return frames;
}

// ---- Who the ranks are.

/// Equal for processes that know each other's process ids.
std::string process_space() {
  std::error_code error;
  return boot_identity() + " " + std::filesystem::read_symlink("/proc/self/ns/pid", error).string();
}

}  // namespace

/// The other ranks of this machine, as handles that become readable when the process ends.
class Watchdog::Peers {
 public:
  explicit Peers(Communicator& comm) {
    const std::string space = process_space();
    const auto all = comm.all_gather_text(fmt::format("{} {}", getpid(), space));
    for (int r = 0; r < comm.size(); ++r) {
      const std::string& text = all[static_cast<std::size_t>(r)];
      const std::size_t gap = text.find(' ');
      if (r == comm.rank() || text.substr(gap + 1) != space) continue;
      // Not in glibc before 2.36. Where the kernel has none, the deadline has to do.
      const long handle = syscall(SYS_pidfd_open, std::stoi(text.substr(0, gap)), 0);
      if (handle < 0) continue;
      handles_.push_back({static_cast<int>(handle), POLLIN, 0});
      ranks_.push_back(r);
    }
  }
  ~Peers() {
    for (const pollfd& handle : handles_) close(handle.fd);
  }
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  /// A rank whose process has ended, or -1.
  int ended() {
    if (poll(handles_.data(), handles_.size(), 0) <= 0) return -1;
    const auto found = std::find_if(handles_.begin(), handles_.end(),
                                    [](const pollfd& handle) { return handle.revents != 0; });
    return found == handles_.end() ? -1
                                   : ranks_[static_cast<std::size_t>(found - handles_.begin())];
  }

 private:
  std::vector<pollfd> handles_;
  std::vector<int> ranks_;
};

Watchdog::Watchdog(Communicator& comm, const FlightRecorder& recorder, double deadline,
                   double patience, std::filesystem::path folder)
    : recorder_(recorder),
      deadline_(deadline),
      patience_(patience),
      folder_(std::move(folder)),
      rank_(comm.rank()),
      ranks_(comm.size()),
      launch_(comm.all_gather_text(fmt::format("{}-{:.3f}", getpid(), unix_seconds()))[0]),
      watched_(pthread_self()),
      peers_(std::make_unique<Peers>(comm)) {
  prepare_stack();
  thread_ = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Watchdog::watch() {
  std::unique_lock lock(mutex_);
  auto looked = Clock::now();
  while (!wake_.wait_for(lock, kLook, [this] { return leaving_; })) {
    const auto now = Clock::now();
    const double elapsed = seconds_between(looked, now);
    looked = now;
    if (const int rank = peers_->ended(); rank >= 0)
      give_up(fmt::format("rank {} has ended", rank), false);
    if (idle_too_long(std::min(elapsed, kLongestLook)))
      give_up(fmt::format("no progress for {:.3g} s (fault.deadline)", deadline_), true);
  }
}

bool Watchdog::idle_too_long(double elapsed) {
  const std::int64_t count = recorder_.count();
  idle_ = count == seen_ ? idle_ + elapsed : 0.0;
  seen_ = count;
  return idle_ > deadline_ + (recorder_.rests() ? patience_ : 0.0);
}

void Watchdog::leave_record(const std::string& reason) const {
  const bool own_thread = pthread_equal(pthread_self(), watched_) != 0;
  write_flight(folder_, {launch_, rank_, ranks_, unix_seconds(), reason, recorder_.last(),
                         own_thread ? std::vector<std::string>() : stack_of(watched_)});
}

/// Waits for the others' records, as far as they come, and judges.
FlightVerdict Watchdog::verdict() const {
  const auto end = Clock::now() + kForOthers;
  std::vector<FlightRecord> records;
  do {
    std::this_thread::sleep_for(kLook);
    records = read_flight(folder_);
  } while (Clock::now() < end && static_cast<int>(records.size()) < ranks_);
  return judge_flight(records);
}

void Watchdog::give_up(const std::string& reason, bool ask_others) {
  std::string message = fmt::format("syncnorm: rank {}: {}", rank_, reason);
  const std::vector<FlightEvent> events = recorder_.last();
  if (!events.empty()) message += fmt::format("; it is in {}", flight_text(events.back()));
  try {
    leave_record(reason);
    if (ask_others && ranks_ > 1) message += "; " + verdict().text;
    message += fmt::format("; see syncnorm inspect --flight {}", folder_.string());
  } catch (const std::exception& error) {
    message += fmt::format("; {}", error.what());
  }
  std::fputs((message + "\n").c_str(), stderr);
  std::fflush(stderr);
  _exit(static_cast<int>(ExitCode::peer_lost));
}

}  // namespace syncnorm
