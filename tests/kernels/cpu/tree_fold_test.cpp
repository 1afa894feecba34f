// Folding the nodes of a reduction's tree: the order of additions is the list's, to the bit.
#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

class TreeFoldTest : public KernelTest {
 protected:
  /// Folds nodes whose value at i is value(node, i).
  template <class T, class Value>
  std::vector<T> fold(const TreeFold& op, const Value& value) {
    std::vector<T> nodes(op.merges.size() * op.stride, T{-1000});
    for (std::size_t n = 0; n < op.merges.size(); ++n)
      for (std::size_t i = 0; i < op.count; ++i) nodes[n * op.stride + i] = value(n, i);
    const Array<T> out(*device_, std::vector<T>(static_cast<std::size_t>(op.left()) * op.count));
    run(op, {Array<T>(*device_, nodes), out});
    return out.values();
  }
};

// (0 + 1) + (2 + 3), then 4 + 5 alone, and 6 alone: what an uneven block of leaves leaves behind.
const std::vector<int> kMerges = {0, 1, 0, 2, 0, 1, 0};

TEST_P(TreeFoldTest, AddsInTheOrderOfTheTree) {
  const TreeFold op{1, kMerges, 1003, 1010};
  ASSERT_EQ(op.left(), 3);
  const auto value = [](std::size_t n, std::size_t i) {
    return static_cast<double>(i + 1) / static_cast<double>(3 * n + 7);
  };
  const auto out = fold<double>(op, value);
  const auto narrow = [&](std::size_t n, std::size_t i) { return static_cast<float>(value(n, i)); };
  TreeFold single = op;
  single.doubles = false;
  const auto narrow_out = fold<float>(single, narrow);
  for (std::size_t i = 0; i < op.count; ++i) {
    const auto tree = [i](const auto& v) {
      return std::vector{(v(0, i) + v(1, i)) + (v(2, i) + v(3, i)), v(4, i) + v(5, i), v(6, i)};
    };
    for (std::size_t n = 0; n < 3; ++n) {
      EXPECT_EQ(out[n * op.count + i], tree(value)[n]);
      EXPECT_EQ(narrow_out[n * op.count + i], tree(narrow)[n]);
    }
  }
}

TEST_P(TreeFoldTest, TakesTheLarger) {
  TreeFold op{1, {0, 1, 1}, 5, 5};
  op.maximum = true;
  const auto out = fold<double>(
      op, [](std::size_t n, std::size_t i) { return static_cast<double>((n + 1) * (i + 2) % 7); });
  for (std::size_t i = 0; i < op.count; ++i) {
    const auto v = [i](std::size_t n) { return static_cast<double>((n + 1) * (i + 2) % 7); };
    EXPECT_EQ(out[i], std::max({v(0), v(1), v(2)}));
  }
}

TEST_P(TreeFoldTest, NothingOfNothing) {
  EXPECT_EQ(fold<double>(TreeFold{1, {}, 5, 5}, [](auto, auto) { return 0.0; }).size(), 0u);
}

SYNCNORM_FOR_ALL_BACK_ENDS(TreeFoldTest);

}  // namespace
}  // namespace syncnorm::test
