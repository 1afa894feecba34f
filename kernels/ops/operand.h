// The operands of an operation, described once, by name.
//
// An operation is a plain struct. Its member template `Operands` lists what a kernel is given:
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
// `As` is how operands are seen. Tensors: indices of a program's tensors; every operand must be
// named, kAbsent where an optional one is not there. Pointers<S>: typed pointers for a kernel, null
// where absent. Described: direction, element and whether the operand is optional. Each view has
// one member per operand, so arity, first output and the order of a kernel's pointers follow.
//
// Inputs come first. Between them and the outputs nothing else tells them apart.
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
/// Stands for values in a layout of the device's own.
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

/// The index of a program's tensor. Neither kind has a default, so that no operand is forgotten.
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

/// `S`: the type of stored values; void where it is only known at run time.
template <class S>
struct Pointers {
  template <class T>
  using Value = std::conditional_t<std::is_same_v<T, Stored>, S,
                                   std::conditional_t<std::is_same_v<T, Opaque>, void, T>>;
  template <Access kAccess, bool, class T>
  using Type = std::conditional_t<kAccess == Access::in, const Value<T>, Value<T>>*;
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
inline constexpr std::size_t kArity = sizeof(typename Op::template Operands<Described>) /
                                      sizeof(Operand);

/// The operands of `Op` in order.
template <class Op>
inline constexpr auto kOperands =
    std::bit_cast<std::array<Operand, kArity<Op>>>(typename Op::template Operands<Described>{});

/// The number of operands that are only read; they come first.
template <class Op>
inline constexpr std::size_t kInputs = [] {
  std::size_t inputs = 0;
  while (inputs < kArity<Op> && kOperands<Op>[inputs].access == Access::in) ++inputs;
  return inputs;
}();

/// Tensor indices in order, -1 for an absent one, and back.
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

/// A stored operand whose type was found at run time.
template <class T>
const T* typed(const void* operand) {
  return static_cast<const T*>(operand);
}
template <class T>
T* typed(void* operand) {
  return static_cast<T*>(operand);
}

/// A kernel's pointers by name.
template <class Op, class S = void>
PointersOf<Op, S> named_pointers(std::span<void* const> list) {
  static_assert(sizeof(PointersOf<Op, S>) == kArity<Op> * sizeof(void*));
  assert(list.size() == kArity<Op>);
  PointersOf<Op, S> pointers;
  std::memcpy(&pointers, list.data(), sizeof pointers);
  return pointers;
}

/// A kernel's pointers in order.
template <class Op, class S = void>
std::array<void*, kArity<Op>> pointer_list(const PointersOf<Op, S>& pointers) {
  std::array<void*, kArity<Op>> list;
  static_assert(sizeof pointers == sizeof list);
  std::memcpy(list.data(), &pointers, sizeof list);
  return list;
}

}  // namespace syncnorm
