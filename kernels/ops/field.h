// The fields of an operation, described once. An operation's static member fields(field) calls
//
//   field(format, &T::member)              for every data member: `format` with the value for {}
//   field(format, &T::member, otherwise)   of a bool: `format` where it is true, else `otherwise`
//
// and may call it for a function that derives a value. The text that `syncnorm plan` prints, that
// ranks compare and that compiled kernels are cached by follows from it. A field that is not listed
// would make two operations share a kernel: ops.cpp checks at compile time that none is missing.
// `samples` and `storage` are not listed; every text begins and ends with them.
#pragma once

#include <cstddef>
#include <type_traits>

namespace syncnorm {

namespace internal {

struct Anything {
  template <class T>
  operator T() const;
};

template <class Aggregate, class... Known>
consteval std::size_t count_members() {
  if constexpr (requires { Aggregate{Known{}..., Anything{}}; })
    return count_members<Aggregate, Known..., Anything>();
  else
    return sizeof...(Known);
}

/// Collects where the listed members of an object are.
template <class T>
struct FieldPlaces {
  const T& object;
  const void* places[32] = {};
  std::size_t count = 0;
  bool distinct = true;

  template <class Member>
  constexpr void add(Member T::*member) {
    if constexpr (!std::is_function_v<Member>) {
      const void* place = &(object.*member);
      for (std::size_t i = 0; i < count; ++i) distinct = distinct && places[i] != place;
      places[count++] = place;
    }
  }
};

}  // namespace internal

/// True if T::fields() lists every data member of T once.
template <class T>
constexpr bool lists_all_fields() {
  const T object{};
  internal::FieldPlaces<T> found{object};
  T::fields([&](const char*, auto member, const char* = "") { found.add(member); });
  std::size_t implied = 0;
  if constexpr (requires { object.samples; }) ++implied;
  if constexpr (requires { object.storage; }) ++implied;
  return found.distinct && found.count + implied == internal::count_members<T>();
}

}  // namespace syncnorm
