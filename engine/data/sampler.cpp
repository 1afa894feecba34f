// Makes permutations from counter-based random numbers; see sampler.h.
#include "engine/data/sampler.h"

#include <numeric>
#include <utility>

#include "base/philox.h"

namespace syncnorm {

Splits split_samples(std::size_t samples, int validation, std::uint64_t seed) {
  assert(validation >= 0 && static_cast<std::size_t>(validation) <= samples);
  std::vector<std::uint32_t> order(samples);
  std::iota(order.begin(), order.end(), 0u);
  const auto held_out = static_cast<std::size_t>(validation);
  RandomStream random(seed, RandomPurpose::validation_split, 0, 0);
  for (std::size_t i = 0; i < held_out; ++i) {  // the first steps of a Fisher–Yates shuffle
    std::swap(order[i], order[i + static_cast<std::size_t>(random.below(samples - i))]);
  }
  const auto middle = order.begin() + validation;
  Splits splits = {{middle, order.end()}, {order.begin(), middle}};
  std::sort(splits.train.begin(), splits.train.end());
  std::sort(splits.validation.begin(), splits.validation.end());
  return splits;
}

std::vector<std::uint32_t> epoch_order(const std::vector<std::uint32_t>& samples,
                                       std::uint64_t seed, std::int64_t epoch, bool shuffle) {
  std::vector<std::uint32_t> order;
  epoch_order(samples, seed, epoch, shuffle, order);
  return order;
}

void epoch_order(const std::vector<std::uint32_t>& samples, std::uint64_t seed, std::int64_t epoch,
                 bool shuffle, std::vector<std::uint32_t>& order) {
  assert(epoch >= 0);
  order.assign(samples.begin(), samples.end());
  if (!shuffle) return;
  RandomStream random(seed, RandomPurpose::shuffle, static_cast<std::uint64_t>(epoch), 0);
  for (std::size_t i = order.size(); i > 1; --i) {  // Fisher–Yates
    std::swap(order[i - 1], order[static_cast<std::size_t>(random.below(i))]);
  }
}

}  // namespace syncnorm
