// See png_codec.h. libpng reports errors by longjmp, so no object with a destructor may exist
// between setjmp and the calls.
#include "engine/data/png_codec.h"

#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace syncnorm {
namespace {

struct PngState {
  png_structp png = nullptr;
  png_infop info = nullptr;
  const std::uint8_t* next = nullptr;
  std::size_t left = 0;
  std::array<char, 200> message{};
  bool out_of_memory = false;

  ~PngState() { png_destroy_read_struct(&png, &info, nullptr); }
};

void png_failed(png_structp png, png_const_charp text) {
  auto* state = static_cast<PngState*>(png_get_error_ptr(png));
  std::snprintf(state->message.data(), state->message.size(), "%s", text);
  png_longjmp(png, 1);
}

void png_warned(png_structp, png_const_charp) {}

png_voidp png_allocate(png_structp png, png_alloc_size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) static_cast<PngState*>(png_get_mem_ptr(png))->out_of_memory = true;
  return memory;
}

void png_release(png_structp, png_voidp memory) { std::free(memory); }

void png_take(png_structp png, png_bytep out, std::size_t count) {
  auto* state = static_cast<PngState*>(png_get_io_ptr(png));
  if (count > state->left) png_error(png, "the file ends early");
  std::memcpy(out, state->next, count);
  state->next += count;
  state->left -= count;
}

/// The meaning of pixels: RGB, or the label that they hold.
enum class Wanted { rgb, label };

/// Returns true on success; otherwise state.message contains the reason.
bool read_png_header(PngState& state, Wanted wanted) {
  if (setjmp(png_jmpbuf(state.png)) != 0) return false;
  png_set_user_limits(state.png, kMaxImageSide, kMaxImageSide);
  // Ignores texts, profiles and the like without inflating them: a few bytes can become megabytes.
  png_set_keep_unknown_chunks(state.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_read_info(state.png, state.info);
  if (wanted == Wanted::label) {
    png_set_packing(state.png);  // a byte per pixel; palette indices stay, nothing is scaled
  } else {
    png_set_expand(state.png);
    png_set_strip_16(state.png);
    png_set_strip_alpha(state.png);
    png_set_gray_to_rgb(state.png);
  }
  png_set_interlace_handling(state.png);
  png_read_update_info(state.png, state.info);
  return true;
}

bool read_png_rows(PngState& state, png_bytep* rows) {
  if (setjmp(png_jmpbuf(state.png)) != 0) return false;
  png_read_image(state.png, rows);
  png_read_end(state.png, nullptr);
  return true;
}

/// Decodes in three steps: the header, then prepare(height, width, bytes per row), then the rows at
/// row(y).
template <class Prepare, class Row>
void decode(std::span<const std::uint8_t> bytes, Wanted wanted, const Prepare& prepare,
            const Row& row) {
  PngState state;
  state.next = bytes.data();
  state.left = bytes.size();
  state.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &state, png_failed, png_warned,
                                       &state, png_allocate, png_release);
  if (state.png != nullptr) state.info = png_create_info_struct(state.png);
  if (state.info == nullptr) throw std::bad_alloc();
  png_set_read_fn(state.png, &state, png_take);
  const auto fail = [&state] {
    if (state.out_of_memory) throw std::bad_alloc();
    throw CorruptImageError(fmt::format("damaged PNG: {}", state.message.data()));
  };
  if (!read_png_header(state, wanted)) fail();
  const std::int64_t height = png_get_image_height(state.png, state.info);
  const std::int64_t width = png_get_image_width(state.png, state.info);
  check_image_size(height, width);
  prepare(static_cast<int>(height), static_cast<int>(width),
          png_get_rowbytes(state.png, state.info));
  std::vector<png_bytep> rows;
  for (int y = 0; y < height; ++y) rows.push_back(row(y));
  if (!read_png_rows(state, rows.data())) fail();
}

}  // namespace

void decode_png(std::span<const std::uint8_t> bytes, RgbImage& image) {
  const auto prepare = [&image](int height, int width, std::size_t row_bytes) {
    image.reshape(height, width);
    if (row_bytes != image.row_bytes())
      throw CorruptImageError("damaged PNG: its pixels are not RGB");
  };
  decode(bytes, Wanted::rgb, prepare, [&image](int y) { return image.row(y); });
}

void decode_mask(std::span<const std::uint8_t> bytes, MaskImage& mask) {
  if (const std::string problem = mask_problem(parse_image_header(bytes)); !problem.empty())
    throw CorruptImageError(problem);
  const auto prepare = [&mask](int height, int width, std::size_t row_bytes) {
    mask.height = height;
    mask.width = width;
    mask.pixels.resize(static_cast<std::size_t>(height) * static_cast<std::size_t>(width));
    if (row_bytes != static_cast<std::size_t>(width))
      throw CorruptImageError("damaged PNG: its pixels are no labels");
  };
  decode(bytes, Wanted::label, prepare,
         [&mask](int y) { return mask.pixels.data() + std::ptrdiff_t{y} * mask.width; });
}

void check_labels(MaskImage& mask, int classes, int ignore_label) {
  int largest = -1;
  for (const std::uint8_t pixel : mask.pixels)
    largest = std::max(largest, pixel == ignore_label ? -1 : int{pixel});
  if (largest < classes) {
    if (ignore_label != kIgnoredPixel)
      std::replace(mask.pixels.begin(), mask.pixels.end(), static_cast<std::uint8_t>(ignore_label),
                   kIgnoredPixel);
    return;
  }
  const auto wrong = std::find_if(mask.pixels.begin(), mask.pixels.end(), [&](std::uint8_t pixel) {
    return pixel >= classes && pixel != ignore_label;
  });
  const auto at = static_cast<int>(wrong - mask.pixels.begin());
  throw CorruptImageError(fmt::format(
      "has label {} at x = {}, y = {}, but there are {} classes: expected 0 to {}, or {} where the "
      "pixel is to be ignored",
      *wrong, at % mask.width, at / mask.width, classes, classes - 1, ignore_label));
}

}  // namespace syncnorm
