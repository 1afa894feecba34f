// The schema for readers: the list of --help, and docs/config.md with a block to copy and a table
// per section.
#include <fmt/format.h>

#include <algorithm>

#include "engine/config/assemble.h"
#include "engine/config/layers.h"
#include "engine/config/load.h"
#include "engine/config/schema.h"

namespace syncnorm {

namespace config {

namespace {

/// The copyable block: every default, and as comments the keys that stand in for others.
std::string default_block(const Schema& schema) {
  std::string block = yaml_text(schema, Draft{});
  for (const SchemaKey& key : schema.keys) {
    const std::string partner = exclusive_partner(key.path);
    if (!key.print(Draft{}).empty() || partner.empty()) continue;
    const std::size_t line = block.find(partner + ":");
    const std::size_t end = block.find('\n', line);
    block.insert(end, fmt::format("  # or {}: N", key.path));
  }
  block.insert(block.size() - 1, "  # without this line: runs/<name>");
  return block;
}

std::string section_table(const Schema& schema, const std::string& section) {
  std::string table = "| key | type | default | meaning |\n|---|---|---|---|\n";
  for (const SchemaKey& key : schema.keys) {
    if (section_of(key.path) != section) continue;
    const std::string value = key.print(Draft{});
    table += fmt::format("| `{}` | {} | {} | {} |\n", key.path, key.type,
                         value.empty() ? "" : "`" + value + "`", key.meaning);
  }
  return table;
}

std::string layers_chapter() {
  std::string text =
      "## Layers\n\n"
      "`model.layers` writes a network out. An entry is the name of a type, or a map with `type` "
      "and the\nfields of that type; each layer reads the one before it, unless `input` names "
      "another.\n\n"
      "```yaml\n"
      "model:\n"
      "  layers:\n"
      "    - {type: conv, out: 16, kernel: 3, padding: 1, bias: false}\n"
      "    - norm\n"
      "    - {type: relu, name: stem}\n"
      "    - {type: conv, out: 16, kernel: 3, padding: 1, bias: false}\n"
      "    - norm\n"
      "    - {type: add, from: stem}\n"
      "    - relu\n"
      "    - global_pool\n"
      "    - {type: linear, out: 10}\n"
      "```\n\n"
      "| type | needs | may have |\n|---|---|---|\n";
  for (const Choice<LayerType>& type : kLayerTypes) {
    const LayerFields fields = fields_of(type.value);
    text += fmt::format("| `{}` | {} | {} |\n", type.name, fmt::join(fields.required, ", "),
                        fmt::join(fields.optional, ", "));
  }
  text +=
      "\nEvery layer may also have `name` and `input`.\n\n"
      "| field | type | default | meaning |\n|---|---|---|---|\n";
  for (const LayerField& field : layer_fields()) {
    text += fmt::format("| `{}` | {} | {} | {} |\n", field.name, field.type, field.default_text,
                        field.meaning);
  }
  return text + "\n";
}

std::string norm_short_forms_text() {
  std::string text =
      "Short forms, which leave the other keys of `norm` as they are:\n\n"
      "| short form | the same as |\n|---|---|\n";
  for (const NormShortForm& form : norm_short_forms()) {
    const std::string synced =
        form.synced_replicas.empty() ? "" : ", synced_replicas: " + form.synced_replicas;
    text += fmt::format("| `norm: {}` | `norm: {{kind: {}{}}}` |\n", form.word, form.kind, synced);
  }
  return text + "\n";
}

constexpr const char* kImagesChapter =
    "## Images on disk\n"
    "\n"
    "`data.dataset: image_folder` trains on your own images, JPEG or PNG, of any size, in\n"
    "`data.path`/train/CLASS/ and `data.path`/test/CLASS/ (or val). Images are files that end in "
    ".jpg, .jpeg,\n"
    ".jfif or .png, in any case; what is left out is told at the start. Classes are numbered by "
    "name; both splits\n"
    "must have the same. Samples are ordered by class and file name. Listing opens no image; they "
    "are decoded by\n"
    "`data.images.threads` ahead of the step, each rank only those of its own replicas.\n"
    "\n"
    "`syncnorm pack SRC_DIR DEST_DIR` makes tar shards of such a folder, which `data.dataset: "
    "packed` reads\n"
    "through their index: the same samples in the same order, so the same bits. Shards hold the "
    "samples in the\n"
    "order of the folder, as K.jpg (or .png) and K.cls, and can be read as a WebDataset. The index "
    "has a checksum\n"
    "of every image, which is verified whenever it is read. A pack that was interrupted is called\n"
    "DEST_DIR.partial. A run on the folder can be resumed on its pack, and the other way round.\n"
    "\n"
    "```yaml\n"
    "data:\n"
    "  dataset: packed\n"
    "  path: /data/imagenet-packed\n"
    "  augment: [random_resized_crop, horizontal_flip, color_jitter]\n"
    "  images: {height: 224, width: 224, resize: 256, threads: 2, corrupt: skip}\n"
    "```\n"
    "\n"
    "`random_resized_crop` takes a box of `crop_area` to 1 of the image's area, with a ratio of "
    "3/4 to 4/3, and\n"
    "scales it to height × width; it is listed first. Without it training sees what evaluation "
    "sees: the shorter\n"
    "side scaled to `resize`, and the center. Scaling is bilinear with antialiasing. "
    "`color_jitter` changes\n"
    "brightness, then contrast, then saturation. Grey images become RGB, transparency is dropped, "
    "and the\n"
    "orientation that a camera noted is not read.\n"
    "\n"
    "An image that is neither JPEG nor PNG, ends early, is damaged, is CMYK, has too many scans or "
    "is larger\n"
    "than 32768 pixels along a side or 64 million in all is corrupt. With `corrupt: stop` the run "
    "ends with exit\n"
    "2 and names it. With `skip` the next usable image in the order of the split takes its place, "
    "with its own\n"
    "label and under the random numbers of the sample it stands for, in training and in evaluation "
    "alike; the\n"
    "first follows the last. Every such image is named once in metrics.jsonl (event "
    "`corrupt_image`), and\n"
    "summary.json counts them. An image that cannot be read (no permission, a disk that fails, a "
    "file that is\n"
    "gone) is not corrupt: it stops the run, whatever the policy.\n"
    "\n";

constexpr const char* kFilesChapter =
    "## Files, bases and the command line\n\n"
    "A value comes from the last of these that gives it: the default, a base, the file, the "
    "settings of a\nstudy's run, the command line. `--print-config` shows each value with its "
    "origin.\n\n"
    "`_base_: other.yaml` inherits from a file, which may have a base of its own. The path is "
    "relative to\nthe file that names it, and stays inside the folder of the first file. Maps "
    "merge key by key; lists\nand single values replace. `epochs` replaces an inherited `steps`, "
    "and the other way round; so do\n`replicas` and `global_batch`.\n\n"
    "In every key and option that is a path, `~` (alone or before a `/`) is your home folder, and "
    "`$NAME` and\n`${NAME}` are variables of the environment; one that is not set is an error. "
    "Write `./~x` for a name that\nbegins with `~`. `config.yaml` has the path itself.\n\n"
    "On the command line, `key.path=value` sets one key, with the value in YAML:\n\n"
    "```\n"
    "syncnorm train experiment.yaml norm=gn optimizer.lr=0.05 'model.hidden=[32, 16]'\n"
    "```\n\n";

constexpr const char* kStudiesChapter =
    "## Studies\n\n"
    "A study is an experiment file with `compare:`, a map from key paths to lists, and/or `runs:`, "
    "a list\nof maps from key paths to values. `syncnorm compare` trains the product of the "
    "lists, the last key\nfastest, times the entries of `runs`. This study has eight runs:\n\n"
    "```yaml\n"
    "name: tiny-batch\n"
    "global_batch: 16\n"
    "compare:\n"
    "  norm: [bn, syncbn]\n"
    "  seed: [1, 2]\n"
    "runs:\n"
    "  - {batch_per_replica: 1, optimizer.lr: 0.1}\n"
    "  - {batch_per_replica: 2, optimizer.lr: 0.2}\n"
    "```\n\n"
    "Each run is written to a folder of its own in the study's `run_dir`, named after its "
    "settings. The\ncommand line applies to every run; a key that the study varies cannot be "
    "given there, but the study's own\nkeys can: `'compare.seed=[1, 2]'`, "
    "`'best_of.optimizer.lr=[0.02, 0.1]'`, `target_accuracy=0.8`.\n\n"
    "An entry of `runs` may have a `compare` of its own, for that entry alone. `best_of:`, a map "
    "like `compare`,\nlists values of which every variant gets its best: that with the highest "
    "accuracy on the validation\nsplit, as a mean over seeds (a diverged run counts as 0). The "
    "test "
    "set has no part in the choice. With\n`target_accuracy` the report tells after how many "
    "updates "
    "the test accuracy was reached.\n\n"
    "```yaml\n"
    "data: {validation: 5000}\n"
    "target_accuracy: 0.85\n"
    "compare: {seed: [1, 2, 3]}\n"
    "runs:\n"
    "  - {norm: bn, compare: {batch_per_replica: [1, 2, 4]}}\n"
    "  - {norm: gn, compare: {batch_per_replica: [1, 2, 4]}}\n"
    "best_of:\n"
    "  optimizer.lr: [0.02, 0.1]\n"
    "```\n\n"
    "The table, study.json and the report give every variant's difference of test accuracy to its "
    "reference, the\nvariant that has the first value of the first key that varies and is the same "
    "otherwise, as a 95% confidence\ninterval of Student over pairs of equal seeds: "
    "mean(d) ± t·s(d)/√n, d the n differences, s their sample\nstandard deviation, t the quantile "
    "of "
    "n − 1 degrees of freedom. It takes at least two seeds, and assumes\nthat differences are "
    "about "
    "normal; it is not corrected for how many variants are compared.\n\n";

constexpr const char* kTraceChapter =
    "## Trace\n\n"
    "`syncnorm trace` prints a worked example: a network of one value per layer, with and without "
    "batch\nnormalization. A file, `syncnorm trace trace.yaml`, changes what it gives of:\n\n"
    "```yaml\n"
    "inputs: [[2.0, 3.0, 1.5, 2.5], [2.2, 3.1, 1.8, 2.7], [2.4, 3.2, 2.0, 2.8]]  # of each step\n"
    "weights: [[0.5, 0.3, 0.2], [0.8, 0.9, 1.1]]  # of each layer, one for each step\n"
    "norm: {kind: batch, deviation: l2, l1_correction: true, eps: 1.0e-12}\n"
    "```\n\n"
    "Without a file eps is 0. The samples of a step are one replica's, so that `bn` and `syncbn` "
    "are the same;\nof `norm` the keys above can be given, with the kinds `batch` and `none`.\n\n";

constexpr const char* kRulesChapter =
    "## What is refused\n\n"
    "Mistakes are reported all at once, each as `file:line:column: key: problem; hint`, before "
    "anything is\ntrained. Columns count bytes. Besides unknown, misplaced and repeated keys and "
    "values out of range,\nthese are mistakes:\n\n"
    "- a key without a value, or with `null` or `~`; an empty file; a second document\n"
    "- integers other than plain decimals: `1e3`, `010`, `0x10`, `1_000`; numbers in quotes\n"
    "- `yes`, `no`, `on` and `off` for `true` and `false`; `nan` and `inf`\n"
    "- tags (`!!int`), merge keys (`<<`), a plain value over several lines\n"
    "- aliases that contain themselves, or that stand for more than 100,000 values together\n"
    "- more than 64 levels of nesting, more than 1 MiB, and bytes that are not UTF-8\n";

}  // namespace

}  // namespace config

std::string schema_help() {
  const config::Schema schema = config::make_schema();
  std::size_t width = 0;
  for (const config::SchemaKey& key : schema.keys) width = std::max(width, key.path.size());
  std::string text;
  for (const config::SchemaKey& key : schema.keys) {
    const std::string value = key.print(config::Draft{});
    text += fmt::format("  {:<{}}  {}\n  {:<{}}  {}{}\n", key.path, width, key.meaning, "", width,
                        key.type, value.empty() ? "" : "; default " + value);
  }
  return text;
}

std::string config_reference_markdown() {
  const config::Schema schema = config::make_schema();
  std::string text =
      "# Configuration\n\n"
      "<!-- Made by tests/regenerate from engine/config/schema_*.cpp. -->\n\n"
      "An experiment is a YAML file. Every key has a default; this block has them all, and is "
      "itself a file\nthat runs:\n\n"
      "```yaml\n" +
      config::default_block(schema) + "```\n\n";
  for (const config::SchemaSection& section : schema.sections) {
    text += fmt::format("## {}\n\n{}\n\n{}\n", section.path.empty() ? "Top level" : section.path,
                        section.meaning, config::section_table(schema, section.path));
    if (section.path == "norm") text += config::norm_short_forms_text();
  }
  return text + config::layers_chapter() + config::kImagesChapter + config::kFilesChapter +
         config::kStudiesChapter + config::kTraceChapter + config::kRulesChapter;
}

}  // namespace syncnorm
