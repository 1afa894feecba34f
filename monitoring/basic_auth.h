// The exporter's basic authentication (RFC 7617): one user, whose password is in a file.
#pragma once

#include <string>

namespace syncnorm {

class BasicAuth {
 public:
  BasicAuth(const std::string& user, const std::string& password);

  /// Reads the password from the first line of `path`. Throws InputError for the key
  /// metrics.password_file when the file cannot be read, has no password, or has a mode other than
  /// 0600.
  static BasicAuth from_file(const std::string& user, const std::string& path);

  /// Returns true when `header`, the value of an Authorization header or null for none, has the
  /// right user and password. The time it takes depends only on the length of `header`.
  bool admits(const char* header) const;

 private:
  std::string expected_;  // base64 of user:password
};

/// Compares all bytes, even after a difference.
bool equal_in_constant_time(const std::string& expected, const std::string& given);

std::string base64(const std::string& bytes);

}  // namespace syncnorm
