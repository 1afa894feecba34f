// Decodes with both libraries and handles their errors; see image_codec.h. Both libraries report
// errors by longjmp, so no object with a destructor may exist between setjmp and the calls.
#include "engine/data/image_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include <jpeglib.h>
// jpeglib.h must come first
#include <jerror.h>
#include <png.h>

namespace syncnorm {
namespace {

void make_room(std::int64_t height, std::int64_t width, RgbImage& image) {
  if (height < 1 || width < 1 || height > kMaxImageSide || width > kMaxImageSide ||
      height * width > kMaxImagePixels)
    throw CorruptImageError(
        fmt::format("is {}×{} pixels; at most {} along a side and {} in all are decoded", width,
                    height, kMaxImageSide, kMaxImagePixels));
  image.reshape(static_cast<int>(height), static_cast<int>(width));
}

/// Returns " but ..." for formats that often have an image's name; otherwise "".
std::string other_format(std::span<const std::uint8_t> bytes) {
  struct Format {
    std::size_t at;
    std::string_view magic;
    const char* text;
  };
  constexpr std::array<Format, 10> kFormats = {
      {{0, "GIF8", "GIF"},
       {8, "WEBP", "WebP"},
       {0, "II*", "TIFF"},
       {0, std::string_view("MM\0*", 4), "TIFF"},
       {4, "ftypavif", "AVIF"},
       {4, "ftyphei", "HEIC"},
       {4, "ftypmif1", "HEIC"},
       {0, "<!DOCTYPE", "an HTML page"},
       {0, "<html", "an HTML page"},
       {0, "version https://git-lfs", "a pointer of Git LFS: fetch the file itself"}}};
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const Format& format : kFormats)
    if (text.size() >= format.at && text.substr(format.at).starts_with(format.magic))
      return fmt::format(" but {}", format.text);
  return "";
}

// ---- PNG.

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

/// Returns true on success; otherwise state.message contains the reason.
bool read_png_header(PngState& state) {
  if (setjmp(png_jmpbuf(state.png)) != 0) return false;
  png_set_user_limits(state.png, kMaxImageSide, kMaxImageSide);
  // Ignores texts, profiles and the like without inflating them: a few bytes can become megabytes.
  png_set_keep_unknown_chunks(state.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_read_info(state.png, state.info);
  png_set_expand(state.png);
  png_set_strip_16(state.png);
  png_set_strip_alpha(state.png);
  png_set_gray_to_rgb(state.png);
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

void decode_png(std::span<const std::uint8_t> bytes, RgbImage& image) {
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
  if (!read_png_header(state)) fail();
  make_room(png_get_image_height(state.png, state.info), png_get_image_width(state.png, state.info),
            image);
  if (png_get_rowbytes(state.png, state.info) != image.row_bytes())
    throw CorruptImageError("damaged PNG: its pixels are not RGB");
  std::vector<png_bytep> rows;
  for (int y = 0; y < image.height(); ++y) rows.push_back(image.row(y));
  if (!read_png_rows(state, rows.data())) fail();
}

// ---- JPEG.

struct JpegErrors : jpeg_error_mgr {
  std::jmp_buf jump;
  std::array<char, JMSG_LENGTH_MAX> message{};
};

[[noreturn]] void jpeg_failed(j_common_ptr info) {
  auto* errors = static_cast<JpegErrors*>(info->err);
  errors->format_message(info, errors->message.data());
  std::longjmp(errors->jump, 1);
}

/// Returns true for warnings that mean lost pixels; other warnings concern metadata.
bool loses_pixels(int warning) {
  constexpr std::array kLosses = {JWRN_HIT_MARKER, JWRN_HUFF_BAD_CODE, JWRN_JPEG_EOF,
                                  JWRN_MUST_RESYNC, JWRN_ARITH_BAD_CODE};
  return std::find(kLosses.begin(), kLosses.end(), warning) != kLosses.end();
}

/// Called by libjpeg in every pass over the coefficients; fails after too many scans.
void jpeg_progressed(j_common_ptr info) {
  auto* errors = static_cast<JpegErrors*>(info->err);
  const auto* image = reinterpret_cast<j_decompress_ptr>(info);
  const int most = most_jpeg_scans(std::int64_t{image->image_width} * image->image_height);
  if (image->input_scan_number <= most) return;
  std::snprintf(errors->message.data(), errors->message.size(), "more than %d scans", most);
  errors->msg_code = 0;
  std::longjmp(errors->jump, 1);
}

void jpeg_warned(j_common_ptr info, int level) {
  if (level < 0 && loses_pixels(info->err->msg_code)) jpeg_failed(info);
}

}  // namespace

int most_jpeg_scans(std::int64_t pixels) {
  constexpr std::int64_t kMost = 500, kMostPixels = std::int64_t{1} << 32;
  return static_cast<int>(std::min(kMost, kMostPixels / std::max<std::int64_t>(1, pixels)));
}

void RgbImage::reshape(int height, int width) {
  constexpr std::size_t kBorder = 32, kBehind = 8;
  height_ = height;
  width_ = width;
  stride_ = (row_bytes() + kBorder - 1) / kBorder * kBorder;
  bytes_.resize(static_cast<std::size_t>(height) * stride_ + kBorder);
  const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data());
  first_ = (kBehind - address) % kBorder;
}

/// The libjpeg state, kept between images: creating it costs more than decoding a small image.
struct ImageDecoder::Jpeg {
  jpeg_decompress_struct info{};
  JpegErrors errors;
  jpeg_progress_mgr progress{};
  bool made = false;

