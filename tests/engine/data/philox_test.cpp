// Philox against the known answers of its authors, and the streams that are cut from it.
#include "base/philox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace syncnorm {
namespace {

// Random123 1.14, tests/kat_vectors, philox4x32 10.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, 0, 0),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffff, 0xffffffff),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

std::vector<std::uint32_t> draw(RandomStream stream, int count) {
  std::vector<std::uint32_t> bits;
  for (int i = 0; i < count; ++i) bits.push_back(stream.next_bits());
  return bits;
}

TEST(RandomStream, EveryPartOfTheKeyCounts) {
  const std::uint64_t high = std::uint64_t{1} << 32;
  const RandomStream streams[] = {
      {1, RandomPurpose::shuffle, 2, 3},        {4, RandomPurpose::shuffle, 2, 3},
      {1 + high, RandomPurpose::shuffle, 2, 3}, {1, RandomPurpose::cutout, 2, 3},
      {1, RandomPurpose::shuffle, 4, 3},        {1, RandomPurpose::shuffle, 2, 4},
      {1, RandomPurpose::shuffle, 2, 3 + high}};
  for (const RandomStream& a : streams) {
    for (const RandomStream& b : streams) EXPECT_EQ(&a == &b, draw(a, 8) == draw(b, 8));
  }
}

TEST(RandomStream, BelowIsUniform) {
  RandomStream stream(7, RandomPurpose::shuffle, 0, 0);
  std::vector<int> counts(7, 0);
  constexpr int kDraws = 70000;
  for (int i = 0; i < kDraws; ++i) ++counts[stream.below(7)];
  for (const int count : counts) EXPECT_NEAR(count, kDraws / 7, 500);  // 5 standard deviations
  EXPECT_EQ(stream.below(1), 0u);
}

TEST(RandomStream, UniformStaysBelowOne) {
  EXPECT_EQ(uniform_from_bits(0), 0.0f);
  EXPECT_LT(uniform_from_bits(0xffffffff), 1.0f);
}

}  // namespace
}  // namespace syncnorm
