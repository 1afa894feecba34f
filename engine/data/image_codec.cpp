// Decodes JPEG, chooses between the formats and handles libjpeg's errors; see image_codec.h.
// libjpeg reports errors by longjmp, so no object with a destructor may exist between setjmp and
// the calls.
#include "engine/data/image_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string_view>

#include <jpeglib.h>
// jpeglib.h must come first
#include <jerror.h>

#include "engine/data/png_codec.h"

namespace syncnorm {
namespace {

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

void check_image_size(std::int64_t height, std::int64_t width) {
  if (height < 1 || width < 1 || height > kMaxImageSide || width > kMaxImageSide ||
      height * width > kMaxImagePixels)
    throw CorruptImageError(
        fmt::format("is {}×{} pixels; at most {} along a side and {} in all are decoded", width,
                    height, kMaxImageSide, kMaxImagePixels));
}

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
    check_image_size(info.image_height, info.image_width);
    image.reshape(static_cast<int>(info.image_height), static_cast<int>(info.image_width));
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
  if (bytes.empty()) throw CorruptImageError("is empty");
  if (is_png(bytes)) return decode_png(bytes, image);
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
