// The network of engine/scale/network.h as a platform of SimGrid: ranks with a link each, on one
// switch or in nodes whose link to the outside is as wide as its ranks' together. Read from the
// environment variables that tests/simgrid/run sets.
#include <cstdlib>
#include <simgrid/s4u.hpp>
#include <string>

namespace sg4 = simgrid::s4u;

extern "C" void load_platform(const sg4::Engine& engine);

void load_platform(const sg4::Engine& /*engine*/) {
  const auto number = [](const char* name) { return std::atof(std::getenv(name)); };
  const int ranks = static_cast<int>(number("RANKS"));
  const int per_node = static_cast<int>(number("RANKS_PER_NODE"));
  // A message crosses two links inside a node, and two more between nodes.
  const bool flat = per_node == 1;
  const double near = 0.5 * number(flat ? "LATENCY" : "INSIDE_LATENCY");
  const double far = 0.5 * (number("LATENCY") - number("INSIDE_LATENCY"));
  const auto route = [](const sg4::Link* link) {
    return sg4::LinkInRoute(link, sg4::LinkInRoute::Direction::UP);
  };
  auto* top = sg4::create_star_zone("top");
  sg4::NetZone* node = top;
  for (int rank = 0; rank < ranks; ++rank) {
    if (!flat && rank % per_node == 0) {
      const std::string name = "node" + std::to_string(rank / per_node);
      node = sg4::create_star_zone(name);
      node->set_parent(top);
      auto* router = node->create_router(name + "-router");
      const auto* link =
          top->create_split_duplex_link(name + "-link", per_node * number("BANDWIDTH"))
              ->set_latency(far)
              ->seal();
      top->add_route(node->get_netpoint(), nullptr, router, nullptr, {route(link)}, true);
    }
    const std::string name = "r" + std::to_string(rank);
    const auto* host = node->create_host(name, 1.0)->seal();
    const auto* link = node->create_split_duplex_link(
                               name + "-link", number(flat ? "BANDWIDTH" : "INSIDE_BANDWIDTH"))
                           ->set_latency(near)
                           ->seal();
    node->add_route(host->get_netpoint(), nullptr, nullptr, nullptr, {route(link)}, true);
    if (!flat && (rank % per_node == per_node - 1 || rank == ranks - 1)) node->seal();
  }
  top->seal();
}
