// Basic authentication (RFC 7617) of the exporter: one user, whose password is in a file.
#pragma once

#include <string>

namespace syncnorm {

class BasicAuth {
 public:
  BasicAuth(const std::string& user, const std::string& password);

  /// The password is the first line of `path`. Throws InputError, beginning with the key
  /// metrics.password_file, when it cannot be read, is empty, or may be read by others.
  static BasicAuth from_file(const std::string& user, const std::string& path);

  /// Whether the value of an Authorization header, or null when there is none, lets in. The time
  /// it takes depends on the length of what was sent only.
  bool admits(const char* header) const;

 private:
  std::string expected_;  // base64 of user:password
};

/// Compares every byte, whatever came before.
bool equal_in_constant_time(const std::string& expected, const std::string& given);

std::string base64(const std::string& bytes);

}  // namespace syncnorm
