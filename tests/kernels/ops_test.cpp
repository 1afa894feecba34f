// The text of an operation is what ranks compare and what compiled kernels are cached by: two
// operations that differ in anything must differ in it. That every field is listed is checked at
// compile time (kernels/ops.cpp); here every field is changed.
#include "kernels/ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>

namespace syncnorm {
namespace {

/// Another value, as near as the type allows.
void change(bool& value) { value = !value; }
void change(int& value) { ++value; }
void change(std::size_t& value) { ++value; }
void change(double& value) {
  value = std::nextafter(value, std::numeric_limits<double>::infinity());
}
void change(std::vector<int>& values) { values.push_back(1); }
/// How many enumerators there are; they count from 0.
template <class Enum>
constexpr int kEnumerators = 0;
template <>
constexpr int kEnumerators<Activation> = 8;
template <>
constexpr int kEnumerators<Deviation> = 3;
template <>
constexpr int kEnumerators<DeviationPart> = 3;
template <>
constexpr int kEnumerators<PointwiseFunction> = 2;
template <>
constexpr int kEnumerators<NormActivation> = 2;
template <>
constexpr int kEnumerators<WeightForm> = 4;
template <>
constexpr int kEnumerators<UpsampleMode> = 2;
template <>
constexpr int kEnumerators<Factor> = 3;
template <>
constexpr int kEnumerators<PoolKind> = 2;
template <>
constexpr int kEnumerators<Storage> = 2;

template <class T>
using Changes = std::vector<std::function<void(T&)>>;

/// One change per field of `Part`, which `part` finds in a T; those of parts of parts, too.
template <class T, class Part>
void add_changes(Changes<T>& changes, const std::function<Part&(T&)>& part) {
  Part::fields([&](const char*, auto member, const char* = "") {
    if constexpr (std::is_member_object_pointer_v<decltype(member)>) {
      using Value = std::remove_reference_t<decltype(std::declval<Part&>().*member)>;
      const std::function<Value&(T&)> value = [part, member](T& whole) -> Value& {
        return part(whole).*member;
      };
      if constexpr (std::is_class_v<Value> && !std::is_same_v<Value, std::vector<int>>)
        add_changes<T, Value>(changes, value);
      else if constexpr (std::is_enum_v<Value>) {
        static_assert(kEnumerators<Value> > 0);
        for (int by = 1; by < kEnumerators<Value>; ++by)  // every other one
          changes.push_back([value, by](T& whole) {
            Value& now = value(whole);
            now = static_cast<Value>((static_cast<int>(now) + by) % kEnumerators<Value>);
          });
      } else
        changes.push_back([value](T& whole) { change(value(whole)); });
    }
  });
}

template <class T>
void expect_all_different(const T& op) {
  Changes<T> changes;
  add_changes<T, T>(changes, [](T& whole) -> T& { return whole; });
  changes.push_back([](T& o) { o.samples = 9; });
  if constexpr (requires { op.storage; })
    changes.push_back([](T& o) { o.storage = Storage::bf16; });
  std::map<std::string, std::size_t> seen = {{op_text(op), 0}};
  for (std::size_t i = 0; i < changes.size(); ++i) {
    T changed = op;
    changes[i](changed);
    const auto [at, fresh] = seen.insert({op_text(changed), i + 1});
    EXPECT_TRUE(fresh) << op_name(op) << ": changes " << at->second << " and " << i + 1
                       << " (0: no change) share the text '" << at->first << "'";
  }
}

// A change that keeps the size of the output, or swaps two numbers, is still a change.
TEST(OpText, TellsConvolutionsOfOneOutputSizeApart) {
  std::set<std::string> texts;
  for (const ConvShape& shape :
       {ConvShape{7, 7, 4, 4, 3, 2, 1, false, 1}, ConvShape{8, 8, 4, 4, 3, 2, 1, false, 1},
        ConvShape{8, 7, 4, 4, 3, 2, 1, false, 1}, ConvShape{7, 7, 4, 4, 1, 2, 0, false, 1},
        ConvShape{7, 7, 4, 4, 5, 2, 2, false, 1}, ConvShape{7, 7, 4, 4, 3, 2, 1, false, 11},
        ConvShape{4, 4, 7, 7, 3, 2, 1, false, 1}, ConvShape{7, 7, 4, 4, 3, 2, 1, true, 1},
        ConvShape{7, 7, 4, 4, 2, 2, 1, false, 1, 2},
        ConvShape{7, 7, 4, 4, 3, 2, 1, false, 1, 1, 2}})
    EXPECT_TRUE(texts.insert(op_text(ConvForward{1, shape})).second);
}

/// The default operation of every kind, from the variant itself, so that a new one cannot be left
/// out.
template <std::size_t... I>
std::vector<Op> one_of_each(std::index_sequence<I...>) {
  return {Op(std::variant_alternative_t<I, Op>{})...};
}

std::vector<Op> one_of_each() {
  return one_of_each(std::make_index_sequence<std::variant_size_v<Op>>());
}

TEST(OpText, EveryFieldTellsOperationsApart) {
  for (const Op& op : one_of_each()) std::visit([](const auto& o) { expect_all_different(o); }, op);
  // With values that no default has.
  expect_all_different(ConvForward{1, ConvShape{16, 16, 8, 4, 3, 1, 1, false, 1}});
  expect_all_different(PoolForward{1, PoolShape{PoolKind::max, 8, 8, 4, 2, 2, 2, 0}, true});
  expect_all_different(BatchFinalize{1, 8, 1e-5, 0.1, {true, 3.0, 5.0, 0, 0}});
  expect_all_different(BatchInputGradient{1, 4, 8, false, Deviation::l1, 1.25});
  expect_all_different(TreeFold{1, {0, 1}, 5, 6});
}

// An operand's place in a kernel's list of pointers follows from its description.
TEST(Operands, FollowFromTheDescription) {
  const auto list = tensor_list<BatchMoments>({.x = 7, .sums = 3});
  EXPECT_EQ(list, (std::array<int, 2>{7, 3}));
  EXPECT_EQ(named_tensors<BatchMoments>(list).sums.index, 3);
  EXPECT_EQ(kInputs<BatchGradientSums>, 9u);
  EXPECT_EQ(kInputs<SgdUpdate>, 2u);
  EXPECT_EQ(kOperands<PoolForward>[2].optional, true);
  EXPECT_EQ(kOperands<ConvWgrad>[1].element, Element::stored);
  EXPECT_EQ(kOperands<GradientFactor>[2].access, Access::in_out);
  float x = 0.0f;
  double sums = 0.0;
  const auto pointers = pointer_list<BatchMoments, float>({.x = &x, .sums = &sums});
  EXPECT_EQ(pointers, (std::array<void*, 2>{&x, &sums}));
  EXPECT_EQ((named_pointers<BatchMoments, float>(pointers).x), &x);
}

// Kernels are given inputs before outputs: emitters and the schedule rely on it.
TEST(Operands, InputsComeFirst) {
  for (const Op& op : one_of_each()) {
    const std::span<const Operand> list = operands(op);
    ASSERT_FALSE(list.empty()) << op_name(op);
    EXPECT_LE(list.size(), kMostOperands);
    bool output = false;
    for (const Operand& operand : list) {
      if (operand.access != Access::in) output = true;
      EXPECT_TRUE(!output || operand.access != Access::in) << op_name(op);
    }
    EXPECT_TRUE(output) << op_name(op);
  }
}

TEST(OpText, EveryKindHasANameOfItsOwn) {
  std::set<std::string> names, texts;
  for (const Op& op : one_of_each()) {
    EXPECT_FALSE(op_name(op).empty());
    EXPECT_TRUE(names.insert(op_name(op)).second) << op_name(op);
    EXPECT_TRUE(texts.insert(op_text(op)).second) << op_text(op);
    EXPECT_EQ(op_text(op).find(op_name(op)), 0u);
  }
}

TEST(WithSamples, ChangesTheSamplesAlone) {
  for (const Op& op : one_of_each()) {
    const Op seven = with_samples(op, 7);
    EXPECT_EQ(std::visit([](const auto& o) { return o.samples; }, seven), 7);
    EXPECT_EQ(op_text(with_samples(seven, 1)), op_text(op));
    EXPECT_NE(op_text(seven), op_text(op));
  }
}

}  // namespace
}  // namespace syncnorm
