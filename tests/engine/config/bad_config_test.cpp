// The table of bad configurations, each with its whole message.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/engine/config/bad_config.h"

namespace syncnorm {
namespace {

TEST(BadConfig, Structure) {
  expect_messages({
      {"", "a.yaml:1:1: the file is empty; give at least `name: ...`"},
      {"# only a comment\n", "a.yaml:1:1: the file is empty; give at least `name: ...`"},
      {"---\n", "a.yaml:1:1: the file is empty; give at least `name: ...`"},
      {"- a\n", "a.yaml:1:1: expected a map of keys, got a list; write `key: value` lines"},
      {"just text\n",
       "a.yaml:1:1: expected a map of keys, got 'just text'; write `key: value` lines"},
      {"lr:0.1\n",
       "a.yaml:1:1: expected a map of keys, got 'lr:0.1'; put a space after the colon: `lr: 0.1`"},
      {"seed: 1\n---\nseed: 2\n", "a.yaml:2:1: a second document begins; keep only one"},
      {"seed: 1\nseed: 2\n", "a.yaml:2:1: seed: duplicate key, first at a.yaml:1:1; remove one"},
      {"data:\n  limit: 1\n  shuffle: true\n  limit: 2\n",
       "a.yaml:4:3: data.limit: duplicate key, first at a.yaml:2:3; remove one"},
      {"data: {limit: 1}\nseed: 1\ndata: {shuffle: true}\n",
       "a.yaml:3:1: data: duplicate key, first at a.yaml:1:1; remove one"},
      {"optimizer:\n  lr:0.1\n  momentum: 0.9\n",
       "a.yaml:3:11: not valid YAML, illegal map value; put a space after the colon: `lr: 0.1`"},
      {"optimizer:\n  momentum: 0.9\n  lr:0.1\n",
       "a.yaml:3:3: optimizer.lr:0.1: has no value; put a space after the colon: `lr: 0.1`"},
      {"optimizer: {lr:0.1}\n",
       "a.yaml:1:13: optimizer.lr:0.1: has no value; put a space after the colon: `lr: 0.1`"},
      {"optimizer: {lr: 0,1}\n",
       "a.yaml:1:19: optimizer.1: has no value; write decimal numbers with a point, such as 0.1"},
      {"optimizer:\n  5:\n", "a.yaml:2:3: optimizer.5: has no value; give it one, or remove it"},
      {"name: a\n  seed:1\n",
       "a.yaml:1:7: name: the value 'a seed:1' runs over several lines; put a space after the "
       "colon: `seed: 1`"},
      {"data:\n  path: somewhere\n   else\n",
       "a.yaml:2:9: data.path: the value 'somewhere else' runs over several lines; write it on "
       "one line, or in quotes"},
      {"seed: [1, 2\nname: b\n",
       "a.yaml:1:11: seed[1]: the value '2 name' runs over several lines; write it on one line, "
       "or in quotes\n"
       "a.yaml:2:5: not valid YAML, end of sequence flow not found; check indentation, quotes and "
       "brackets"},
      {"name: \"a\n", "a.yaml:1:7: name: the quotes around 'a ' are not closed; close them"},
      {"data: {path: &p 'it''s\n",
       "a.yaml:1:14: data.path: the quotes around 'it's ' are not closed; close them"},
      {"name: 'a\n", "a.yaml:1:7: name: the quotes around 'a ' are not closed; close them"},
      {"data:\n\tlimit: 1\n",
       "a.yaml:2:7: not valid YAML, illegal map value; indent with spaces, not tabs"},
      {"seed:\n", "a.yaml:1:1: seed: has no value; give it one, or remove it"},
      {"seed: ~\nname: null\n",
       "a.yaml:1:1: seed: has no value; give it one, or remove it\n"
       "a.yaml:2:1: name: has no value; give it one, or remove it"},
      {"data:\n", "a.yaml:1:1: data: has no value; give it one, or remove it"},
      {"model: {hidden: [1, ~]}\n",
       "a.yaml:1:21: model.hidden[1]: has no value; give it one, or remove it"},
      {"seed: !!int 3\n",
       "a.yaml:1:7: seed: the tag 'tag:yaml.org,2002:int' is not allowed; remove it"},
      {"data: !mine {limit: 1}\n", "a.yaml:1:7: data: the tag '!mine' is not allowed; remove it"},
      {"<<: {seed: 1}\n",
       "a.yaml:1:1: <<: merge keys are not supported; use `_base_: FILE` or write the keys out"},
      {"? [a]\n: 1\n", "a.yaml:1:3: a list is used as a key; write a name, or close the bracket"},
      {": 1\n", "a.yaml:1:1: a key is missing before the colon; write `key: value`"},
      {"data: &d {limit: 1, synthetic: *d}\n",
       "a.yaml:1:32: data.synthetic: an alias contains itself; write the value out"},
      {"seed: *nowhere\n",
       "a.yaml:1:7: not valid YAML, the referenced anchor is not defined; check indentation, "
       "quotes and brackets"},
      {"model: {hidden: &h [1, *h]}\n",
       "a.yaml:1:24: model.hidden[1]: an alias contains itself; write the value out"},
      {"compare: {seed: [1, 2]}\n",
       "a.yaml:1:1: compare: this file is a study; use `syncnorm compare`"},
      {"runs: [{seed: 1}]\n", "a.yaml:1:1: runs: this file is a study; use `syncnorm compare`"},
      {"_base_: b.yaml\n",
       "a.yaml:1:1: _base_: a text in memory has no folder to look in; give the keys themselves"},
      {"data: {_base_: b.yaml}\n",
       "a.yaml:1:8: data._base_: unknown key; it may only stand at the top level of a file"},
  });
}

TEST(BadConfig, UnknownAndMisplacedKeys) {
  expect_messages({
      {"optimzer: {lr: 1}\n", "a.yaml:1:1: optimzer: unknown key; did you mean `optimizer`?"},
      {"optimizer: {learning: 1}\n",
       "a.yaml:1:13: optimizer.learning: unknown key; the keys here are kind, lr, momentum, "
       "nesterov, weight_decay, decay_norm_and_bias, beta1, beta2, eps, clip, clip_ratio, "
       "clip_norm, "
       "lr_reference_batch"},
      {"lr: 0.1\n", "a.yaml:1:1: lr: unknown key; belongs under optimizer: `optimizer.lr`"},
      {"momentum: 0.1\n",
       "a.yaml:1:1: momentum: unknown key; belongs under norm or optimizer: `norm.momentum`, "
       "`optimizer.momentum`"},
      {"norm: {lr: 0.1}\n",
       "a.yaml:1:8: norm.lr: unknown key; belongs under optimizer: `optimizer.lr`"},
      {"data: {seed: 1}\n", "a.yaml:1:8: data.seed: unknown key; belongs at the top level: `seed`"},
      {"data: {classes: 3}\n",
       "a.yaml:1:8: data.classes: unknown key; belongs under data.synthetic "
       "or data.masks: `data.synthetic.classes`, `data.masks.classes`"},
      {"optimizer.lr: 0.1\n",
       "a.yaml:1:1: optimizer.lr: unknown key; in a file, write it as `optimizer: {lr: ...}`"},
      {"telemetry: {prometheus: true}\n",
       "a.yaml:1:1: telemetry: unknown key; the keys here are name, seed, device, "
       "allow_shared_gpu, precision, "
       "reduction, replicas, global_batch, batch_per_replica, epochs, steps, drop_last, run_dir, "
       "data, evaluation, model, norm, optimizer, ema, schedule, loss, checkpoint, fault, metrics, "
       "probes"},
      {"optimizer: sgd\n",
       "a.yaml:1:12: optimizer: expected a map of keys, got 'sgd'; write `optimizer: {kind: ...}`"},
      {"data: [1]\n",
       "a.yaml:1:7: data: expected a map of keys, got a list; write `data: {dataset: ...}`"},
      {"norm: bm\n",
       "a.yaml:1:7: norm: 'bm' is no short form; give bn, syncbn, gn, ln, in, rms, dyt, derf, "
       "frozen "
       "or none, or write `norm: {kind: ...}`"},
      {"norm: [bn]\n",
       "a.yaml:1:7: norm: expected a map of keys, got a list; write `norm: {kind: ...}`"},
  });
}

TEST(BadConfig, Integers) {
  expect_messages({
      {"epochs: 1e3\n", "a.yaml:1:9: epochs: '1e3' is not a plain integer; write 1000"},
      {"epochs: 010\n", "a.yaml:1:9: epochs: '010' is not a plain integer; write 10"},
      {"epochs: 1_000\n", "a.yaml:1:9: epochs: '1_000' is not a plain integer; write 1000"},
      {"epochs: 0x10\n", "a.yaml:1:9: epochs: '0x10' is not a plain integer; write 16"},
      {"epochs: +5\n", "a.yaml:1:9: epochs: '+5' is not a plain integer; write 5"},
      {"epochs: 3.0\n", "a.yaml:1:9: epochs: '3.0' is not a plain integer; write 3"},
      {"epochs: 3.5\n", "a.yaml:1:9: epochs: '3.5' is not an integer; give an integer ≥ 1"},
      {"epochs: three\n", "a.yaml:1:9: epochs: 'three' is not an integer; give an integer ≥ 1"},
      {"epochs: \"3\"\n",
       "a.yaml:1:9: epochs: expected an integer ≥ 1, got the text '3'; remove the quotes"},
      {"epochs: [3]\n", "a.yaml:1:9: epochs: expected an integer ≥ 1, got a list; give one value"},
      {"epochs: {a: 3}\n",
       "a.yaml:1:9: epochs: expected an integer ≥ 1, got a map; give one value"},
      {"epochs: true\n", "a.yaml:1:9: epochs: 'true' is not an integer; give an integer ≥ 1"},
      {"epochs: 0\n", "a.yaml:1:9: epochs: '0' is out of range; give an integer ≥ 1"},
      {"epochs: -1\n", "a.yaml:1:9: epochs: '-1' is out of range; give an integer ≥ 1"},
      {"steps: 0\n", "a.yaml:1:8: steps: '0' is out of range; give an integer ≥ 1"},
      {"epochs: 2147483648\n",
       "a.yaml:1:9: epochs: '2147483648' is too large; give an integer from 1 to 2147483647"},
      {"epochs: 99999999999999999999999\n",
       "a.yaml:1:9: epochs: '99999999999999999999999' is too large; give an integer from 1 to "
       "2147483647"},
      {"seed: 18446744073709551616\n",
       "a.yaml:1:7: seed: '18446744073709551616' is too large; give an integer from 0 to "
       "18446744073709551615"},
      {"seed: -1\n",
       "a.yaml:1:7: seed: '-1' is out of range; give an integer from 0 to 18446744073709551615"},
      {"replicas: 0\n",
       "a.yaml:1:11: replicas: '0' is out of range; give an integer from 1 to 65536"},
      {"batch_per_replica: 0\n",
       "a.yaml:1:20: batch_per_replica: '0' is out of range; give an integer from 1 to 1048576"},
      {"global_batch: 0\n", "a.yaml:1:15: global_batch: '0' is out of range; give an integer ≥ 1"},
      {"checkpoint: {keep: 0}\n",
       "a.yaml:1:20: checkpoint.keep: '0' is out of range; give an integer ≥ 2"},
      {"data: {limit: -5}\n", "a.yaml:1:15: data.limit: '-5' is out of range; give an integer ≥ 0"},
      {"norm: {groups: 0}\n",
       "a.yaml:1:16: norm.groups: '0' is out of range; give an integer from 1 to 1048576"},
      {"norm: {synced_replicas: 0}\n",
       "a.yaml:1:25: norm.synced_replicas: '0' is out of range; give an integer from 1 to 65536"},
      {"norm: {synced_replicas: some}\n",
       "a.yaml:1:25: norm.synced_replicas: 'some' is not a count; give `all` or a number of "
       "replicas"},
      {"norm: {synced_replicas: '4'}\n",
       "a.yaml:1:25: norm.synced_replicas: expected an integer from 1 to 65536, got the text '4'; "
       "remove the quotes"},
      {"model: {hidden: 32}\n", "a.yaml:1:17: model.hidden: expected a list, got '32'; write [32]"},
      {"model: {hidden: [32, 0, x]}\n",
       "a.yaml:1:22: model.hidden[1]: '0' is out of range; give an integer from 1 to 1048576\n"
       "a.yaml:1:25: model.hidden[2]: 'x' is not an integer; give an integer from 1 to 1048576"},
  });
}

TEST(BadConfig, Numbers) {
  expect_messages({
      {"optimizer: {lr: -0.1}\n",
       "a.yaml:1:17: optimizer.lr: '-0.1' is out of range; give a number ≥ 0"},
      {"optimizer: {lr: .nan}\n",
       "a.yaml:1:17: optimizer.lr: '.nan' is not finite; give a number ≥ 0"},
      {"optimizer: {lr: nan}\n",
       "a.yaml:1:17: optimizer.lr: 'nan' is not finite; give a number ≥ 0"},
      {"optimizer: {lr: .inf}\n",
       "a.yaml:1:17: optimizer.lr: '.inf' is not finite; give a number ≥ 0"},
      {"optimizer: {lr: -inf}\n",
       "a.yaml:1:17: optimizer.lr: '-inf' is not finite; give a number ≥ 0"},
      {"optimizer: {lr: 1e999}\n",
       "a.yaml:1:17: optimizer.lr: '1e999' does not fit in 64 bits; give a number ≥ 0"},
      {"optimizer: {lr: '0.1'}\n",
       "a.yaml:1:17: optimizer.lr: expected a number ≥ 0, got the text '0.1'; remove the quotes"},
      {"optimizer: {lr: fast}\n",
       "a.yaml:1:17: optimizer.lr: 'fast' is not a number; give a number ≥ 0"},
      {"optimizer: {lr: +0.1}\n", "a.yaml:1:17: optimizer.lr: '+0.1' is not a number; write 0.1"},
      {"optimizer:\n  lr: 0,1\n", "a.yaml:2:7: optimizer.lr: '0,1' is not a number; write 0.1"},
      {"optimizer: {lr: 0x1p3}\n",
       "a.yaml:1:17: optimizer.lr: '0x1p3' is not a number; give a number ≥ 0"},
      {"optimizer: {lr: 0.1.2}\n",
       "a.yaml:1:17: optimizer.lr: '0.1.2' is not a number; give a number ≥ 0"},
      {"optimizer: {lr: 1e-}\n",
       "a.yaml:1:17: optimizer.lr: '1e-' is not a number; give a number ≥ 0"},
      {"optimizer: {momentum: 1}\n",
       "a.yaml:1:23: optimizer.momentum: '1' is out of range; give a number in [0, 1)"},
      {"optimizer: {beta1: 1.0}\n",
       "a.yaml:1:20: optimizer.beta1: '1.0' is out of range; give a number in [0, 1)"},
      {"optimizer: {eps: 0}\n",
       "a.yaml:1:18: optimizer.eps: '0' is out of range; give a number > 0"},
      {"norm: {eps: 0.0}\n", "a.yaml:1:13: norm.eps: '0.0' is out of range; give a number > 0"},
      {"norm: {momentum: 1.1}\n",
       "a.yaml:1:18: norm.momentum: '1.1' is out of range; give a number in [0, 1]"},
      {"loss: {label_smoothing: 1}\n",
       "a.yaml:1:25: loss.label_smoothing: '1' is out of range; give a number in [0, 1)"},
      {"schedule: {gamma: 0}\n",
       "a.yaml:1:19: schedule.gamma: '0' is out of range; give a number in (0, 1]"},
      {"model: {dropout: 1}\n",
       "a.yaml:1:18: model.dropout: '1' is out of range; give a number in [0, 1)"},
      {"fault: {deadline: 0}\n",
       "a.yaml:1:19: fault.deadline: '0' is out of range; give a number in (0, 1000000]"},
  });
}

TEST(BadConfig, WordsTextsAndSwitches) {
  expect_messages({
      {"device: gpu\n",
       "a.yaml:1:9: device: 'gpu' is not a choice; did you mean cpu? The choices are cpu, cuda"},
      {"optimizer: {kind: SGD}\n",
       "a.yaml:1:19: optimizer.kind: 'SGD' is not a choice; did you mean sgd? The choices are sgd, "
       "adam, adamw"},
      {"optimizer: {kind: lion}\n",
       "a.yaml:1:19: optimizer.kind: 'lion' is not a choice; give sgd, adam or adamw"},
      {"model: {architecture: resnet21}\n",
       "a.yaml:1:23: model.architecture: 'resnet21' is not a choice; did you mean resnet20? The "
       "choices are mlp, convnet, lenet, vgg11, vgg13, vgg16, resnet8, resnet20, resnet32, "
       "resnet56, "
       "resnet18, resnet34, resnet50, unet, deeplabv3, linknet"},
      {"data: {dataset: imagenet}\n",
       "a.yaml:1:17: data.dataset: 'imagenet' is not a choice; give fashion_mnist, mnist, "
       "cifar10, cifar100, synthetic, fashion_scenes, image_folder, segmentation_folder or packed"},
      {"data: {dataset: [mnist]}\n",
       "a.yaml:1:17: data.dataset: expected a word, got a list; give fashion_mnist, mnist, "
       "cifar10, cifar100, synthetic, fashion_scenes, image_folder, segmentation_folder or packed"},
      {"data: {scenes: {objects: [8, 3]}}\n",
       "a.yaml:1:26: data.scenes.objects: the fewest, 8, are more than the most, 3; give [3, 8]"},
      {"data: {scenes: {objects: [3]}}\n",
       "a.yaml:1:26: data.scenes.objects: has 1 entries; give 2"},
      {"data: {scenes: {objects: [0, 3], width: 8}}\n",
       "a.yaml:1:27: data.scenes.objects[0]: '0' is out of range; give an integer from 1 to 64\n"
       "a.yaml:1:41: data.scenes.width: '8' is out of range; give an integer from 16 to 4096"},
      {"data: {augment: [random_scale]}\n",
       "a.yaml:1:17: data.augment: random_scale works on images on disk with masks; set "
       "data.dataset to segmentation_folder or packed, or leave it out"},
      {"data: {dataset: segmentation_folder, path: d, augment: [cutout, random_crop]}\n",
       "a.yaml:1:56: data.augment: with masks, random_crop chooses what is shown; list it before "
       "cutout"},
      {"data: {dataset: segmentation_folder}\n",
       "a.yaml:1:17: data.path: segmentation_folder has no usual place; give its folder"},
      {"data: {dataset: segmentation_folder, path: d, images: {scale: [2, 0.5]}}\n",
       "a.yaml:1:63: data.images.scale: the smallest factor, 2, is more than the largest, 0.5; "
       "give [0.5, 2]"},
      {"data: {dataset: segmentation_folder, path: d, masks: {classes: 1}}\n",
       "a.yaml:1:64: data.masks.classes: there is nothing to learn about one class; give at least "
       "2, or 0"},
      {"data: {shuffle: yes}\n",
       "a.yaml:1:17: data.shuffle: 'yes' is not true or false; write true"},
      {"data: {shuffle: off}\n",
       "a.yaml:1:17: data.shuffle: 'off' is not true or false; write false"},
      {"data: {shuffle: True}\n",
       "a.yaml:1:17: data.shuffle: 'True' is not true or false; write true"},
      {"data: {shuffle: 'true'}\n",
       "a.yaml:1:17: data.shuffle: expected a switch, true or false, got the text 'true'; remove "
       "the quotes"},
      {"data: {shuffle: maybe}\n",
       "a.yaml:1:17: data.shuffle: 'maybe' is not true or false; give true or false"},
      {"data: {augment: random_crop}\n",
       "a.yaml:1:17: data.augment: expected a list, got 'random_crop'; write [random_crop]"},
      {"data: {augment: [cutout, crop, cutout]}\n",
       "a.yaml:1:26: data.augment[1]: 'crop' is not a choice; give random_crop, horizontal_flip, "
       "cutout, random_resized_crop, color_jitter or random_scale\n"
       "a.yaml:1:32: data.augment[2]: 'cutout' is listed twice; list it once"},
      {"name: ''\n", "a.yaml:1:7: name: the text is empty; give it a value, or remove the key"},
      {"name: a/b\n",
       "a.yaml:1:7: name: 'a/b' is not a name; use at most 128 letters, digits, '.', '_' and '-', "
       "and begin with none of '.' and '-'"},
      {"name: .hidden\n",
       "a.yaml:1:7: name: '.hidden' is not a name; use at most 128 letters, digits, '.', '_' and "
       "'-', and begin with none of '.' and '-'"},
      {"name: -x\n",
       "a.yaml:1:7: name: '-x' is not a name; use at most 128 letters, digits, '.', '_' and '-', "
       "and begin with none of '.' and '-'"},
      {"run_dir: ''\n",
       "a.yaml:1:10: run_dir: the text is empty; give it a value, or remove the key"},
      {"data: {path: [a]}\n",
       "a.yaml:1:14: data.path: expected a text, got a list; give one value"},
      {"data: {path: \"a\\nb\"}\n",
       "a.yaml:1:14: data.path: 'a b' has control characters; give a text on one line"},
  });
}

TEST(BadConfig, Layers) {
  expect_messages({
      {"model: {layers: relu}\n",
       "a.yaml:1:17: model.layers: expected a list, got 'relu'; write [relu]"},
      {"model: {layers: [conv]}\n",
       "a.yaml:1:18: model.layers[0]: a conv layer needs out; write `{type: conv, out: ...}`\n"
       "a.yaml:1:18: model.layers[0]: a conv layer needs kernel; write `{type: conv, kernel: "
       "...}`"},
      {"model: {layers: [rleu]}\n",
       "a.yaml:1:18: model.layers[0]: 'rleu' is not a choice; did you mean relu? The choices are "
       "conv, conv_transpose, linear, max_pool, average_pool, global_pool, norm, relu, sigmoid, "
       "tanh, elu, selu, gelu, silu, hard_swish, dropout, alpha_dropout, add, upsample, concat, "
       "multiply, flatten"},
      {"model: {layers: [[relu]]}\n",
       "a.yaml:1:18: model.layers[0]: expected a layer, got a list; write `- relu` or `- {type: "
       "conv, ...}`"},
      {"model: {layers: [{out: 3}]}\n",
       "a.yaml:1:18: model.layers[0]: the layer has no type; write `{type: conv, ...}`"},
      {"model: {layers: [{type: conv, out: 3}]}\n",
       "a.yaml:1:18: model.layers[0]: a conv layer needs kernel; write `{type: conv, kernel: "
       "...}`"},
      {"model: {layers: [{type: conv, out: 3, krnel: 3, kernel: 1}]}\n",
       "a.yaml:1:39: model.layers[0].krnel: a conv layer has no such field; did you mean kernel?"},
      {"model: {layers: [{type: linear, out: 3, kernel: 3}]}\n",
       "a.yaml:1:41: model.layers[0].kernel: a linear layer has no such field; its fields are "
       "type, out, bias, name, input"},
      {"model: {layers: [{type: linear, out: 0, bias: 1}]}\n",
       "a.yaml:1:38: model.layers[0].out: '0' is out of range; give an integer from 1 to 1048576\n"
       "a.yaml:1:47: model.layers[0].bias: '1' is not true or false; write true"},
      {"model: {layers: [{type: dropout, p: 1}]}\n",
       "a.yaml:1:37: model.layers[0].p: '1' is out of range; give a number in [0, 1)"},
      {"model: {layers: [{type: relu, name: a}, {type: relu, name: a}]}\n",
       "a.yaml:1:41: model.layers[1]: the name 'a' is taken by the layer at a.yaml:1:18; names "
       "are unique"},
      {"model: {layers: [add]}\n",
       "a.yaml:1:18: model.layers[0]: an add layer needs from; write `{type: add, from: ...}`"},
      {"model: {layers: [{type: add, from: [a, b]}]}\n",
       "a.yaml:1:36: model.layers[0].from: expected a text, got a list; give one value"},
      {"model: {layers: [{type: concat, from: []}]}\n",
       "a.yaml:1:39: model.layers[0].from: the list is empty; name at least one layer"},
      {"model: {layers: [{type: concat, from: [a, \"b c\"]}]}\n",
       "a.yaml:1:43: model.layers[0].from[1]: 'b c' is not a name; use at most 128 letters, "
       "digits, '.', '_' and '-', and begin with none of '.' and '-'"},
      {"model: {layers: [{type: upsample, mode: linear, scale: 0}]}\n",
       "a.yaml:1:41: model.layers[0].mode: 'linear' is not a choice; did you mean bilinear? The "
       "choices are nearest, bilinear\n"
       "a.yaml:1:56: model.layers[0].scale: '0' is out of range; give an integer from 1 to 4096"},
      {"model: {layers: [upsample]}\n",
       "a.yaml:1:18: model.layers[0]: an upsample layer needs scale or to, and not both; write "
       "`{type: upsample, scale: 2}` or `{type: upsample, to: NAME}`"},
      {"model: {layers: [{type: upsample, scale: 2, to: a}]}\n",
       "a.yaml:1:18: model.layers[0]: an upsample layer needs scale or to, and not both; write "
       "`{type: upsample, scale: 2}` or `{type: upsample, to: NAME}`"},
      {"model: {layers: [{type: conv_transpose, out: 3, kernel: 2, scale: 2}]}\n",
       "a.yaml:1:60: model.layers[0].scale: a conv_transpose layer has no such field; its fields "
       "are type, out, kernel, stride, padding, output_padding, dilation, groups, bias, name, "
       "input"},
      {"model: {aspp_rates: [1, 2, 3, 4, 5, 6, 7]}\n",
       "a.yaml:1:21: model.aspp_rates: has 7 rates; give at most 6"},
  });
}

TEST(BadConfig, AllMistakesAtOnceInTheOrderOfTheText) {
  EXPECT_EQ(
      text_error("name: a b\n"
                 "lr: 0.1\n"
                 "optimizer:\n"
                 "  momentum: 1.5\n"
                 "  kind: sdg\n"
                 "  kind: sgd\n"
                 "epochs: 1e3\n"
                 "replicas: 010\n"
                 "data: {augment: [cutout, cutout], path: ~}\n",
                 {"seed=x", "nosuch=1"}),

      "a.yaml:1:7: name: 'a b' is not a name; use at most 128 letters, digits, '.', '_' and '-', "
      "and begin with none of '.' and '-'\n"
      "a.yaml:2:1: lr: unknown key; belongs under optimizer: `optimizer.lr`\n"
      "a.yaml:4:13: optimizer.momentum: '1.5' is out of range; give a number in [0, 1)\n"
      "a.yaml:5:9: optimizer.kind: 'sdg' is not a choice; did you mean sgd? The choices are sgd, "
      "adam, adamw\n"
      "a.yaml:6:3: optimizer.kind: duplicate key, first at a.yaml:5:3; remove one\n"
      "a.yaml:7:9: epochs: '1e3' is not a plain integer; write 1000\n"
      "a.yaml:8:11: replicas: '010' is not a plain integer; write 10\n"
      "a.yaml:9:26: data.augment[1]: 'cutout' is listed twice; list it once\n"
      "a.yaml:9:35: data.path: has no value; give it one, or remove it\n"
      "command line: seed: 'x' is not an integer; give an integer from 0 to "
      "18446744073709551615\n"
      "command line: nosuch: unknown key; the keys here are name, seed, device, "
      "allow_shared_gpu, precision, "
      "reduction, replicas, global_batch, batch_per_replica, epochs, steps, drop_last, run_dir, "
      "data, evaluation, model, norm, optimizer, ema, schedule, loss, checkpoint, fault, metrics, "
      "probes");
}

TEST(BadConfig, FollowUpMistakesAreNotReported) {
  // 16 would exceed the default of 8 replicas; but the user's own number could not be read.
  EXPECT_EQ(text_error("replicas: 1e2\nnorm: {synced_replicas: 16}\n"),
            "a.yaml:1:11: replicas: '1e2' is not a plain integer; write 100");
}

}  // namespace
}  // namespace syncnorm
