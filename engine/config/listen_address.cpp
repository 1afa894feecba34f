// Parses listen addresses. They must be numeric, since a name can resolve differently on each node.
#include "engine/config/listen_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "engine/config/suggest.h"

namespace syncnorm {
namespace {

constexpr int kLargestPort = 65535;

[[noreturn]] void refuse(const std::string& text, const std::string& problem) {
  throw InputError(fmt::format("{} {}", config::in_quotes(text), problem));
}

bool is_numeric(int family, const std::string& host) {
  unsigned char address[sizeof(in6_addr)];
  return inet_pton(family, host.c_str(), address) == 1;
}

}  // namespace

std::string ListenAddress::text() const {
  return is_v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

ListenAddress parse_listen_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  const std::string tail = colon == std::string::npos ? text : text.substr(colon + 1);
  const bool secure_port =
      tail.size() > 1 && tail.back() == 's' &&
      std::all_of(tail.begin(), tail.end() - 1, [](char c) { return c >= '0' && c <= '9'; });
  if (text.starts_with("https://") || secure_port)
    refuse(text,
           "asks for TLS, which the exporter does not speak; listen on 127.0.0.1:9464 and put a "
           "proxy that does TLS (nginx, stunnel) in front of it");
  if (text.starts_with("http://")) refuse(text, "is a URL; write host:port, as 127.0.0.1:9464");
  if (colon == std::string::npos) refuse(text, "has no port; write host:port, as 127.0.0.1:9464");
  ListenAddress address;
  const char* end = tail.data() + tail.size();
  const auto [rest, error] = std::from_chars(tail.data(), end, address.port);
  if (tail.empty() || error != std::errc() || rest != end || address.port < 0 ||
      address.port > kLargestPort)
    refuse(text, "has no port from 0 to 65535; write host:port, as 127.0.0.1:9464");
  address.host = text.substr(0, colon);
  if (address.host == "localhost") address.host = "127.0.0.1";
  if (address.host.starts_with("[") && address.host.ends_with("]")) {
    address.host = address.host.substr(1, address.host.size() - 2);
    address.is_v6 = true;
  }
  if (!is_numeric(address.is_v6 ? AF_INET6 : AF_INET, address.host))
    refuse(text,
           "has no numeric host; write one as 127.0.0.1:9464, or 0.0.0.0:9464 for all "
           "addresses");
  return address;
}

}  // namespace syncnorm
