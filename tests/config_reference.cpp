// Prints docs/config.md: tests/regenerate writes it.
#include <iostream>

#include "engine/config/load.h"

int main() {
  std::cout << syncnorm::config_reference_markdown();
  return 0;
}
