// Reads files and their bases. `_base_` may only refer to files in the folder of the first file, so
// that a configuration can be moved, and checked, as a folder.
#include "engine/config/layers_of_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <system_error>

#include "engine/config/apply.h"
#include "engine/config/source_text.h"
#include "engine/config/suggest.h"

namespace syncnorm::config {

namespace {

namespace fs = std::filesystem;

std::optional<ConfigNode> parse_root(const std::string& text, const SourcePointer& source,
                                     Problems& problems) {
  Problems found;
  std::optional<ConfigNode> root = parse_yaml(text, source, "", found);
  problems.add_all(found);
  const Position start{source, 1, 1};
  if (!root) {
    if (found.empty()) problems.add(start, "", "the file is empty; give at least `name: ...`");
    return std::nullopt;
  }
  if (root->kind == NodeKind::map) return root;
  const std::string hint = root->kind == NodeKind::scalar ? colon_hint(root->text) : "";
  problems.add(root->position, "",
               fmt::format("expected a map of keys, got {}; {}",
                           root->kind == NodeKind::list ? "a list" : in_quotes(root->text),
                           hint.empty() ? "write `key: value` lines" : hint));
  return std::nullopt;
}

bool is_inside(const fs::path& file, const fs::path& folder) {
  const auto [end, unused] = std::mismatch(folder.begin(), folder.end(), file.begin(), file.end());
  return end == folder.end();
}

class BaseReader {
 public:
  BaseReader(fs::path folder, FileLayers& layers, Problems& problems)
      : folder_(std::move(folder)), layers_(layers), problems_(problems) {}

  /// Reads a file after its bases. `from` is the `_base_` entry that refers to it, or null.
  void read(const fs::path& path, const ConfigEntry* from) {
    const auto source = std::make_shared<const Source>(Source{path.string(), order_++});
    if (from == nullptr) layers_.source = source;
    std::string problem;
    const std::string text = read_config_file(path, problem);
    if (!problem.empty()) {
      if (from == nullptr) {
        problems_.add({source, 0, 0}, "", problem);
      } else {
        problems_.add(from->value.position, "_base_",
                      fmt::format("{}: {}", path.string(), problem));
      }
      return;
    }
    std::error_code error;
    chain_.push_back(fs::canonical(path, error));
    names_.push_back(path.string());
    std::optional<ConfigNode> root = parse_root(text, source, problems_);
    if (root) {
      if (from != nullptr) refuse_study_keys(*root);
      follow_base(*root, path);
      std::erase_if(root->entries, [](const ConfigEntry& entry) { return entry.key == "_base_"; });
      layers_.trees.push_back(std::move(*root));
    }
    chain_.pop_back();
    names_.pop_back();
  }

 private:
  void refuse_study_keys(ConfigNode& root) {
    for (const char* key : kStudyKeys) {
      if (const ConfigEntry* entry = root.find(key)) {
        problems_.add(entry->position, key,
                      "a base is a plain experiment; move this key to the study's own file");
      }
    }
    std::erase_if(root.entries, [](const ConfigEntry& entry) { return is_study_key(entry.key); });
  }

  void follow_base(const ConfigNode& root, const fs::path& path) {
    const ConfigEntry* entry = root.find("_base_");
    if (entry == nullptr) return;
    const Position& where = entry->value.position;
    const auto named = read_text(entry->value, {"_base_", &problems_});
    if (!named) return;
    if (fs::path(*named).is_absolute()) {
      problems_.add(where, "_base_",
                    "an absolute path; give one relative to the folder of this file");
      return;
    }
    const fs::path base = (path.parent_path() / *named).lexically_normal();
    std::error_code error;
    const fs::path real = fs::weakly_canonical(fs::absolute(base), error);
    if (error || !is_inside(real, folder_)) {
      problems_.add(where, "_base_",
                    fmt::format("{} is outside the folder of the first file; move it there",
                                in_quotes(*named)));
      return;
    }
    if (std::find(chain_.begin(), chain_.end(), real) != chain_.end()) {
      problems_.add(where, "_base_",
                    fmt::format("the bases form a circle: {} -> {}; remove one of them",
                                fmt::join(names_, " -> "), base.string()));
      return;
    }
    if (static_cast<int>(chain_.size()) >= kLongestBaseChain) {
      problems_.add(where, "_base_",
                    fmt::format("more than {} files inherit from each other; shorten the chain",
                                kLongestBaseChain));
      return;
    }
    read(base, entry);
  }

  fs::path folder_;
  FileLayers& layers_;
  Problems& problems_;
  int order_ = 0;
  std::vector<fs::path> chain_;
  std::vector<std::string> names_;
};

}  // namespace

bool is_study_key(const std::string& key) {
  return std::find(std::begin(kStudyKeys), std::end(kStudyKeys), key) != std::end(kStudyKeys);
}

FileLayers read_file_layers(const fs::path& path, Problems& problems) {
  FileLayers layers;
  layers.name = path.string();
  std::error_code error;
  const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
  BaseReader(fs::canonical(parent, error), layers, problems).read(path, nullptr);
  return layers;
}

FileLayers read_text_layer(const std::string& text, const std::string& name, Problems& problems) {
  FileLayers layers;
  layers.name = name;
  layers.source = std::make_shared<const Source>(Source{name, 0});
  std::optional<ConfigNode> root = parse_root(text, layers.source, problems);
  if (!root) return layers;
  if (const ConfigEntry* entry = root->find("_base_")) {
    problems.add(entry->position, "_base_",
                 "a text in memory has no folder to look in; give the keys themselves");
    std::erase_if(root->entries, [](const ConfigEntry& other) { return other.key == "_base_"; });
  }
  layers.trees.push_back(std::move(*root));
  return layers;
}

BaseDraft draft_of(const Schema& schema, const FileLayers& files, Problems& problems) {
  BaseDraft base;
  for (const ConfigNode& tree : files.trees) {
    apply_map(schema, "", tree, base.next_layer, base.draft, problems);
    ++base.next_layer;
  }
  return base;
}

}  // namespace syncnorm::config
