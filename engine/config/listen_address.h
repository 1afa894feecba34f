// The address of a server, parsed strictly: "127.0.0.1:9464", "[::1]:9464" or "localhost:9464".
#pragma once

#include <string>

namespace syncnorm {

struct ListenAddress {
  std::string host;  // a numeric address, IPv6 without brackets
  int port = 0;      // 0: any free port
  bool is_v6 = false;

  /// Returns the address as text: "127.0.0.1:9464", "[::1]:9464".
  std::string text() const;
  /// Returns true if it stands for every address of the machine.
  bool is_any() const { return host == "0.0.0.0" || host == "::"; }
};

/// Parses `text`. Throws InputError, as "problem; hint", if it is no address, contains a host name
/// that would need a look-up, or asks for TLS.
ListenAddress parse_listen_address(const std::string& text);

}  // namespace syncnorm
