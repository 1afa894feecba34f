// First checks every value of a study alone, so that a wrong one is reported once and not once per
// run; only then makes and checks the combinations.
#include "engine/config/study.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "engine/config/apply.h"
#include "engine/config/assemble.h"
#include "engine/config/layers_of_files.h"
#include "engine/config/overrides.h"
#include "engine/config/read_values.h"
#include "engine/config/run_name.h"
#include "engine/config/suggest.h"

namespace syncnorm {

namespace config {

namespace {

/// One setting of a run: a key path and its value.
struct Setting {
  std::string path;
  Position path_position;
  const ConfigNode* value;
};
using Settings = std::vector<Setting>;

/// Alternatives, one of which each run has: the values of one compare key, or the entries of runs.
struct Axis {
  std::string key;  // for messages: the compare key, or "runs"
  std::vector<Settings> alternatives;
};

/// Keys that are varied, with the location.
using VariedKeys = std::map<std::string, Position>;

std::string too_many_runs() {
  return fmt::format("the study has more than {} runs; make it smaller", kMostStudyRuns);
}

class StudyReader {
 public:
  StudyReader(const Schema& schema, Problems& problems) : schema_(schema), problems_(problems) {}

  std::vector<Axis> read(const ConfigNode& root) {
    std::vector<Axis> axes;
    if (const ConfigEntry* compare = root.find("compare"))
      for (Axis& axis : read_lists(*compare, "compare")) add_axis(std::move(axis), axes);
    if (const ConfigEntry* runs = root.find("runs")) read_runs(*runs, axes);
    if (const ConfigEntry* best_of = root.find("best_of")) read_best_of(*best_of, axes);
    if (const ConfigEntry* target = root.find("target_accuracy"))
      target_accuracy_ = read_number(target->value, {"target_accuracy", &problems_},
                                     NumberRange{0.0, 1.0, false, true})
                             .value_or(0.0);
    return axes;
  }

  const VariedKeys& varied_keys() const { return varied_; }
  /// Returns the keys of best_of.
  const VariedKeys& chosen_keys() const { return chosen_; }
  double target_accuracy() const { return target_accuracy_; }

 private:
  /// Returns an axis for every list in a map from key paths to lists; `name` is the key of the map.
  std::vector<Axis> read_lists(const ConfigEntry& map, const std::string& name) {
    std::vector<Axis> axes;
    if (map.value.kind != NodeKind::map || map.value.entries.empty()) {
      problems_.add(
          map.value.position, name,
          fmt::format("expected a map from key paths to lists; write `{}` under it",
                      name == "best_of" ? "optimizer.lr: [0.01, 0.1]" : "norm: [bn, syncbn]"));
      return axes;
    }
    for (const ConfigEntry& entry : map.value.entries) {
      const std::string key = name + "." + entry.key;
      if (entry.value.kind != NodeKind::list) {
        expect_list(entry.value, {key, &problems_});
        continue;
      }
      if (entry.value.items.empty()) {
        problems_.add(entry.value.position, key, "the list is empty; give it values");
        continue;
      }
      Axis axis{entry.key, {}};
      std::map<std::string, Position> seen;
      for (const ConfigNode& item : entry.value.items) {
        const auto [first, is_new] = seen.emplace(flow_text(item), item.position);
        if (!is_new) {
          problems_.add(item.position, key,
                        fmt::format("{} is listed twice; list it once", in_quotes(first->first)));
        }
        axis.alternatives.push_back({{entry.key, entry.position, &item}});
      }
      axes.push_back(std::move(axis));
    }
    return axes;
  }

  void read_best_of(const ConfigEntry& best_of, std::vector<Axis>& axes) {
    for (Axis& axis : read_lists(best_of, "best_of")) {
      const Position where = axis.alternatives[0][0].path_position;
      if (axis.key == "seed") {
        problems_.add(where, "best_of.seed",
                      "a seed is no setting to choose; seeds are repetitions, list them under "
                      "compare");
        continue;
      }
      chosen_.emplace(axis.key, where);
      add_axis(std::move(axis), axes);
    }
  }

