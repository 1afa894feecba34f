// XXH64 and XXH3 against the values of the reference implementation (xxhsum -H1, xxhsum -H3).
#include "engine/data/content_hash.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/data/image_checksum.h"

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

TEST(ImageChecksum, KnownAnswers) {
  const auto checksum_of = [](const std::string& text) {
    return image_checksum(std::vector<std::uint8_t>(text.begin(), text.end()));
  };
  EXPECT_EQ(checksum_of(""), 0x2D06800538D394C2u);
  EXPECT_EQ(checksum_of("abc"), 0x78AF5F94892F3950u);
}

TEST(ImageChecksum, IsTheSameForEveryInstructionSet) {
  std::vector<std::uint8_t> bytes;
  for (int i = 0; i < 5000; ++i) {
    if (i < 300 || i % 37 == 0)
      EXPECT_EQ(image_checksum(bytes), image_checksum_baseline(bytes.data(), bytes.size()))
          << bytes.size();
    bytes.push_back(static_cast<std::uint8_t>(i * i + i / 7));
  }
}

}  // namespace
}  // namespace syncnorm
