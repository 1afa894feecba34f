// XXH64 against the values of the reference implementation (xxhsum -H1).
#include "engine/data/content_hash.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace syncnorm {
namespace {

std::uint64_t hash_of(const std::string& text) {
  return content_hash(std::vector<std::uint8_t>(text.begin(), text.end()));
}

TEST(ContentHash, KnownAnswers) {
  EXPECT_EQ(hash_of(""), 0xEF46DB3751D8E999u);
  EXPECT_EQ(hash_of("a"), 0xD24EC4F1A98C6E5Bu);
  EXPECT_EQ(hash_of("abc"), 0x44BC2CF5AD770999u);
  // Long enough for the four lanes, and every tail.
  EXPECT_EQ(hash_of("Nobody inspects the spammish repetition"), 0xFBCEA83C8A378BF1u);
}

TEST(ContentHash, EveryByteCounts) {
  std::vector<std::uint8_t> bytes(77, 0);
  const std::uint64_t original = content_hash(bytes);
  for (std::uint8_t& byte : bytes) {
    byte = 1;
    EXPECT_NE(content_hash(bytes), original);
    byte = 0;
  }
  bytes.push_back(0);
  EXPECT_NE(content_hash(bytes), original);
}

}  // namespace
}  // namespace syncnorm
