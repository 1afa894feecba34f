// Waiting with a deadline, common to all communicators.
#include "comm/communicator.h"

#include <algorithm>
#include <stdexcept>
#include <thread>

#include "base/clock.h"
#include "base/error.h"

namespace syncnorm {

void Communicator::wait(Request& request, const char* what) {
  constexpr int kSpins = 2000;  // then yields the core to a rank that shares it
  for (int i = 0; i < kSpins; ++i)
    if (test(request)) return;
  constexpr double kLongestLook = 1.0;  // seconds; a process that slept longer was itself stopped
  auto looked = Clock::now();
  double waited = 0.0;
  while (!test(request)) {
    std::this_thread::yield();
    const auto now = Clock::now();
    waited += std::min(kLongestLook, seconds_between(looked, now));
    looked = now;
    if (waited > deadline_)
      throw PeerLostError("rank " + std::to_string(rank()) + " waited " +
                          std::to_string(static_cast<int>(waited)) + " s for " + what +
                          " (fault.deadline): a peer is lost or stuck");
  }
}

void Communicator::do_exchange(Request& /*request*/, int /*channel*/, int /*peer*/,
                               const void* /*send*/, int /*send_count*/, void* /*receive*/,
                               int /*receive_count*/, DataType /*type*/) {
  throw std::logic_error(description() + " has no messages between two ranks");
}

}  // namespace syncnorm
