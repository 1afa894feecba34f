// Walks along the schema. Most of the code suggests where an unknown key would belong.
#include "engine/config/apply.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/config/layers_of_files.h"
#include "engine/config/suggest.h"

namespace syncnorm::config {

namespace {

std::string joined(const std::string& section, const std::string& name) {
  return section.empty() ? name : section + "." + name;
}

/// Returns where a key of this name exists: "belongs under optimizer: `optimizer.lr`"; or "".
std::string misplaced_hint(const Schema& schema, const std::string& name) {
  std::vector<std::string> sections;
  std::vector<std::string> paths;
  for (const SchemaKey& key : schema.keys) {
    if (leaf_of(key.path) != name) continue;
    const std::string section = section_of(key.path);
    if (section.empty()) return fmt::format("belongs at the top level: `{}`", name);
    sections.push_back(section);
    paths.push_back("`" + key.path + "`");
  }
  if (paths.empty()) return "";
  return fmt::format("belongs under {}: {}", either(sections), fmt::join(paths, ", "));
}

std::string unknown_hint(const Schema& schema, const std::string& section,
                         const std::string& name) {
  if (name == "_base_" || is_study_key(name)) {
    return "it may only stand at the top level of a file";
  }
  const std::string colon = colon_hint(name);
  if (!colon.empty()) return colon;
  if (name.find('.') != std::string::npos && schema.find_key(joined(section, name)) != nullptr) {
    return fmt::format("in a file, write it as `{}: {{{}: ...}}`", section_of(name), leaf_of(name));
  }
  const std::vector<std::string> known = schema.names_in(section);
  const std::string guess = nearest(name, known);
  // A key of another section beats a similar one here, unless that differs by one letter only.
  const std::string misplaced = misplaced_hint(schema, name);
  if (!misplaced.empty() && (guess.empty() || edit_distance(name, guess) > 1)) return misplaced;
  if (!guess.empty()) return fmt::format("did you mean `{}`?", joined(section, guess));
  return fmt::format("the keys here are {}", fmt::join(known, ", "));
}

/// Returns a hint for a dotted path that is not in the schema; compares it with all paths.
std::string unknown_path_hint(const Schema& schema, const std::string& path) {
  const std::string section = section_of(path);
  if (section.empty() || schema.is_section(section)) {
    return unknown_hint(schema, section, leaf_of(path));
  }
  std::vector<std::string> known;
  for (const SchemaKey& key : schema.keys) known.push_back(key.path);
  const std::string guess = nearest(path, known);
  if (!guess.empty()) return fmt::format("did you mean `{}`?", guess);
  const std::string misplaced = misplaced_hint(schema, leaf_of(path));
  if (!misplaced.empty()) return misplaced;
  return "docs/config.md lists all keys";
}

/// Stores one key and its origin. Within a layer of configuration each key, or one of an exclusive
/// pair, may be given once; a later layer replaces it.
void store_key(const SchemaKey& key, const ConfigNode& value, int layer, Draft& draft,
               Problems& problems) {
  const Field field{key.path, &problems};
  const auto elsewhere = [&](const Origin& first) {
    const std::string where = first.position.text();
    return where == value.position.text() ? std::string() : fmt::format(" (at {})", where);
  };
  const auto earlier = draft.origins.find(key.path);
  if (earlier != draft.origins.end() && earlier->second.layer == layer) {
    field.fail(value, "given twice" + elsewhere(earlier->second) + "; give it once");
    return;
  }
  const std::string partner = exclusive_partner(key.path);
  const auto other = draft.origins.find(partner);
  if (other != draft.origins.end()) {
    if (other->second.layer == layer) {
      field.fail(value, fmt::format("{} is given as well{}; give one of them", partner,
                                    elsewhere(other->second)));
      draft.failed.insert({key.path, partner});
      return;
    }
    draft.origins.erase(other);
    draft.failed.erase(partner);
  }
  if (partner == "steps") draft.experiment.steps = 0;
  if (partner == "epochs") draft.experiment.epochs = 0;
  if (partner == "global_batch") draft.global_batch = 0;
  if (partner == "norm.channels_per_group") draft.experiment.norm.channels_per_group = 0;
  draft.origins[key.path] = {value.position, layer};
  draft.failed.erase(key.path);
  if (!key.store(value, field, draft)) draft.failed.insert(key.path);
}

ConfigNode scalar_at(const Position& position, const std::string& text) {
  return {NodeKind::scalar, text, false, {}, {}, position};
}

void apply_norm_short_form(const Schema& schema, const ConfigNode& word, int layer, Draft& draft,
                           Problems& problems) {
  const std::vector<NormShortForm> forms = norm_short_forms();
  const auto form = std::find_if(forms.begin(), forms.end(), [&](const NormShortForm& candidate) {
    return candidate.word == word.text;
  });
  if (form == forms.end()) {
    std::vector<std::string> words;
    for (const NormShortForm& known : forms) words.push_back(known.word);
    const std::string colon = colon_hint(word.text);
    problems.add(
        word.position, "norm",
        fmt::format(
            "{} is no short form; {}", in_quotes(word.text),
            colon.empty() ? "give " + either(words) + ", or write `norm: {kind: ...}`" : colon));
    return;
  }
  store_key(*schema.find_key("norm.kind"), scalar_at(word.position, form->kind), layer, draft,
            problems);
  if (form->synced_replicas.empty()) return;
  store_key(*schema.find_key("norm.synced_replicas"),
            scalar_at(word.position, form->synced_replicas), layer, draft, problems);
}

void report_no_map(const Schema& schema, const std::string& section, const ConfigNode& value,
                   Problems& problems) {
  const std::string got = value.kind == NodeKind::list ? "a list" : in_quotes(value.text);
  const std::string colon = value.kind == NodeKind::scalar ? colon_hint(value.text) : "";
  const std::string name = leaf_of(section);
  problems.add(value.position, section,
               fmt::format("expected a map of keys, got {}; {}", got,
                           colon.empty() ? fmt::format("write `{}: {{{}: ...}}`", name,
                                                       schema.names_in(section).front())
                                         : colon));
}

}  // namespace

void apply_map(const Schema& schema, const std::string& section, const ConfigNode& map, int layer,
               Draft& draft, Problems& problems) {
  for (const ConfigEntry& entry : map.entries) {
    const std::string path = joined(section, entry.key);
    const bool dotted = entry.key.find('.') != std::string::npos;
    if (!dotted && (schema.find_key(path) != nullptr || schema.is_section(path))) {
      apply_setting(schema, path, entry.position, entry.value, layer, draft, problems);
    } else {
      problems.add(entry.position, path,
                   "unknown key; " + unknown_hint(schema, section, entry.key));
    }
  }
}

void apply_setting(const Schema& schema, const std::string& path, const Position& path_position,
                   const ConfigNode& value, int layer, Draft& draft, Problems& problems) {
  if (const SchemaKey* key = schema.find_key(path)) {
    store_key(*key, value, layer, draft, problems);
  } else if (!schema.is_section(path)) {
    problems.add(path_position, path, "unknown key; " + unknown_path_hint(schema, path));
  } else if (value.kind == NodeKind::map) {
    apply_map(schema, path, value, layer, draft, problems);
  } else if (path == "norm" && value.kind == NodeKind::scalar) {
    apply_norm_short_form(schema, value, layer, draft, problems);
  } else {
    report_no_map(schema, path, value, problems);
  }
}

}  // namespace syncnorm::config
