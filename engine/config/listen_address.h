// Where a server listens: "127.0.0.1:9464", "[::1]:9464" or "localhost:9464", read strictly.
#pragma once

#include <string>

namespace syncnorm {

struct ListenAddress {
  std::string host;  // a numeric address, IPv6 without brackets
  int port = 0;      // 0: a free one
  bool is_v6 = false;

  /// "127.0.0.1:9464", "[::1]:9464".
  std::string text() const;
  /// Whether it means every address of the machine.
  bool is_any() const { return host == "0.0.0.0" || host == "::"; }
};

/// Throws InputError, as "problem; hint", when `text` is no address, names a host that would have
/// to be looked up, or asks for TLS.
ListenAddress parse_listen_address(const std::string& text);

}  // namespace syncnorm
