// The fields of an operation, described once. The static member fields(field) of an operation calls
//
//   field(format, &T::member)              for every data member: `format` with the value for {}
//   field(format, &T::member, otherwise)   for a bool: `format` where it is true, else `otherwise`
//
// and may do so for a function that derives a value. The result is the text that `syncnorm plan`
// prints, that ranks compare, and that is the cache key of compiled kernels. An omitted field would
// make two operations share a kernel, so ops.cpp checks at compile time that none is missing.
// `samples` and `storage` are not listed, because every text begins and ends with them.
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

/// Collects the addresses of an object's listed members.
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

/// Returns true when T::fields() lists every data member of T once.
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
