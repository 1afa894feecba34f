// Test images beside their labels and predictions, as pictures in the run folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/train/observer.h"

namespace syncnorm {

/// Writes DIR/INDEX.png for every example, three pictures side by side: the image, the labels and
/// the predictions in the colors of their classes; and DIR/classes.json, the names and colors of
/// the classes. Replaces what was there. A picture that cannot be written is left out: examples
/// are not results.
void write_examples(const std::filesystem::path& folder, const std::vector<ExampleImage>& images,
                    const std::vector<std::string>& class_names, int classes);

}  // namespace syncnorm
