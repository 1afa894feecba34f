// Keys of data and evaluation.
#include "engine/config/schema_sections.h"

#include <fmt/format.h>

#include "engine/config/layers.h"
#include "engine/config/listen_address.h"
#include "engine/config/names.h"
#include "engine/config/paths.h"
#include "engine/config/run_name.h"

namespace syncnorm::config {

Rows data_rows() {
  return {
      choice_key(
          "data.dataset", [](auto& e) -> auto& { return e.data.dataset; },
          "synthetic needs no files: labelled textures, made from the seed; "
          "fashion_scenes: garments of Fashion-MNIST on textured ground, with labels per pixel; "
          "image_folder, segmentation_folder and packed: see Images on disk"),
      free_on_resume(path_key(
          "data.path", [](auto& e) -> auto& { return e.data.path; }, "`auto`, or a path",
          "folder of the dataset's files; auto: search the usual folders")),
      switch_key(
          "data.shuffle", [](auto& e) -> auto& { return e.data.shuffle; },
          "shuffle every epoch, by seed; false: keep the order of the files"),
      choice_list_key(
          "data.augment", [](auto& e) -> auto& { return e.data.augment; },
          "random changes to training images, and to their masks, applied in this order; "
          "random_resized_crop and color_jitter need images on disk, random_scale "
          "segmentation_folder or its pack"),
      integer_key(
          "data.crop_padding", [](auto& e) -> auto& { return e.data.crop_padding; },
          between(0, kLargestSide),
          "random_crop: zeros around the image, pixels; not for segmentation_folder, whose images "
          "are cropped to height and width"),
      integer_key(
          "data.cutout_size", [](auto& e) -> auto& { return e.data.cutout_size; },
          between(1, kLargestSide), "cutout: side of the blank square, pixels"),
      integer_key(
          "data.limit", [](auto& e) -> auto& { return e.data.limit; }, at_least(0),
          "train on this many samples, the first ones; 0: on all"),
      integer_key(
          "data.validation", [](auto& e) -> auto& { return e.data.validation; }, at_least(0),
          "training samples held out as the split `validation`, chosen by seed"),
      free_on_resume(integer_key(
          "data.prefetch", [](auto& e) -> auto& { return e.data.prefetch; }, between(1, 1024),
          "batches that the loader prepares ahead")),
      integer_key(
          "data.synthetic.classes", [](auto& e) -> auto& { return e.data.synthetic.classes; },
          between(2, 65536), "number of labels"),
      integer_key(
          "data.synthetic.height", [](auto& e) -> auto& { return e.data.synthetic.height; },
          between(1, kLargestSide), "height of an image, pixels"),
      integer_key(
          "data.synthetic.width", [](auto& e) -> auto& { return e.data.synthetic.width; },
          between(1, kLargestSide), "width of an image, pixels"),
      integer_key(
          "data.synthetic.channels", [](auto& e) -> auto& { return e.data.synthetic.channels; },
          between(1, kLargestSide), "channels of an image"),
      integer_key(
          "data.synthetic.train_samples",
          [](auto& e) -> auto& { return e.data.synthetic.train_samples; }, at_least(1),
          "images in the training split"),
      integer_key(
          "data.synthetic.test_samples",
          [](auto& e) -> auto& { return e.data.synthetic.test_samples; }, at_least(1),
          "images in the test split"),
  };
}

Rows scenes_rows() {
  constexpr std::uint64_t kSmallestSide = 16, kMostObjects = 64;
  return {
      integer_key(
          "data.scenes.height", [](auto& e) -> auto& { return e.data.scenes.height; },
          between(kSmallestSide, kLargestSide), "height of a scene, pixels"),
      integer_key(
          "data.scenes.width", [](auto& e) -> auto& { return e.data.scenes.width; },
          between(kSmallestSide, kLargestSide), "width of a scene, pixels"),
      integer_key(
          "data.scenes.train_samples", [](auto& e) -> auto& { return e.data.scenes.train_samples; },
          at_least(1), "scenes in the training split, made from Fashion-MNIST's training images"),
      integer_key(
          "data.scenes.test_samples", [](auto& e) -> auto& { return e.data.scenes.test_samples; },
          at_least(1), "scenes in the test split, made from Fashion-MNIST's test images"),
      integer_list_key(
          "data.scenes.objects", [](auto& e) -> auto& { return e.data.scenes.objects; },
          between(1, kMostObjects),
          "the fewest and the most garments of a scene; every number between is equally likely", 2),
  };
}

Rows images_rows() {
  constexpr std::size_t kColors = 3;
  return {
      integer_key(
          "data.images.height", [](auto& e) -> auto& { return e.data.images.height; },
          between(1, kLargestSide), "height of the model's input, pixels"),
      integer_key(
          "data.images.width", [](auto& e) -> auto& { return e.data.images.width; },
          between(1, kLargestSide), "width of the model's input, pixels"),
      integer_key(
          "data.images.resize", [](auto& e) -> auto& { return e.data.images.resize; },
          between(1, kLargestSide),
          "labels per image: length of the shorter side before the center crop, pixels; at least "
          "height and width"),
      number_key(
          "data.images.crop_area", [](auto& e) -> auto& { return e.data.images.crop_area; },
          kFactor,
          "random_resized_crop: smallest crop, as a share of the image's area; the largest is 1"),
      number_list_key(
          "data.images.scale", [](auto& e) -> auto& { return e.data.images.scale; }, kScale, 2,
          "random_scale: the smallest and the largest factor by which image and mask are scaled"),
      integer_key(
          "data.images.evaluation_limit",
          [](auto& e) -> auto& { return e.data.images.evaluation_limit; },
          between(16, kLargestSide),
          "labels per pixel: evaluations read whole images; the largest side that they may have, "
          "pixels"),
      number_key(
          "data.images.brightness", [](auto& e) -> auto& { return e.data.images.brightness; },
          kUpToOne, "color_jitter: the factor is drawn from 1 ± this"),
      number_key(
          "data.images.contrast", [](auto& e) -> auto& { return e.data.images.contrast; }, kUpToOne,
          "color_jitter: the factor is drawn from 1 ± this"),
      number_key(
          "data.images.saturation", [](auto& e) -> auto& { return e.data.images.saturation; },
          kUpToOne, "color_jitter: the factor is drawn from 1 ± this"),
      number_list_key(
          "data.images.mean", [](auto& e) -> auto& { return e.data.images.mean; }, kUpToOne,
          kColors,
          "mean of red, green and blue, in [0, 1], which is subtracted; default: ImageNet's"),
      number_list_key(
          "data.images.std", [](auto& e) -> auto& { return e.data.images.std; }, kFactor, kColors,
          "standard deviation of red, green and blue, by which values are divided"),
      free_on_resume(integer_key(
          "data.images.threads", [](auto& e) -> auto& { return e.data.images.threads; },
          between(1, 256), "decoding threads per rank")),
      choice_key(
          "data.images.corrupt", [](auto& e) -> auto& { return e.data.images.corrupt; },
          "what to do about an image that cannot be decoded: stop the run, or skip the image"),
  };
}

Rows masks_rows() {
  return {
      integer_key(
          "data.masks.ignore_label", [](auto& e) -> auto& { return e.data.masks.ignore_label; },
          between(0, 255), "label of the pixels that neither train nor count"),
      integer_key(
          "data.masks.classes", [](auto& e) -> auto& { return e.data.masks.classes; },
          between(0, 254),
          "number of classes; 0: as many as classes.txt names or, without it, as the largest label "
          "says, for which every mask is read at the start"),
  };
}

Rows evaluation_rows() {
  return {
      free_on_resume(integer_key(
          "evaluation.every_epochs", [](auto& e) -> auto& { return e.evaluation.every_epochs; },
          at_least(0), "epochs between evaluations; 0: not by epoch")),
      free_on_resume(integer_key(
          "evaluation.every_steps", [](auto& e) -> auto& { return e.evaluation.every_steps; },
          at_least(0), "updates between evaluations; 0: not by step")),
      free_on_resume(choice_list_key(
          "evaluation.statistics", [](auto& e) -> auto& { return e.evaluation.statistics; },
          "batch norms: the statistics to evaluate with, one evaluation each; the first one "
          "decides "
          "about the best checkpoint, best_of and test_accuracy; see [Which statistics at "
          "evaluation](normalization.md#which-statistics-at-evaluation)")),
      free_on_resume(integer_key(
          "evaluation.batch", [](auto& e) -> auto& { return e.evaluation.batch; },
          between(0, 1 << 20),
          "statistics batch, precise, test_set: images that are normalized together; 0: as many as "
          "share statistics in training")),
      free_on_resume(integer_key(
          "evaluation.precise_samples",
          [](auto& e) -> auto& { return e.evaluation.precise_samples; }, at_least(1),
          "statistics precise: training images, where norm.precise_samples is 0")),
      free_on_resume(number_list_key(
          "evaluation.mixed_weights", [](auto& e) -> auto& { return e.evaluation.mixed_weights; },
          kUpToOne, kAnyCount,
          "statistics mixed: weights of a sample's own statistics, of which the validation images "
          "choose one")),
  };
}

}  // namespace syncnorm::config
