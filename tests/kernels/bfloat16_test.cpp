// bfloat16 conversions against what rounding to nearest means.
#include "kernels/bfloat16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace syncnorm {
namespace {

BFloat16 stored(std::uint16_t bits) { return static_cast<BFloat16>(bits); }

TEST(BFloat16, EveryStoredValueComesBack) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const BFloat16 value = stored(static_cast<std::uint16_t>(bits));
    if (std::isnan(to_float(value)))
      EXPECT_TRUE(std::isnan(to_float(to_bfloat16(to_float(value))))) << bits;
    else
      EXPECT_EQ(to_bfloat16(to_float(value)), value) << bits;
  }
}

TEST(BFloat16, RoundsToNearestAndTiesToEven) {
  for (std::uint32_t bits = 1; bits < 0x7F7F; ++bits) {
    const double low = to_float(stored(static_cast<std::uint16_t>(bits)));
    const double high = to_float(stored(static_cast<std::uint16_t>(bits + 1)));
    const float middle = static_cast<float>((low + high) / 2.0);  // exact: 9 bits of mantissa
    EXPECT_EQ(static_cast<std::uint32_t>(to_bfloat16(middle)), bits + (bits & 1u)) << bits;
    EXPECT_EQ(static_cast<std::uint32_t>(to_bfloat16(std::nextafter(middle, 0.0f))), bits);
    EXPECT_EQ(static_cast<std::uint32_t>(
                  to_bfloat16(std::nextafter(middle, std::numeric_limits<float>::infinity()))),
              bits + 1);
    EXPECT_EQ(static_cast<std::uint32_t>(to_bfloat16(-middle)), 0x8000u + bits + (bits & 1u));
  }
}

TEST(BFloat16, InfinitiesAndNans) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(to_float(to_bfloat16(infinity)), infinity);
  EXPECT_EQ(to_float(to_bfloat16(std::numeric_limits<float>::max())), infinity);
  // A nan whose payload lies in the lower half only must not become an infinity.
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::bit_cast<float>(0x7F800001u)))));
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace syncnorm
