// Waiting, with a deadline, the same for every communicator.
#include "comm/communicator.h"

#include <chrono>
#include <thread>

#include "kernels/error.h"

namespace syncnorm {

void Communicator::wait(Request& request, const char* what) {
  constexpr int kSpins = 2000;  // then give the core to a rank that shares it
  for (int i = 0; i < kSpins; ++i)
    if (test(request)) return;
  const auto begin = std::chrono::steady_clock::now();
  while (!test(request)) {
    std::this_thread::yield();
    const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
    if (waited.count() > deadline_)
      throw PeerLostError("rank " + std::to_string(rank()) + " waited " +
                          std::to_string(static_cast<int>(waited.count())) + " s for " + what +
                          " (fault.deadline): a peer is lost or stuck");
  }
}

}  // namespace syncnorm
