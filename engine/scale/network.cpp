// See network.h.
#include "engine/scale/network.h"

#include <charconv>
#include <cmath>
#include <sstream>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm {
namespace {

constexpr double kGbit = 1e9 / 8.0;  // bytes per second

std::string names() {
  std::string text;
  for (const Network& n : network_profiles()) text += (text.empty() ? "" : ", ") + n.name;
  return text;
}

double number(const std::string& key, const std::string& text, double least) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) ||
      value < least)
    throw InputError(
        fmt::format("--network: {} is '{}', it must be a number from {} on", key, text, least));
  return value;
}

void change(Network& network, const std::string& key, const std::string& text) {
  constexpr double kLeastGbit = 1e-6;
  if (key == "latency_us") {
    network.between.latency = 1e-6 * number(key, text, 0.0);
  } else if (key == "gbit") {
    network.between.bandwidth = kGbit * number(key, text, kLeastGbit);
  } else if (key == "inside_latency_us") {
    network.inside.latency = 1e-6 * number(key, text, 0.0);
  } else if (key == "inside_gbit") {
    network.inside.bandwidth = kGbit * number(key, text, kLeastGbit);
  } else if (key == "overhead_us") {
    network.overhead = 1e-6 * number(key, text, 0.0);
  } else if (key == "copy_gbit") {
    network.copying = kGbit * number(key, text, 0.0);
  } else if (key == "ranks_per_node") {
    const double ranks = number(key, text, 1.0);
    if (ranks != std::floor(ranks) || ranks > 1024.0)
      throw InputError("--network: ranks_per_node must be a whole number up to 1024");
    network.ranks_per_node = static_cast<int>(ranks);
  } else {
    throw InputError(fmt::format(
        "--network: there is no '{}'; what can be changed is latency_us, gbit, inside_latency_us, "
        "inside_gbit, overhead_us, copy_gbit and ranks_per_node",
        key));
  }
}

}  // namespace

std::string Network::description() const {
  const auto link_text = [](const Link& l) {
    return fmt::format("{:g} us and {:g} Gbit/s", 1e6 * l.latency, l.bandwidth / kGbit);
  };
  std::string text = fmt::format("{}: {} a rank", name, link_text(between));
  if (ranks_per_node > 1)
    text += fmt::format(" between nodes of {} ranks, {} inside", ranks_per_node, link_text(inside));
  text += fmt::format(", {:g} us of processor time a message and side", 1e6 * overhead);
  return copying > 0.0 ? text + fmt::format(", copied at {:g} Gbit/s", copying / kGbit) : text;
}

const std::vector<Network>& network_profiles() {
  static const std::vector<Network> profiles = {
      // Kernel TCP between machines on one switch, one rank per machine.
      {"ethernet25", {15e-6, 25.0 * kGbit}, {0.5e-6, 80.0 * kGbit}, 1, 3e-6, 30.0 * kGbit},
      // Verbs between machines on one fabric, one rank per machine.
      {"infiniband200", {1.5e-6, 200.0 * kGbit}, {0.5e-6, 80.0 * kGbit}, 1, 0.3e-6},
      // Eight GPUs per node on NVLink, each with its own adapter to other nodes.
      {"nvlink_infiniband", {4e-6, 200.0 * kGbit}, {3e-6, 2400.0 * kGbit}, 8, 0.5e-6},
  };
  return profiles;
}

Network parse_network(const std::string& text) {
  std::istringstream in(text);
  std::string part;
  std::getline(in, part, ',');
  Network network;
  for (const Network& profile : network_profiles())
    if (profile.name == part) network = profile;
  if (network.name.empty())
    throw InputError(fmt::format("--network: there is no '{}'; there are {}", part, names()));
  while (std::getline(in, part, ',')) {
    const std::size_t equals = part.find('=');
    if (equals == std::string::npos)
      throw InputError(fmt::format("--network: '{}' has no value; write it as key=number", part));
    change(network, part.substr(0, equals), part.substr(equals + 1));
    network.name = text;
  }
  return network;
}

}  // namespace syncnorm
