// Writes and checks safetensors files.
#include "engine/state/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace syncnorm {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;  // keeps order, but look-up is linear: not for reading
constexpr const char* kMetadata = "__metadata__";
constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMostHeaderBytes = 100'000'000;

std::uint64_t dtype_size(const std::string& dtype) {
  // Contains all types of the format, since a file may hold tensors that are not used.
  const auto is_one_of = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), dtype) != names.end();
  };
  if (is_one_of({"BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"})) return 1;
  if (is_one_of({"F16", "BF16", "I16", "U16"})) return 2;
  if (is_one_of({"F32", "I32", "U32"})) return 4;
  if (is_one_of({"F64", "I64", "U64"})) return 8;
  return 0;
}

[[noreturn]] void fail(const std::string& file, const std::string& what) {
  throw CheckpointError(fmt::format("{}: {}; this is not a usable safetensors file", file, what));
}

/// Parses the header; a repeated name is an error, where JSON would use the last one.
Json parse_header(std::string_view text, const std::string& file) {
  std::set<std::string> names;
  const auto check_key = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::key && depth == 1 &&
        !names.insert(parsed.get<std::string>()).second)
      fail(file, fmt::format("tensor '{}' appears twice", parsed.get<std::string>()));
    if (depth > 4) fail(file, "the header is nested too deeply");
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), check_key);
  } catch (const nlohmann::json::exception& error) {
    fail(file, fmt::format("the header is not JSON ({})", error.what()));
  }
}

void check_metadata(const Json& metadata, const std::string& file) {
  const auto is_text = [](const Json& value) { return value.is_string(); };
  if (!metadata.is_object() || !std::all_of(metadata.begin(), metadata.end(), is_text))
    fail(file, fmt::format("{} is not a map of texts", kMetadata));
}

using Offsets = std::pair<std::uint64_t, std::uint64_t>;

/// Returns the offsets as a sort key; malformed ones are rejected later.
Offsets offsets_of(const Json& entry) {
  const auto found = entry.find("data_offsets");
  if (found == entry.end() || !found->is_array() || found->size() != 2) return {};
  const auto offset = [&](std::size_t i) {
    const Json& value = (*found)[i];
    return value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
  };
  return {offset(0), offset(1)};
}

std::uint64_t unsigned_value(const Json& value, const std::string& file, const std::string& what) {
  if (!value.is_number_unsigned()) fail(file, what + " is not a whole number of zero or more");
  return value.get<std::uint64_t>();
}

TensorView parse_entry(const std::string& name, const Json& entry, std::string_view data,
                       std::uint64_t expected_begin, const std::string& file) {
  const std::string where = fmt::format("tensor '{}'", name);
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets") || !entry["dtype"].is_string() ||
      !entry["shape"].is_array() || !entry["data_offsets"].is_array() ||
      entry["data_offsets"].size() != 2)
    fail(file, where + " lacks dtype, shape or data_offsets");
  TensorView tensor;
  tensor.name = name;
  tensor.dtype = entry["dtype"].get<std::string>();
  const std::uint64_t size = dtype_size(tensor.dtype);
  if (size == 0) fail(file, fmt::format("{} has the unknown dtype '{}'", where, tensor.dtype));
  std::uint64_t bytes = size;
  for (const Json& dimension : entry["shape"]) {
    const std::uint64_t d = unsigned_value(dimension, file, where + ": a dimension");
    if (d != 0 && bytes > data.size() / d) fail(file, where + " is larger than the file");
    bytes *= d;
    tensor.shape.push_back(static_cast<std::int64_t>(d));
  }
  const std::uint64_t begin = unsigned_value(entry["data_offsets"][0], file, where + ": an offset");
  const std::uint64_t end = unsigned_value(entry["data_offsets"][1], file, where + ": an offset");
  if (begin != expected_begin)
    fail(file, fmt::format("{} begins at byte {} instead of {}", where, begin, expected_begin));
  if (end < begin || end > data.size() || end - begin != bytes)
    fail(file, fmt::format("{} ends at byte {}, but its shape and dtype need {} bytes of {}", where,
                           end, bytes, data.size()));
  tensor.bytes = data.substr(begin, bytes);
  return tensor;
}

}  // namespace

template <class T>
std::vector<T> TensorView::values() const {
  std::vector<T> out(bytes.size() / sizeof(T));
  std::memcpy(out.data(), bytes.data(), out.size() * sizeof(T));
  return out;
}
template std::vector<float> TensorView::values<float>() const;
template std::vector<double> TensorView::values<double>() const;
template std::vector<std::int64_t> TensorView::values<std::int64_t>() const;
template std::vector<std::uint16_t> TensorView::values<std::uint16_t>() const;

std::string write_safetensors(std::span<const TensorView> tensors) {
  OrderedJson header = OrderedJson::object();
  std::uint64_t at = 0;
  for (const TensorView& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {at, at + tensor.bytes.size()}}};
    at += tensor.bytes.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');
  const std::uint64_t length = text.size();
  std::string file(kLengthBytes, '\0');
  std::memcpy(file.data(), &length, kLengthBytes);
  file.reserve(kLengthBytes + text.size() + at);
  file += text;
  for (const TensorView& tensor : tensors) file += tensor.bytes;
  return file;
}

std::vector<TensorView> parse_safetensors(std::string_view file, const std::string& name) {
  if (file.size() < kLengthBytes)
    fail(name, fmt::format("{} bytes are too few for a header", file.size()));
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMostHeaderBytes || length > file.size() - kLengthBytes)
    fail(name, fmt::format("the header claims {} bytes of {}", length, file.size()));
  const std::string_view text = file.substr(kLengthBytes, length);
  const Json header = parse_header(text, name);
  if (!header.is_object() || text.front() != '{')
    fail(name, "the header is not a JSON object from its first byte");
  const std::string_view data = file.substr(kLengthBytes + length);

  // The format orders tensors by offset, not by position in the header. An empty tensor precedes
  // the one that begins at the same offset.
  std::vector<std::pair<Offsets, Json::const_iterator>> order;
  for (auto entry = header.begin(); entry != header.end(); ++entry) {
    if (entry.key() == kMetadata)
      check_metadata(*entry, name);
    else
      order.emplace_back(offsets_of(*entry), entry);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<TensorView> tensors;
  std::uint64_t at = 0;
  for (const auto& [offsets, entry] : order) {
    tensors.push_back(parse_entry(entry.key(), *entry, data, at, name));
    at += tensors.back().bytes.size();
  }
  if (at != data.size())
    fail(name, fmt::format("{} bytes follow the last tensor", data.size() - at));
  return tensors;
}

}  // namespace syncnorm