  /// Returns the settings of an entry of runs: one, or the product of the lists of its `compare`.
  std::vector<Settings> read_run(const ConfigNode& run, const std::string& key) {
    std::vector<Settings> product = {{}};
    for (const ConfigEntry& entry : run.entries) {
      if (entry.key != "compare") {
        for (Settings& settings : product)
          settings.push_back({entry.key, entry.position, &entry.value});
        continue;
      }
      for (const Axis& axis : read_lists(entry, key + ".compare")) {
        if (axis.alternatives.size() > kMostStudyRuns / product.size()) {
          problems_.add(entry.position, key + ".compare", too_many_runs());
          return {};
        }
        std::vector<Settings> longer;
        for (const Settings& settings : product)
          for (const Settings& more : axis.alternatives) {
            longer.push_back(settings);
            longer.back().insert(longer.back().end(), more.begin(), more.end());
          }
        product = std::move(longer);
      }
    }
    return product;
  }

  void read_runs(const ConfigEntry& runs, std::vector<Axis>& axes) {
    if (!expect_list(runs.value, {"runs", &problems_})) return;
    if (runs.value.items.empty()) {
      problems_.add(runs.value.position, "runs", "the list is empty; give it runs");
      return;
    }
    Axis axis{"runs", {}};
    std::map<std::string, Position> seen;
    for (std::size_t i = 0; i < runs.value.items.size(); ++i) {
      const ConfigNode& run = runs.value.items[i];
      const std::string key = fmt::format("runs[{}]", i);
      if (run.kind != NodeKind::map || run.entries.empty()) {
        problems_.add(run.position, key,
                      "expected a map from key paths to values; write `{norm: gn, seed: 2}`");
        continue;
      }
      const auto [first, is_new] = seen.emplace(flow_text(run), run.position);
      if (!is_new) {
        problems_.add(run.position, key,
                      fmt::format("the same run is at {}; list it once", first->second.text()));
      }
      for (Settings& settings : read_run(run, key)) axis.alternatives.push_back(settings);
    }
    add_axis(std::move(axis), axes);
  }

  /// Checks each alternative alone, and that no key is varied by two axes.
  void add_axis(Axis axis, std::vector<Axis>& axes) {
    VariedKeys keys;
    for (const Settings& settings : axis.alternatives) {
      Draft draft;
      for (const Setting& setting : settings) {
        if (setting.path == "name" || setting.path == "run_dir") {
          problems_.add(setting.path_position, setting.path,
                        "the study names its runs and their folders itself; remove it");
          continue;
        }
        apply_setting(schema_, setting.path, setting.path_position, *setting.value, 0, draft,
                      problems_);
      }
      for (const auto& [path, origin] : draft.origins) {
        for (const Setting& setting : settings) {
          const bool sets_it = path == setting.path || path.starts_with(setting.path + ".");
          if (sets_it) keys.emplace(path, setting.path_position);
        }
      }
    }
    for (const auto& [path, position] : keys) {
      for (const std::string& same : {path, exclusive_partner(path)}) {
        const auto other = varied_.find(same);
        if (other == varied_.end()) continue;
        problems_.add(position, path,
                      fmt::format("{} is varied at {} already; vary it in one place", same,
                                  other->second.text()));
      }
    }
    varied_.insert(keys.begin(), keys.end());
    if (!axis.alternatives.empty()) axes.push_back(std::move(axis));
  }

