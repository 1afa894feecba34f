// See weights_file.h.
#include "engine/state/weights_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include "base/error.h"
#include "base/printable.h"
#include "base/regular_file.h"
#include "engine/state/checkpoint.h"

namespace syncnorm {
namespace {

constexpr const char* kModel = "model.safetensors";

/// Detects PyTorch's own files: a zip archive with a pickle inside, or a bare pickle. A file with
/// the same first bytes is a safetensors file if its header length fits.
bool is_pickle(const std::string& bytes) {
  std::uint64_t header = 0;
  if (bytes.size() >= sizeof header) std::memcpy(&header, bytes.data(), sizeof header);
  if (bytes.size() >= sizeof header && header <= bytes.size() - sizeof header) return false;
  const bool bare = bytes.size() > 1 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5;
  return bare || bytes.starts_with("PK\x03\x04");
}

bool begins_with_word(const std::string& bytes, std::string_view word) {
  std::size_t at = bytes.starts_with("\xEF\xBB\xBF") ? 3 : 0;
  while (at < bytes.size() && std::isspace(static_cast<unsigned char>(bytes[at])) != 0) ++at;
  return bytes.size() - at >= word.size() &&
         std::equal(
             word.begin(), word.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at),
             [](char a, char b) { return a == std::tolower(static_cast<unsigned char>(b)); });
}

/// Describes what the first bytes show the file to be, and what to do; "" for a possible
/// safetensors file.
std::string what_else_it_is(const std::string& bytes) {
  if (bytes.empty()) return "this is an empty file; save or download it again";
  if (is_pickle(bytes))
    return "this is a pickle, which can run code when it is read, and is not; in Python, write the "
           "weights with safetensors.torch.save_file";
  if (begins_with_word(bytes, "version https://git-lfs"))
    return "this is a pointer of Git LFS, not the weights; fetch them with `git lfs pull`";
  if (begins_with_word(bytes, "<?xml"))
    return "this is XML, often a server's error, not the weights; download the file itself";
  if (begins_with_word(bytes, "<!doctype html") || begins_with_word(bytes, "<html"))
    return "this is a web page, not the weights; download the file itself";
  if (begins_with_word(bytes, "{"))
    return bytes.find("\"weight_map\"") != std::string::npos
               ? "this is the index of a model in several files; in Python, load them and write "
                 "one with safetensors.torch.save_file"
               : "this is JSON, not the weights; give the .safetensors file";
  constexpr std::pair<std::string_view, const char*> kMagic[] = {
      {"\x1f\x8b", "compressed with gzip; unpack it first"},
      {"\x89HDF", "an HDF5 file (Keras); convert it to safetensors"},
      {"GGUF", "a GGUF file; give the .safetensors file it was made of"},
      {"\x93NUMPY", "a NumPy array; write the weights with safetensors.numpy.save_file"}};
  for (const auto& [magic, what] : kMagic)
    if (bytes.starts_with(magic)) return fmt::format("this is {}", what);
  // A safetensors file begins with a length of 8 bytes, the last of which are 0.
  const std::string_view begin = std::string_view(bytes).substr(0, 8);
  if (std::ranges::all_of(begin, [](char c) {
        return (c >= ' ' && c <= '~') || c == '\n' || c == '\r' || c == '\t';
      }))
    return fmt::format(
        "this is a text that begins with '{}', not the weights; download or export "
        "the file again",
        printable_name(std::string_view(bytes).substr(0, 20)));
  return "";
}

float from_f16(std::uint16_t half) {
  const int exponent = half >> 10 & 0x1f;
  const int mantissa = half & 0x3ff;
  const float magnitude =
      exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                     : std::ldexp(static_cast<float>(exponent == 0 ? mantissa : mantissa | 0x400),
                                  std::max(exponent, 1) - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

float from_bf16(std::uint16_t half) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
}

template <class From, class Convert>
std::vector<float> converted(const TensorView& tensor, Convert convert) {
  const std::vector<From> stored = tensor.values<From>();
  std::vector<float> values(stored.size());
  std::transform(stored.begin(), stored.end(), values.begin(), convert);
  return values;
}

/// Returns the wrapper's prefix of a name, or "".
std::string_view wrapper_of(std::string_view name) {
  for (const std::string_view wrapper :
       {"module.", "_orig_mod.", "model.", "state_dict.", "net.", "ema."})
    if (name.starts_with(wrapper)) return wrapper;
  return "";
}

/// The name of the counter that averaging adds to the weights (torch.optim.swa_utils); it has no
/// prefix.
constexpr std::string_view kAverageCount = "n_averaged";

}  // namespace

std::string read_weights(const std::string& path) {
  const char* const kHint = "give a checkpoint folder or a .safetensors file";
  if (std::filesystem::is_directory(path)) {
    try {
      const Checkpoint checkpoint = read_checkpoint(path);
      const auto model = checkpoint.files.find(kModel);
      if (model == checkpoint.files.end())
        throw CheckpointError(fmt::format("{}: the checkpoint has no {}", path, kModel));
      return model->second;
    } catch (const CheckpointError& error) {
      throw CheckpointError(std::string(error.what()) +
                            "; give another checkpoint or a .safetensors file");
    }
  }
  RegularFile file(path);
  std::string bytes = file.read_text();
  if (file.trouble() != FileTrouble::none)
    throw CheckpointError(fmt::format("{}: cannot be read ({}); {}", path, file.reason(), kHint));
  if (const std::string what = what_else_it_is(bytes); !what.empty())
    throw CheckpointError(path + ": " + what);
  return bytes;
}

bool is_floating(const std::string& dtype) {
  return dtype == "F32" || dtype == "F16" || dtype == "BF16" || dtype == "F64";
}

std::vector<float> values_in_f32(const TensorView& tensor) {
  if (tensor.dtype == "F16") return converted<std::uint16_t>(tensor, from_f16);
  if (tensor.dtype == "BF16") return converted<std::uint16_t>(tensor, from_bf16);
  if (tensor.dtype == "F64")
    return converted<double>(tensor, [](double value) { return static_cast<float>(value); });
  return tensor.values<float>();
}

void check_values(const std::string& tensor, const std::vector<float>& values,
                  const std::string& file) {
  const auto bad = std::count_if(values.begin(), values.end(),
                                 [](float value) { return !std::isfinite(value); });
  if (bad > 0)
    throw CheckpointError(
        fmt::format("{}: tensor '{}': {} of {} values are not finite; these "
                    "weights cannot be used",
                    file, tensor, bad, values.size()));
  if (!tensor.ends_with(".running_var")) return;
  const auto lowest = std::min_element(values.begin(), values.end());
  if (lowest != values.end() && *lowest < 0.0f)
    throw CheckpointError(
        fmt::format("{}: tensor '{}': a variance of {} at index {}, but none is "
                    "negative; these weights cannot be used",
                    file, tensor, *lowest, lowest - values.begin()));
}

std::string add_encoder_prefix(std::vector<TensorView>& tensors,
                               const std::vector<std::string>& wanted) {
  const std::set<std::string> names(wanted.begin(), wanted.end());
  const auto any_with = [&](const std::string& prefix) {
    return std::any_of(tensors.begin(), tensors.end(), [&](const TensorView& tensor) {
      return names.contains(prefix + tensor.name);
    });
  };
  if (any_with("")) return "";
  for (const char* prefix : {"backbone.", "encoder."}) {
    if (!any_with(prefix)) continue;
    for (TensorView& tensor : tensors) tensor.name = prefix + tensor.name;
    return prefix;
  }
  return "";
}

std::string strip_prefix(std::vector<TensorView>& tensors, const std::vector<std::string>& wanted) {
  const auto wants = [&](std::string_view name) {
    return std::find(wanted.begin(), wanted.end(), name) != wanted.end();
  };
  const auto first = std::find_if(tensors.begin(), tensors.end(), [](const TensorView& tensor) {
    return tensor.name != kAverageCount;
  });
  if (first == tensors.end()) return "";
  std::string_view rest = first->name;
  std::size_t length = 0;
  const auto fits = [&](std::size_t count) {
    const std::string prefix = first->name.substr(0, count);
    bool known = false;
    for (const TensorView& tensor : tensors) {
      if (tensor.name == kAverageCount) continue;
      if (!tensor.name.starts_with(prefix)) return false;
      known = known || wants(std::string_view(tensor.name).substr(count));
    }
    return known;
  };
  while (!fits(length)) {
    const std::string_view wrapper = wrapper_of(rest);
    if (wrapper.empty()) return "";
    rest.remove_prefix(wrapper.size());
    length += wrapper.size();
  }
  const std::string prefix = first->name.substr(0, length);
  for (TensorView& tensor : tensors)
    if (tensor.name != kAverageCount) tensor.name.erase(0, length);
  return prefix;
}

}  // namespace syncnorm
