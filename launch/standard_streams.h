// Standard input, output and error: keeps them open, and records failed writes.
#pragma once

#include <ostream>
#include <streambuf>
#include <string>

namespace syncnorm {

/// Opens /dev/null on each of the descriptors 0, 1 and 2 that is closed, so that no file opened
/// later gets its number and the text meant for it. Call it first. Writing to such a descriptor
/// still fails.
void open_standard_streams();

/// Replaces the characters beyond ASCII that this program uses: "≥" becomes ">=".
std::string in_ascii(std::string text);

/// A stream buffer on a descriptor that records errors. Writing never fails for the stream: text
/// that cannot be written is dropped, and later text is tried again. On a terminal whose locale is
/// not UTF-8 it writes in_ascii().
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

/// Replaces the buffers of std::cout and std::cerr by OutputBuffers during its lifetime.
class StandardStreams {
 public:
  StandardStreams();
  ~StandardStreams();
  StandardStreams(const StandardStreams&) = delete;
  StandardStreams& operator=(const StandardStreams&) = delete;

  /// Flushes standard output. Returns the errno of the first write that failed, or 0.
  int finish_output();

 private:
  OutputBuffer output_, errors_;
  std::streambuf *output_before_, *errors_before_;
};

}  // namespace syncnorm
