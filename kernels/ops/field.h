// The fields of an operation, described once: kFields lists how each one is written. The text that
// `syncnorm plan` prints, that ranks compare and that compiled kernels are cached by follows from
// it, so a field that is not listed would make two operations share a kernel; ops.cpp checks at
// compile time that none is missing.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>

namespace syncnorm {

/// A member (data, or a function that derives a value) of T and its text: `format` with the value
/// in place of {}. A bool is written as `format` where it is true, else as `otherwise`.
template <class T, class Member>
struct Field {
  using Pointer = Member T::*;
  const char* format;
  Pointer member;
  const char* otherwise = "";
};
template <class T, class Member>
Field(const char*, Member T::*) -> Field<T, Member>;
template <class T, class Member>
Field(const char*, Member T::*, const char*) -> Field<T, Member>;

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

template <class T, class Member>
constexpr std::size_t is_data(const Field<T, Member>&) {
  return std::is_function_v<Member> ? 0 : 1;
}

template <class A, class B>
constexpr bool same_member(const A& a, const B& b) {
  if constexpr (std::is_same_v<decltype(a.member), decltype(b.member)>)
    return a.member == b.member;
  else
    return false;
}

}  // namespace internal

/// Whether T::kFields has every data member of T once, but for `samples` and `storage`, which every
/// text begins and ends with.
template <class T>
consteval bool lists_all_fields() {
  std::size_t implied = 0;
  if constexpr (requires(T t) { t.samples; }) ++implied;
  if constexpr (requires(T t) { t.storage; }) ++implied;
  return std::apply(
      [&](const auto&... field) {
        const std::size_t listed = (internal::is_data(field) + ... + 0);
        std::size_t equal_pairs = 0;
        const auto count_equal = [&](const auto& one) {
          equal_pairs += ((internal::same_member(one, field) ? 1 : 0) + ... + 0);
        };
        (count_equal(field), ...);
        return listed + implied == internal::count_members<T>() && equal_pairs == sizeof...(field);
      },
      T::kFields);
}

}  // namespace syncnorm