  Jpeg() {
    info.err = jpeg_std_error(&errors);
    errors.error_exit = jpeg_failed;
    errors.emit_message = jpeg_warned;
    errors.output_message = [](j_common_ptr) {};
    if (setjmp(errors.jump) != 0) throw std::bad_alloc();
    jpeg_create_decompress(&info);
    made = true;
    progress.progress_monitor = jpeg_progressed;
    info.progress = &progress;
  }
  ~Jpeg() {
    if (made) jpeg_destroy_decompress(&info);
  }

  bool read_header(std::span<const std::uint8_t> bytes) {
    if (setjmp(errors.jump) != 0) return false;
    jpeg_mem_src(&info, bytes.data(), bytes.size());
    jpeg_read_header(&info, TRUE);
    info.dct_method = JDCT_ISLOW;
    info.do_fancy_upsampling = TRUE;
    info.out_color_space = JCS_RGB;
    return true;
  }
  bool read_rows(RgbImage& image) {
    if (setjmp(errors.jump) != 0) return false;
    jpeg_start_decompress(&info);
    while (info.output_scanline < info.output_height) {
      JSAMPROW row = image.row(static_cast<int>(info.output_scanline));
      jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_finish_decompress(&info);
    return true;
  }
  void decode(std::span<const std::uint8_t> bytes, RgbImage& image) {
    if (!read_header(bytes)) fail();
    if (info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK)
      throw CorruptImageError("has CMYK colours; convert it to RGB");
    make_room(info.image_height, info.image_width, image);
    if (!read_rows(image)) fail();
  }
  [[noreturn]] void fail() {
    if (errors.msg_code == JERR_OUT_OF_MEMORY) throw std::bad_alloc();
    throw CorruptImageError(fmt::format("damaged JPEG: {}", errors.message.data()));
  }
};

ImageDecoder::ImageDecoder() : jpeg_(std::make_unique<Jpeg>()) {}
ImageDecoder::~ImageDecoder() = default;

void ImageDecoder::decode(std::span<const std::uint8_t> bytes, RgbImage& image) {
  constexpr std::array<std::uint8_t, 8> kPng = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  if (bytes.empty()) throw CorruptImageError("is empty");
  if (bytes.size() >= kPng.size() && std::equal(kPng.begin(), kPng.end(), bytes.begin()))
    return decode_png(bytes, image);
  if (bytes.size() < 3 || bytes[0] != 0xff || bytes[1] != 0xd8 || bytes[2] != 0xff)
    throw CorruptImageError("is neither JPEG nor PNG" + other_format(bytes));
  try {
    jpeg_->decode(bytes, image);
  } catch (...) {
    jpeg_abort_decompress(&jpeg_->info);
    throw;
  }
}

}  // namespace syncnorm
