// Standard input, output and error: always open, and what cannot be written is known.
#pragma once

#include <ostream>
#include <streambuf>
#include <string>

namespace syncnorm {

/// Opens /dev/null on each of the descriptors 0, 1 and 2 that is closed, so that no file which is
/// opened later gets its number and the text that is meant for it. To be called first. Writing to a
/// descriptor that was closed still fails.
void open_standard_streams();

/// `text` without the characters beyond ASCII that this program uses: "≥" becomes ">=".
std::string in_ascii(std::string text);

/// A descriptor as a stream buffer that remembers what went wrong. Writing never fails for the
/// stream: what cannot be written is dropped, and the next text is tried again. On a terminal whose
/// locale is not UTF-8 it writes in_ascii().
class OutputBuffer final : public std::streambuf {
 public:
  explicit OutputBuffer(int descriptor);
  ~OutputBuffer() override { sync(); }

  /// The errno of the first write that failed, or 0.
  int error() const { return error_; }

 protected:
  int_type overflow(int_type c) override;
  std::streamsize xsputn(const char* text, std::streamsize count) override;
  int sync() override;

 private:
  int descriptor_;
  bool ascii_;
  int error_ = 0;
  std::string held_;
};

/// Puts OutputBuffers behind std::cout and std::cerr for as long as it lives.
class StandardStreams {
 public:
  StandardStreams();
  ~StandardStreams();
  StandardStreams(const StandardStreams&) = delete;
  StandardStreams& operator=(const StandardStreams&) = delete;

  /// Writes what is held back of standard output; the errno of the first write that failed, or 0.
  int finish_output();

 private:
  OutputBuffer output_, errors_;
  std::streambuf *output_before_, *errors_before_;
};

}  // namespace syncnorm
