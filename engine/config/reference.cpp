// Documents the schema: the list of --help, and docs/config.md with a block to copy and a table per
// section.
#include <fmt/format.h>

#include <algorithm>

#include "engine/config/assemble.h"
#include "engine/config/layers.h"
#include "engine/config/load.h"
#include "engine/config/schema.h"

namespace syncnorm {

namespace config {

namespace {

/// Returns the block to copy: every default, and as comments the keys that replace others.
std::string default_block(const Schema& schema) {
  std::string block = yaml_text(schema, Draft{});
  for (const SchemaKey& key : schema.keys) {
    const std::string partner = exclusive_partner(key.path);
    if (!key.print(Draft{}).empty() || partner.empty()) continue;
    const std::size_t line = block.find(leaf_of(partner) + ":");
    const std::size_t end = block.find('\n', line);
    block.insert(end, fmt::format("  # or {}: N", leaf_of(key.path)));
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

constexpr const char* kNormLayersChapter = R"(### Norms of single layers

`norm.layers` lists entries for layers whose norm differs. An entry has `match`, a pattern of layer names or
a list of them, and any keys of `norm` except `synced_replicas`, `precise_samples`, `weights` and
`weights_eps`, which are one for all layers. Keys that it leaves out have the values of `norm`, as far as its
kind reads them. The first entry that matches a layer decides. In a pattern, `*` stands for any characters,
`?` for one, and `[12]` for one of those. A pattern that decides no layer is a mistake. Norm layers have the
names that checkpoints have (in the zoo those of torchvision); `syncnorm plan` and `--print-config` list each
with its norm.

```yaml
norm:
  kind: batch
  layers:
    - {match: "layer4.*", kind: group, groups: 32}          # GroupNorm in the last stage
    - {match: [bn1, "layer1.*"], kind: frozen, frozen: both}  # the stem and the first stage stay as loaded
```

)";

constexpr const char* kPixelNetworksChapter = R"(## Networks with a class for each pixel

They take images of any size that is large enough and end in a map of that size. Pixels that a division by
2 leaves over are added again on the way up.

- `unet` (Ronneberger et al. 2015): per level two 3×3 convolutions, each with norm and activation; max pools
  down, 2×2 transposed convolutions up. Parameters are named as in milesial's Pytorch-UNet.
- `deeplabv3` (Chen et al. 2017) has torchvision's names and shapes, so that torchvision's weights load with
  `--weights` and `--init-from`; an auxiliary classifier in the file is ignored, with a message. In
  `resnet18` and `resnet20`, which torchvision does not offer here, both 3×3 convolutions of a block are
  dilated. One branch of the pyramid is the mean over the map: a batch norm there sees one value per image,
  so it needs two images, or SyncBN.
- `linknet` (Chaurasia & Culurciello 2017): ResNet-18 with torchvision's names behind `encoder.`, and the
  authors' decoder.

)";

std::string layers_chapter() {
  std::string text = R"(## Layers

`model.layers` lists the layers of a network. An entry is the name of a type, or a map with `type` and the
fields of that type. Each layer reads the output of the layer before it, unless `input` names another.

```yaml
model:
  layers:
    - {type: conv, out: 16, kernel: 3, padding: 1, bias: false}
    - norm
    - {type: relu, name: stem}
    - {type: conv, out: 16, kernel: 3, padding: 1, bias: false}
    - norm
    - {type: add, from: stem}
    - relu
    - global_pool
    - {type: linear, out: 10}
```

| type | needs | may have |
|---|---|---|
)";
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
      "Short forms; they leave the other keys of `norm` as they are:\n\n"
      "| short form | the same as |\n|---|---|\n";
  for (const NormShortForm& form : norm_short_forms()) {
    const std::string synced =
        form.synced_replicas.empty() ? "" : ", synced_replicas: " + form.synced_replicas;
    text += fmt::format("| `norm: {}` | `norm: {{kind: {}{}}}` |\n", form.word, form.kind, synced);
  }
  return text + "\n";
}

constexpr const char* kImagesChapter = R"(## Images on disk

`data.dataset: image_folder` trains on your own images, JPEG or PNG, of any size, in
`data.path`/train/CLASS/ and `data.path`/test/CLASS/ (or val). Images are files that end in .jpg, .jpeg,
.jfif or .png, in any case; the run lists at its start what it leaves out. Classes are numbered by name, and
both splits must have the same ones. Samples are ordered by class and file name. Listing opens no image.
`data.images.threads` threads per rank decode ahead of the step; each rank decodes only the samples of its
own replicas.

`syncnorm pack SRC_DIR DEST_DIR` makes tar shards of such a folder. `data.dataset: packed` reads them through
their index: the same samples in the same order, so the same bits. Shards hold the samples in the order of
the folder, as K.jpg (or .png) and K.cls, and can be read as a WebDataset. The index has a checksum of every
image, which is verified on every read. An interrupted `pack` leaves a folder DEST_DIR.partial. A run on the
folder can be resumed on its pack, and the other way round.

```yaml
data:
  dataset: packed
  path: /data/imagenet-packed
  augment: [random_resized_crop, horizontal_flip, color_jitter]
  images: {height: 224, width: 224, resize: 256, threads: 2, corrupt: skip}
```

`random_resized_crop` crops a box of `crop_area` to 1 of the image's area, with an aspect ratio of 3/4 to
4/3, and scales it to height × width; it must be listed first. Without it, training sees what evaluation
sees: the shorter side scaled to `resize`, and the center crop. Scaling is bilinear with antialiasing.
`color_jitter` changes brightness, then contrast, then saturation. Grey images become RGB, transparency is
dropped, and the EXIF orientation is ignored.

An image is corrupt when it is neither JPEG nor PNG, ends early, is damaged, is CMYK, has too many scans or is
larger than 32768 pixels along a side or 64 million in all. With `corrupt: stop` the run names the image and
ends with exit 2. With `skip` the next usable image in the order of the split replaces it, in training and
in evaluation, with that image's own label and the random numbers of the replaced sample; after the last
image comes the first. Every corrupt image is named once in metrics.jsonl (event `corrupt_image`), and
summary.json counts them. An image that cannot be read (no permission, a failing disk, a file that is gone)
is not corrupt: it stops the run with either setting.

)";

constexpr const char* kFilesChapter = R"(## Files, bases and the command line

Values come from these sources, of which a later one overrides an earlier one: defaults, bases, the file,
the settings of a study's run, the command line. `--print-config` shows each value with its origin.

`_base_: other.yaml` inherits from a file, which may have a base of its own. The path is relative to the
file that names it, and stays inside the folder of the first file. Maps merge key by key; lists and single
values replace. `epochs` replaces an inherited `steps`, and the other way round; so do `replicas` and
`global_batch`.

In every key and option that is a path, `~` (alone or before a `/`) is your home folder, and `$NAME` and
`${NAME}` are environment variables; a variable that is not set is an error. Write `./~x` for a name that
begins with `~`. `config.yaml` in the run folder holds the expanded path.

On the command line, `key.path=value` sets one key, with the value in YAML:

```
syncnorm train experiment.yaml norm=gn optimizer.lr=0.05 'model.hidden=[32, 16]'
```

)";

