// Reads the golden files of tests/golden: named cases of numbers and f32 tensors from PyTorch in
// f64.
//
// The format is described where it is written, in tests/golden/make_goldens.py.
#pragma once

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace syncnorm::test {

struct GoldenCase {
  std::string name;
  std::map<std::string, double> numbers;
  std::map<std::string, std::vector<float>> tensors;

  double number(const std::string& key) const { return numbers.at(key); }
  int integer(const std::string& key) const { return static_cast<int>(numbers.at(key)); }
  bool has(const std::string& key) const { return tensors.count(key) != 0; }
  const std::vector<float>& tensor(const std::string& key) const { return tensors.at(key); }
};

/// All cases of tests/golden/`family`.golden. Throws when the file is missing or malformed.
inline std::vector<GoldenCase> read_goldens(const std::string& family) {
  const char* moved = std::getenv("SYNCNORM_SOURCE_DIR");  // the tests were carried elsewhere
  const std::string path = std::string(moved != nullptr ? moved : SYNCNORM_SOURCE_DIR) +
                           "/tests/golden/" + family + ".golden";
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<GoldenCase> cases;
  bool open = false;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word, key;
    words >> word >> key;
    if (word == "case") {
      cases.push_back({key, {}, {}});
      open = true;
      for (std::string pair; words >> pair;) {
        const auto equals = pair.find('=');
        cases.back().numbers[pair.substr(0, equals)] = std::stod(pair.substr(equals + 1));
      }
    } else if (word == "tensor" && open) {
      std::size_t count = 0;
      words >> count;
      std::vector<float> values(count);
      file.read(reinterpret_cast<char*>(values.data()),
                static_cast<std::streamsize>(count * sizeof(float)));
      if (file.get() != '\n') throw std::runtime_error(path + ": bad tensor " + key);
      cases.back().tensors[key] = std::move(values);
    } else if (word == "end") {
      open = false;
    } else {
      throw std::runtime_error(path + ": unexpected line " + line.substr(0, 40));
    }
  }
  if (cases.empty() || open) throw std::runtime_error(path + ": incomplete");
  return cases;
}

}  // namespace syncnorm::test
