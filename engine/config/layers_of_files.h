// Reads a configuration file together with the files that it inherits from.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/schema.h"
#include "engine/config/yaml_tree.h"

namespace syncnorm::config {

inline constexpr int kLongestBaseChain = 16;  // files

/// Keys that make a file a study, or that only a study has; none is a key of an experiment.
inline constexpr const char* kStudyKeys[] = {"compare", "runs", "best_of", "target_accuracy"};
bool is_study_key(const std::string& key);

/// The trees of a file and its bases, deepest base first, without `_base_` keys. The last one is
/// the file itself, and only it may still contain study keys. Files with problems may be missing.
struct FileLayers {
  std::string name;  // of the file, for messages
  SourcePointer source;
  std::vector<ConfigNode> trees;
};

FileLayers read_file_layers(const std::filesystem::path& path, Problems& problems);
FileLayers read_text_layer(const std::string& text, const std::string& name, Problems& problems);

/// A draft with all trees applied, and the number of the next layer.
struct BaseDraft {
  Draft draft;
  int next_layer = 0;
};
BaseDraft draft_of(const Schema& schema, const FileLayers& files, Problems& problems);

}  // namespace syncnorm::config