constexpr const char* kStudiesChapter = R"(## Studies

A study is an experiment file with `compare:`, a map from key paths to lists, and/or `runs:`, a list of maps
from key paths to values. `syncnorm compare` trains the product of the lists (the last key varies fastest)
for each entry of `runs`. This study has eight runs:

```yaml
name: tiny-batch
global_batch: 16
compare:
  norm: [bn, syncbn]
  seed: [1, 2]
runs:
  - {batch_per_replica: 1, optimizer.lr: 0.1}
  - {batch_per_replica: 2, optimizer.lr: 0.2}
```

Each run is written to its own folder in the study's `run_dir`, named after its settings. Settings on the
command line apply to every run. They cannot set a key that the study varies, but they can set the study's
own keys: `'compare.seed=[1, 2]'`, `'best_of.optimizer.lr=[0.02, 0.1]'`, `target_accuracy=0.8`.

An entry of `runs` may have its own `compare`, which applies to that entry alone. `best_of:` is a map like
`compare`. Every variant is trained with each of its values and keeps the one with the highest accuracy on
the validation split, averaged over seeds (a diverged run counts as 0). The test set has no part in the
choice. With `target_accuracy`, the report shows after how many updates a run reached that test accuracy.

```yaml
data: {validation: 5000}
target_accuracy: 0.85
compare: {seed: [1, 2, 3]}
runs:
  - {norm: bn, compare: {batch_per_replica: [1, 2, 4]}}
  - {norm: gn, compare: {batch_per_replica: [1, 2, 4]}}
best_of:
  optimizer.lr: [0.02, 0.1]
```

The table, study.json and the report compare every variant with its reference: the variant with the same
settings except for the first key that varies, which has its first value there. They give the difference in
test accuracy with Student's 95% confidence interval over pairs of equal seeds: mean(d) ± t·s(d)/√n, where d
are the n differences, s is their sample standard deviation and t the quantile for n − 1 degrees of freedom.
The interval needs at least two seeds and assumes that the differences are about normally distributed. It is
not corrected for the number of variants.

)";

constexpr const char* kTraceChapter = R"(## Trace

`syncnorm trace` prints a worked example: a network of one value per layer, with and without batch
normalization. `syncnorm trace trace.yaml` takes any of these values from a file:

```yaml
inputs: [[2.0, 3.0, 1.5, 2.5], [2.2, 3.1, 1.8, 2.7], [2.4, 3.2, 2.0, 2.8]]  # one list per step
weights: [[0.5, 0.3, 0.2], [0.8, 0.9, 1.1]]  # one list per layer, with one weight per step
norm: {kind: batch, deviation: l2, l1_correction: true, eps: 1.0e-12}
```

Without a file, eps is 0. All samples of a step belong to one replica, so `bn` and `syncbn` are the same.
`norm` takes the keys above, and the kinds `batch` and `none`.

)";

constexpr const char* kRulesChapter = R"(## What is refused

All mistakes are reported at once, each as `file:line:column: key: problem; hint`, before training starts.
Columns count bytes. Besides unknown, misplaced and repeated keys and values out of range, these are
mistakes:

- a key without a value, or with `null` or `~`; an empty file; a second document
- integers other than plain decimals: `1e3`, `010`, `0x10`, `1_000`; numbers in quotes
- `yes`, `no`, `on` and `off` for `true` and `false`; `nan` and `inf`
- tags (`!!int`), merge keys (`<<`), a plain value over several lines
- aliases that contain themselves, or that stand for more than 100,000 values together
- more than 64 levels of nesting, more than 1 MiB, and bytes that are not UTF-8
)";

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
    if (section.path == "norm")
      text += config::norm_short_forms_text() + config::kNormLayersChapter;
  }
  return text + config::layers_chapter() + config::kPixelNetworksChapter + config::kImagesChapter +
         config::kFilesChapter + config::kStudiesChapter + config::kTraceChapter +
         config::kRulesChapter;
}

}  // namespace syncnorm
