// Reading a configuration file together with the files that it inherits from.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/schema.h"
#include "engine/config/yaml_tree.h"

namespace syncnorm::config {

inline constexpr int kLongestBaseChain = 16;  // files

/// Keys that make a file a study, and those that only a study has; none is an experiment's.
inline constexpr const char* kStudyKeys[] = {"compare", "runs", "best_of", "target_accuracy"};
bool is_study_key(const std::string& key);

/// The trees of a file and its bases, deepest base first, without their `_base_` keys. The last one
/// is the file itself, and it alone may still have keys of a study. Problems say what is missing.
struct FileLayers {
  std::string name;  // of the file, for messages
  SourcePointer source;
  std::vector<ConfigNode> trees;
};

FileLayers read_file_layers(const std::filesystem::path& path, Problems& problems);
FileLayers read_text_layer(const std::string& text, const std::string& name, Problems& problems);

/// A draft with all trees applied, and the layer number that comes next.
struct BaseDraft {
  Draft draft;
  int next_layer = 0;
};
BaseDraft draft_of(const Schema& schema, const FileLayers& files, Problems& problems);

}  // namespace syncnorm::config
