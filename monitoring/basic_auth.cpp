// See basic_auth.h. The header is compared in base64 as received; nothing in it is decoded or
// parsed.
#include "monitoring/basic_auth.h"

#include <strings.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm {
namespace {

constexpr const char* kKey = "metrics.password_file";

}  // namespace

std::string base64(const std::string& bytes) {
  constexpr const char* kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t at) {
      return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0u;
    };
    const unsigned triple = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    text += kDigits[triple >> 18 & 63];
    text += kDigits[triple >> 12 & 63];
    text += i + 1 < bytes.size() ? kDigits[triple >> 6 & 63] : '=';
    text += i + 2 < bytes.size() ? kDigits[triple & 63] : '=';
  }
  return text;
}

bool equal_in_constant_time(const std::string& expected, const std::string& given) {
  unsigned difference = expected.size() == given.size() ? 0u : 1u;
  for (std::size_t i = 0; i < given.size(); ++i) {
    // Volatile, so that no compiler stops at the first difference.
    volatile const unsigned char ours =
        static_cast<unsigned char>(expected.empty() ? 0 : expected[i % expected.size()]);
    difference |= static_cast<unsigned>(ours ^ static_cast<unsigned char>(given[i]));
  }
  return difference == 0;
}

BasicAuth::BasicAuth(const std::string& user, const std::string& password)
    : expected_(base64(user + ":" + password)) {}

BasicAuth BasicAuth::from_file(const std::string& user, const std::string& path) {
  const auto refuse = [&](const std::string& why) {
    throw InputError(ConfigKey{kKey}, fmt::format("{} {}", path, why));
  };
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0)
    refuse(fmt::format("cannot be read ({}); give a file with the password", strerror(errno)));
  if (!S_ISREG(info.st_mode)) refuse("is no file; give a file with the password");
  if ((info.st_mode & 07777) != 0600)
    refuse(fmt::format("has mode {:04o}, so that others may read it; run chmod 600 {}",
                       info.st_mode & 07777, path));
  std::ifstream in(path);
  std::string password;
  std::getline(in, password);
  if (!password.empty() && password.back() == '\r') password.pop_back();
  if (password.empty()) refuse("has no password in its first line; write one");
  return {user, password};
}

bool BasicAuth::admits(const char* header) const {
  constexpr const char* kScheme = "Basic ";
  if (header == nullptr || strncasecmp(header, kScheme, strlen(kScheme)) != 0) return false;
  return equal_in_constant_time(expected_, header + strlen(kScheme));
}

}  // namespace syncnorm
