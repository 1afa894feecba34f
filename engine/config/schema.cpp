// The table of all keys, section by section, and the few rows that differ from the others.
//
// Defaults are those of a default-constructed Experiment (experiment.h) and are not repeated here.
#include "engine/config/schema.h"

#include <algorithm>
#include <cctype>
#include <iterator>

#include "base/error.h"
#include "engine/config/layers.h"
#include "engine/config/listen_address.h"
#include "engine/config/schema_sections.h"

namespace syncnorm::config {

namespace {

void append(Rows& rows, Rows more) {
  rows.insert(rows.end(), std::make_move_iterator(more.begin()),
              std::make_move_iterator(more.end()));
}

}  // namespace

Schema make_schema() {
  Schema schema;
  schema.sections = {
      {"", "The experiment as a whole."},
      {"data", "The training data."},
      {"data.synthetic", "The synthetic dataset."},
      {"data.scenes", "The dataset fashion_scenes."},
      {"data.images", "Images on disk: the datasets image_folder, segmentation_folder and packed."},
      {"data.masks", "Labels per pixel on disk: the dataset segmentation_folder, and its packs."},
      {"evaluation", "When and how the model is evaluated. It always is at the end."},
      {"model", "The network."},
      {"model.residual", "The residual blocks of ResNets."},
      {"norm", "The normalization."},
      {"optimizer", "The optimizer."},
      {"ema", "An exponential moving average of the weights, evaluated beside them."},
      {"schedule", "The learning rate schedule."},
      {"loss", "Softmax cross-entropy."},
      {"checkpoint", "When checkpoints are written. They always are at step 0 and at the end."},
      {"fault", "Detection of lost ranks and of ranks that drift apart."},
      {"metrics", "Metrics of the run, and who may read them."},
      {"probes",
       "Measurements of training itself, written to metrics.jsonl and shown in the report."},
  };
  for (Rows (*rows)() : {top_level_rows, data_rows, scenes_rows, images_rows, masks_rows,
                         evaluation_rows, model_rows, norm_rows, optimizer_rows, ema_rows,
                         schedule_rows, metrics_rows, probes_rows, ending_rows}) {
    append(schema.keys, rows());
  }
  return schema;
}

const SchemaKey* Schema::find_key(const std::string& path) const {
  const auto found = std::find_if(keys.begin(), keys.end(),
                                  [&](const SchemaKey& key) { return key.path == path; });
  return found == keys.end() ? nullptr : &*found;
}

bool Schema::is_section(const std::string& path) const {
  return std::any_of(sections.begin(), sections.end(), [&](const SchemaSection& section) {
    return section.path == path && !path.empty();
  });
}

std::vector<std::string> Schema::names_in(const std::string& section) const {
  std::vector<std::string> names;
  for (const SchemaKey& key : keys) {
    if (section_of(key.path) == section) names.push_back(leaf_of(key.path));
  }
  for (const SchemaSection& inner : sections) {
    if (!inner.path.empty() && section_of(inner.path) == section) {
      names.push_back(leaf_of(inner.path));
    }
  }
  return names;
}

std::string exclusive_partner(const std::string& path) {
  if (path == "epochs") return "steps";
  if (path == "steps") return "epochs";
  if (path == "replicas") return "global_batch";
  if (path == "global_batch") return "replicas";
  if (path == "norm.groups") return "norm.channels_per_group";
  if (path == "norm.channels_per_group") return "norm.groups";
  return "";
}

std::vector<NormShortForm> norm_short_forms() {
  return {{"bn", "batch", "1"}, {"syncbn", "batch", "all"}, {"gn", "group", ""},
          {"ln", "layer", ""},  {"in", "instance", ""},     {"rms", "rms", ""},
          {"dyt", "dyt", ""},   {"derf", "derf", ""},       {"frozen", "frozen", ""},
          {"none", "none", ""}};
}

std::string leaf_of(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  return dot == std::string::npos ? path : path.substr(dot + 1);
}

std::string section_of(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  return dot == std::string::npos ? "" : path.substr(0, dot);
}

}  // namespace syncnorm::config
