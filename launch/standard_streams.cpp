// See standard_streams.h.
#include "launch/standard_streams.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>
#include <string_view>
#include <utility>

#include "launch/terminal.h"

namespace syncnorm {
namespace {

constexpr std::size_t kHeld = 16384;  // bytes after which text is written

/// Writes all of `text`. Returns the errno that prevented it, or 0.
int write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) {  // a shared terminal or pipe was made non-blocking
      pollfd ready = {descriptor, POLLOUT, 0};
      poll(&ready, 1, -1);
      continue;
    }
    if (written < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

}  // namespace

void open_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
    // open() takes the lowest free number, this one. Opened for the wrong direction, so that using
    // it is an error.
    const int way = descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    if (open("/dev/null", way) != descriptor) _exit(2);
  }
}

std::string in_ascii(std::string text) {
  constexpr std::pair<std::string_view, std::string_view> kForms[] = {
      {"█", "#"},    {"░", "."},   {"≥", ">="},    {"≤", "<="},   {"×", "x"},
      {"±", "+-"},   {"→", "->"},  {"·", "*"},     {"²", "^2"},   {"−", "-"},
      {"–", "-"},    {"…", "..."}, {"‖", "||"},    {"√", "sqrt"}, {"γ", "gamma"},
      {"β", "beta"}, {"μ", "mu"},  {"σ", "sigma"}, {"Σ", "sum"},  {"α", "alpha"}};
  for (const auto& [from, to] : kForms)
    for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at))
      text.replace(at, from.size(), to), at += to.size();
  return text;
}

OutputBuffer::OutputBuffer(int descriptor)
    : descriptor_(descriptor), ascii_(shows_ascii_only(descriptor)) {}

OutputBuffer::int_type OutputBuffer::overflow(int_type c) {
  if (!traits_type::eq_int_type(c, traits_type::eof())) {
    const char one = traits_type::to_char_type(c);
    xsputn(&one, 1);
  }
  return traits_type::not_eof(c);
}

std::streamsize OutputBuffer::xsputn(const char* text, std::streamsize count) {
  held_.append(text, static_cast<std::size_t>(count));
  if (held_.size() >= kHeld) sync();
  return count;
}

int OutputBuffer::sync() {
  const int error = write_all(descriptor_, ascii_ ? in_ascii(held_) : held_);
  held_.clear();
  if (error_ == 0) error_ = error;
  return 0;
}

StandardStreams::StandardStreams()
    : output_(STDOUT_FILENO),
      errors_(STDERR_FILENO),
      output_before_(std::cout.rdbuf(&output_)),
      errors_before_(std::cerr.rdbuf(&errors_)) {}

StandardStreams::~StandardStreams() {
  std::cout.flush();
  std::cout.rdbuf(output_before_);
  std::cerr.flush();
  std::cerr.rdbuf(errors_before_);
}

int StandardStreams::finish_output() {
  std::cout.flush();
  return output_.error();
}

}  // namespace syncnorm
