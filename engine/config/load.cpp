// Loads an experiment: reads the layers, applies them in order, checks the whole, and only then
// reports all mistakes.
#include "engine/config/load.h"

#include <utility>

#include "engine/config/assemble.h"
#include "engine/config/layers_of_files.h"
#include "engine/config/overrides.h"
#include "engine/config/validate.h"

namespace syncnorm {

namespace {

void refuse_study(config::FileLayers& files, config::Problems& problems) {
  if (files.trees.empty()) return;
  config::ConfigNode& root = files.trees.back();
  for (const char* key : config::kStudyKeys) {
    if (const config::ConfigEntry* entry = root.find(key)) {
      problems.add(entry->position, key, "this file is a study; use `syncnorm compare`");
    }
  }
  std::erase_if(root.entries,
                [](const config::ConfigEntry& entry) { return config::is_study_key(entry.key); });
}

LoadedExperiment load_layers(config::FileLayers files, const std::vector<std::string>& arguments,
                             config::Problems& problems) {
  refuse_study(files, problems);
  const config::Schema schema = config::make_schema();
  config::BaseDraft base = config::draft_of(schema, files, problems);
  const auto overrides = config::parse_overrides(arguments, problems);
  config::apply_overrides(schema, overrides, base.next_layer, base.draft, problems);
  LoadedExperiment loaded = config::assemble(schema, std::move(base.draft), files.name, problems);
  problems.throw_if_any();
  return loaded;
}

}  // namespace

SourceMark LoadedExperiment::at(const std::string& path) const {
  for (const ResolvedValue& value : values) {
    const bool is_it = value.path == path || value.path.starts_with(path + ".");
    if (is_it && value.origin != "default") return value.origin;
  }
  return source;
}

LoadedExperiment load_experiment(const std::filesystem::path& path,
                                 const std::vector<std::string>& overrides) {
  config::Problems problems;
  return load_layers(config::read_file_layers(path, problems), overrides, problems);
}

LoadedExperiment parse_experiment_text(const std::string& text, const std::string& name,
                                       const std::vector<std::string>& overrides) {
  config::Problems problems;
  return load_layers(config::read_text_layer(text, name, problems), overrides, problems);
}

}  // namespace syncnorm
