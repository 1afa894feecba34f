// The operands of an operation, described once and by name.
//
// An operation is a plain struct. Its member template `Operands` lists the arguments of its kernel:
//
//   struct Add {
//     int samples = 1;
//     ...
//     template <class As>
//     struct Operands {
//       In<As, Stored> a, b;
//       Out<As, Stored> sum;
//     };
//   };
//
// `As` selects a view of the operands. Tensors: indices of a program's tensors; every operand must
// be named, an absent optional one with kAbsent. Pointers<S>: typed pointers for a kernel, null
// where absent. Described: access, element type, and whether the operand is optional. Each view has
// one member per operand, so arity, number of inputs and order of a kernel's pointers follow from
// the list.
//
// Inputs must come first.
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace syncnorm {

struct ImageMap;

enum class Access : unsigned char { in, out, in_out };

/// The element type of an operand.
enum class Element : unsigned char { stored, f32, f64, i32, u32, u8, image_map, opaque };

/// Stands for the operation's storage, f32 or bf16.
struct Stored {};
/// Stands for values in a device-specific layout.
struct Opaque {};

template <class T>
constexpr Element kElement = Element::opaque;
template <>
inline constexpr Element kElement<Stored> = Element::stored;
template <>
inline constexpr Element kElement<float> = Element::f32;
template <>
inline constexpr Element kElement<double> = Element::f64;
template <>
inline constexpr Element kElement<std::int32_t> = Element::i32;
template <>
inline constexpr Element kElement<std::uint32_t> = Element::u32;
template <>
inline constexpr Element kElement<std::uint8_t> = Element::u8;
template <>
inline constexpr Element kElement<ImageMap> = Element::image_map;

struct Operand {
  Access access = Access::in;
  bool optional = false;
  Element element = Element::f32;
};

struct Described {
  template <Access kAccess, bool kOptional, class T>
  struct Type {
    Operand operand = {kAccess, kOptional, kElement<T>};
  };
};

inline constexpr int kAbsent = -1;

/// The index of a program's tensor. Neither type has a default, so no operand can be forgotten.
struct RequiredTensor {
  RequiredTensor(int tensor) : index(tensor) { assert(tensor >= 0); }
  int index;
};
struct OptionalTensor {
  OptionalTensor(int tensor) : index(tensor) {}
  int index;
};

struct Tensors {
  template <Access, bool kOptional, class>
  using Type = std::conditional_t<kOptional, OptionalTensor, RequiredTensor>;
};

/// `S`: the type of stored values, or void where it is known only at run time.
template <class S>
struct Pointers {
  template <class T>
  using Value = std::conditional_t<std::is_same_v<T, Stored>, S,
                                   std::conditional_t<std::is_same_v<T, Opaque>, void, T>>;
  template <Access kAccess, bool, class T>
  using Type = std::conditional_t<kAccess == Access::in, const Value<T>, Value<T>>*;
};

/// Bytes from an operand of one replica to that of the next.
struct Strides {
  template <Access, bool, class>
  using Type = std::size_t;
};

template <class As, class T>
using In = typename As::template Type<Access::in, false, T>;
template <class As, class T>
using OptionalIn = typename As::template Type<Access::in, true, T>;
template <class As, class T>
using Out = typename As::template Type<Access::out, false, T>;
template <class As, class T>
using OptionalOut = typename As::template Type<Access::out, true, T>;
template <class As, class T>
using InOut = typename As::template Type<Access::in_out, false, T>;
template <class As, class T>
using OptionalInOut = typename As::template Type<Access::in_out, true, T>;

template <class Op>
using TensorsOf = typename Op::template Operands<Tensors>;
template <class Op, class S = void>
using PointersOf = typename Op::template Operands<Pointers<S>>;
template <class Op>
using StridesOf = typename Op::template Operands<Strides>;

template <class Op>
inline constexpr std::size_t kArity = sizeof(typename Op::template Operands<Described>) /
                                      sizeof(Operand);

/// The operands of `Op`, in order.
template <class Op>
inline constexpr auto kOperands =
    std::bit_cast<std::array<Operand, kArity<Op>>>(typename Op::template Operands<Described>{});

/// The number of operands that are only read. They come first.
template <class Op>
inline constexpr std::size_t kInputs = [] {
  std::size_t inputs = 0;
  while (inputs < kArity<Op> && kOperands<Op>[inputs].access == Access::in) ++inputs;
  return inputs;
}();

/// Converts between named operands and a list of tensor indices in order, -1 for an absent one.
template <class Op>
std::array<int, kArity<Op>> tensor_list(const TensorsOf<Op>& operands) {
  return std::bit_cast<std::array<int, kArity<Op>>>(operands);
}
template <class Op>
TensorsOf<Op> named_tensors(std::span<const int> list) {
  assert(list.size() == kArity<Op>);
  std::array<int, kArity<Op>> indices;
  std::memcpy(indices.data(), list.data(), sizeof indices);
  return std::bit_cast<TensorsOf<Op>>(indices);
}

/// Casts a stored operand to the type found at run time.
template <class T>
const T* typed(const void* operand) {
  return static_cast<const T*>(operand);
}
template <class T>
T* typed(void* operand) {
  return static_cast<T*>(operand);
}

/// Names a kernel's pointers.
template <class Op, class S = void>
PointersOf<Op, S> named_pointers(std::span<void* const> list) {
  static_assert(sizeof(PointersOf<Op, S>) == kArity<Op> * sizeof(void*));
  assert(list.size() == kArity<Op>);
  PointersOf<Op, S> pointers;
  std::memcpy(&pointers, list.data(), sizeof pointers);
  return pointers;
}

/// Names the strides of a kernel's operands.
template <class Op>
StridesOf<Op> named_strides(std::span<const std::size_t> list) {
  static_assert(sizeof(StridesOf<Op>) == kArity<Op> * sizeof(std::size_t));
  assert(list.size() == kArity<Op>);
  StridesOf<Op> strides;
  std::memcpy(&strides, list.data(), sizeof strides);
  return strides;
}

/// Lists a kernel's pointers in order.
template <class Op, class S = void>
std::array<void*, kArity<Op>> pointer_list(const PointersOf<Op, S>& pointers) {
  std::array<void*, kArity<Op>> list;
  static_assert(sizeof pointers == sizeof list);
  std::memcpy(list.data(), &pointers, sizeof list);
  return list;
}

}  // namespace syncnorm