  const Schema& schema_;
  Problems& problems_;
  VariedKeys varied_, chosen_;
  double target_accuracy_ = 0.0;
};

void refuse_overrides_of_varied_keys(const Schema& schema, const std::vector<Override>& overrides,
                                     const VariedKeys& varied, Problems& problems) {
  for (const Override& override : overrides) {
    Draft draft;
    Problems reported_elsewhere;
    apply_overrides(schema, {override}, 0, draft, reported_elsewhere);
    for (const auto& [path, origin] : draft.origins) {
      for (const std::string& same : {path, exclusive_partner(path)}) {
        const auto found = varied.find(same);
        if (found == varied.end()) continue;
        problems.add(override.value.position, override.path,
                     fmt::format("the study varies {} (at {}); change it there", same,
                                 found->second.text()));
      }
    }
  }
}

std::optional<std::size_t> count_runs(const std::vector<Axis>& axes) {
  std::size_t count = 1;
  for (const Axis& axis : axes) {
    if (axis.alternatives.size() > kMostStudyRuns / count) return std::nullopt;
    count *= axis.alternatives.size();
  }
  return count;
}

/// Returns the settings of run `index`; the last axis changes fastest.
Settings settings_of_run(const std::vector<Axis>& axes, std::size_t index) {
  std::vector<const Settings*> chosen(axes.size());
  for (std::size_t i = axes.size(); i-- > 0;) {
    const std::size_t size = axes[i].alternatives.size();
    chosen[i] = &axes[i].alternatives[index % size];
    index /= size;
  }
  Settings settings;
  for (const Settings* part : chosen) settings.insert(settings.end(), part->begin(), part->end());
  return settings;
}

std::vector<std::string> varied_paths(const std::vector<Axis>& axes) {
  std::vector<std::string> paths;
  for (const Axis& axis : axes) {
    for (const Settings& settings : axis.alternatives) {
      for (const Setting& setting : settings) {
        if (std::find(paths.begin(), paths.end(), setting.path) == paths.end()) {
          paths.push_back(setting.path);
        }
      }
    }
  }
  return paths;
}

/// The common part of all runs: the layers of files, and the command line, which is applied after
/// the settings.
struct StudyBase {
  const Schema& schema;
  BaseDraft files;
  std::vector<Override> overrides;
  std::string source;
  Study* study;
};

StudyRun make_run(const StudyBase& base, const Settings& settings, std::set<std::string>& names,
                  Problems& problems) {
  StudyRun run;
  std::vector<std::string> shown;
  for (const Setting& setting : settings) {
    run.settings.emplace_back(setting.path, flow_text(*setting.value));
    shown.push_back(setting.path + "=" + run.settings.back().second);
  }
  const std::string folder = unique_run_name(run.settings, names);
  run.name = base.study->name + "/" + folder;

  Problems found;
  Draft draft = base.files.draft;
  for (const Setting& setting : settings) {
    apply_setting(base.schema, setting.path, setting.path_position, *setting.value,
                  base.files.next_layer, draft, found);
  }
  apply_overrides(base.schema, base.overrides, base.files.next_layer + 1, draft, found);
  draft.experiment.run_dir = base.study->run_dir + "/" + folder;
  draft.origins.erase("run_dir");  // determined by the study, like a default
  run.loaded = assemble(base.schema, std::move(draft), base.source, found);
  problems.add_all(found, fmt::format(" (in the run {})", fmt::join(shown, ", ")));
  return run;
}

/// Checks that best_of can choose on images that are used neither in training nor in the test.
void check_validation(const Study& study, const VariedKeys& chosen, Problems& problems) {
  if (chosen.empty()) return;
  const auto without = std::find_if(study.runs.begin(), study.runs.end(), [](const StudyRun& run) {
    return run.loaded.experiment.data.validation == 0;
  });
  if (without != study.runs.end())
    problems.add(chosen.begin()->second, "best_of",
                 "chooses on the validation split, and data.validation is 0; hold training images "
                 "out, as `data: {validation: 5000}`");
}

/// Returns the value under `key` in a map, after adding an empty map if it is missing.
ConfigNode& entry_of(ConfigNode& map, const std::string& key, const Position& position) {
  for (ConfigEntry& entry : map.entries)
    if (entry.key == key) return entry.value;
  map.entries.push_back({key, position, {}});
  ConfigNode& made = map.entries.back().value;
  made.kind = NodeKind::map;
  made.position = position;
  return made;
}

/// Moves overrides of study keys into the file's tree: `best_of={optimizer.lr: [0.1, 1]}`, or one
/// list of it, `best_of.optimizer.lr=[0.1, 1]`.
void take_study_overrides(std::vector<Override>& overrides, ConfigNode& root) {
  for (Override& override : overrides) {
    const std::size_t dot = override.path.find('.');
    const std::string name = override.path.substr(0, dot);
    if (!is_study_key(name)) continue;
    const Position where = override.value.position;
    ConfigNode* place = &entry_of(root, name, where);
    if (dot != std::string::npos) {
      if (place->kind != NodeKind::map) continue;  // reported when the map is read
      place = &entry_of(*place, override.path.substr(dot + 1), where);
    }
    *place = std::move(override.value);
    for (ConfigEntry& entry : root.entries)
      if (entry.key == name && dot == std::string::npos) entry.position = where;
  }
  std::erase_if(overrides, [](const Override& one) {
    return is_study_key(one.path.substr(0, one.path.find('.')));
  });
}

Study load(const std::filesystem::path& path, const std::vector<std::string>& arguments) {
  Problems problems;
  const Schema schema = make_schema();
  FileLayers files = read_file_layers(path, problems);
  auto overrides = parse_overrides(arguments, problems);
  if (files.trees.empty()) problems.throw_if_any();

  ConfigNode root = files.trees.back();  // the settings point into it
  take_study_overrides(overrides, root);
  std::erase_if(files.trees.back().entries,
                [](const ConfigEntry& entry) { return is_study_key(entry.key); });
  if (root.find("compare") == nullptr && root.find("runs") == nullptr && problems.empty()) {
    problems.add(
        {files.source, 1, 1}, "",
        "this file is no study, it has neither `compare` nor `runs`; use `syncnorm train`");
  }
  StudyReader reader(schema, problems);
  const std::vector<Axis> axes = reader.read(root);
  const std::optional<std::size_t> count = count_runs(axes);
  if (!count) {
    problems.add(root.position, "", too_many_runs());
  }
  BaseDraft base = draft_of(schema, files, problems);
  Draft with_overrides = base.draft;
  apply_overrides(schema, overrides, base.next_layer + 1, with_overrides, problems);
  refuse_overrides_of_varied_keys(schema, overrides, reader.varied_keys(), problems);
  problems.throw_if_any();

  Study study;
  study.name = with_overrides.experiment.name;
  const std::string& given = with_overrides.experiment.run_dir;
  study.run_dir = given.empty() ? "runs/" + study.name : given;
  study.varied = varied_paths(axes);
  study.target_accuracy = reader.target_accuracy();
  for (const std::string& key : study.varied)
    if (reader.chosen_keys().contains(key)) study.best_of.push_back(key);
  // The study sets the folders of runs, so an override of run_dir is not passed on.
  std::vector<Override> for_runs = overrides;
  std::erase_if(for_runs, [](const Override& one) { return one.path == "run_dir"; });
  const StudyBase shared{schema, std::move(base), std::move(for_runs), files.name, &study};
  std::set<std::string> names;
  std::set<std::string> reported;
  for (std::size_t i = 0; i < *count; ++i) {
    Problems found;
    study.runs.push_back(make_run(shared, settings_of_run(axes, i), names, found));
    // A mistake that occurs in many runs is reported only for the first.
    const std::string text = found.text();
    const std::string without_run = text.substr(0, text.find(" (in the run "));
    if (!found.empty() && reported.insert(without_run).second) problems.add_all(found);
  }
  problems.throw_if_any();
  check_validation(study, reader.chosen_keys(), problems);
  problems.throw_if_any();
  return study;
}

}  // namespace

}  // namespace config

Study load_study(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  return config::load(path, overrides);
}

}  // namespace syncnorm
