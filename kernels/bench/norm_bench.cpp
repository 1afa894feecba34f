// See norm_bench.h. Each round measures every kernel right after a copy, so that a temporary
// slowdown of the machine affects both.
#include "kernels/bench/norm_bench.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/clock.h"
#include "kernels/bench/copy.h"
#include "kernels/bench/norm_cases.h"

namespace syncnorm {
namespace {

using Call = std::function<void()>;

/// Seconds per call, including the queued work.
double seconds_of(Device& device, const Call& call, int calls) {
  const auto begin = Clock::now();
  for (int i = 0; i < calls; ++i) call();
  device.synchronize();
  return seconds_since(begin) / calls;
}

/// A call repeated until the clock's cost is negligible; small tensors thus stay in the cache from
/// call to call.
class Timed {
 public:
  Timed(Device& device, Call call) : device_(device), call_(std::move(call)) {
    // Seconds; on a device with queues, the microseconds of queueing must be negligible.
    const double span = device.host_memory() ? 2e-4 : 2e-2;
    call_();
    device.synchronize();
    const double once = std::max(seconds_of(device, call_, 1), 1e-8);
    calls_ = static_cast<int>(std::clamp(std::ceil(span / once), 1.0, 1e4));
  }
  double seconds() const {
    if (calls_ > 1) call_();  // warms the caches: another working set was in use
    return seconds_of(device_, call_, calls_);
  }

 private:
  Device& device_;
  Call call_;
  int calls_ = 1;
};

}  // namespace

NormBench bench_norms(Device& device, const NormShape& shape, int rounds) {
  const NormCases cases(device, shape);
  NormBench bench;
  bench.shape = shape;
  bench.onednn = cases.onednn();
  const float* from = cases.source();
  float* to = cases.target();
  const std::size_t count = shape.bytes() / sizeof(float);
  const bool host = device.host_memory();
  const Timed plain(device, [=, &device] {
    if (host)
      copy_plainly(from, to, count);
    else
      device.copy(to, from, count * sizeof(float));
  });
  std::optional<Timed> past_caches;
  if (host) past_caches.emplace(device, [=] { copy_past_caches(from, to, count); });
  const Timed& streamed = host ? *past_caches : plain;
  for (int round = 0; round < rounds; ++round) {
    bench.plain_copy.push_back(plain.seconds());
    if (host) bench.streamed_copy.push_back(streamed.seconds());
  }
  const auto fastest = [](const std::vector<double>& s) {
    return *std::min_element(s.begin(), s.end());
  };
  bench.streamed_is_faster = host && fastest(bench.streamed_copy) < fastest(bench.plain_copy);
  const Timed& copy = bench.streamed_is_faster ? streamed : plain;

  struct Pair {
    Timed ours;
    std::vector<Timed> onednn;  // empty when oneDNN has none
  };
  std::vector<Pair> pairs;
  for (const NormCase& one : cases.cases()) {
    pairs.push_back({Timed(device, one.run), {}});
    if (one.onednn) pairs.back().onednn.emplace_back(device, one.onednn);
    bench.kernels.push_back({one.name, one.passes, {}, {}, {}});
  }
  for (int round = 0; round < rounds; ++round)
    for (std::size_t k = 0; k < pairs.size(); ++k) {
      NormKernelBench& kernel = bench.kernels[k];
      kernel.copy_seconds.push_back(copy.seconds());
      kernel.seconds.push_back(pairs[k].ours.seconds());
      for (const Timed& onednn : pairs[k].onednn) kernel.onednn_seconds.push_back(onednn.seconds());
    }
  return bench;
}

}  // namespace syncnorm
