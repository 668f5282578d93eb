// Crops of any size, from whole frames or packed one after another, to planes of one size: uint8 RGB [N, 3, H, W].
//
// As OpenCV's INTER_LINEAR: pixels have their centers at one half, nothing is smoothed, the edge goes on outside. A
// position in the source is an exact fraction of integers, a weight has 11 bits, and everything is added up in integers:
// the host and every GPU give the same bytes.
//
// A block makes a tile of 32 x 32 pixels of one crop. A warp makes 32 pixels of a row at a time, so that it reads
// neighbors and writes whole sectors of 32 bytes; a thread keeps its column, whose position costs a division.
#pragma once

#include "device.h"

namespace reid {

constexpr int kResizeTile = 32, kResizeThreads = 256;
constexpr int kWeightBits = 11;

// A box in a picture, and where it goes. Python's `CROP` has the same fields.
struct Crop {
  int64_t offset;  // of the picture's first row, in bytes
  int64_t chroma;  // NV12: of the first row of its color, in bytes
  int32_t pitch;  // bytes from row to row
  int32_t left, top, width, height;  // the box in pixels, inside the picture, not empty
  int32_t position;  // which of the N frames
};

struct Rgb {
  int32_t red, green, blue;
};

// Where a pixel of the result lies between two of the source: at `first`, `second` away by weight / 2^11.
struct Between {
  int32_t first, second, weight;
};

REID_DEVICE Between between(int32_t pixel, int32_t source, int32_t size) {
  const int32_t denominator = 2 * size, numerator = (2 * pixel + 1) * source - size;
  if (numerator <= 0) return {0, 0, 0};
  const int32_t first = numerator / denominator, rest = numerator - first * denominator;
  if (first >= source - 1) return {source - 1, source - 1, 0};
  return {first, first + 1, static_cast<int32_t>(((static_cast<int64_t>(rest) << kWeightBits) + size) / denominator)};
}

// Three bytes a pixel: in the order of a picture's file (RGB) or of OpenCV (BGR).
struct Interleaved {
  const uint8_t* pixels;
  bool reversed;

  REID_DEVICE Rgb at(const Crop& crop, int32_t x, int32_t y) const {
    const uint8_t* pixel = pixels + crop.offset + static_cast<int64_t>(crop.top + y) * crop.pitch + 3 * (crop.left + x);
    const int32_t first = pixel[0], green = pixel[1], last = pixel[2];
    return reversed ? Rgb{last, green, first} : Rgb{first, green, last};
  }
};

// A plane of Y, then one of Cb and Cr by turns, of half the size; each color serves four pixels, as in OpenCV. A pixel
// becomes RGB, in whole numbers from 0 to 255, before anything is weighted: what a decoder's RGB would give.
struct Nv12 {
  const uint8_t* pixels;
  int32_t black;  // of Y: 16 in the limited range, 0 in the full one
  int32_t luma, red_cr, green_cb, green_cr, blue_cb;  // factors * 2^20

  REID_DEVICE static int32_t rounded(int32_t value) {
    const int32_t whole = (value + (1 << 19)) >> 20;
    return whole < 0 ? 0 : whole > 255 ? 255 : whole;
  }

  REID_DEVICE Rgb at(const Crop& crop, int32_t x, int32_t y) const {
    const int32_t column = crop.left + x, row = crop.top + y;
    const int64_t pitch = crop.pitch;
    const int32_t above = pixels[crop.offset + row * pitch + column] - black;
    const uint8_t* color = pixels + crop.chroma + (row >> 1) * pitch + (column & ~1);
    const int32_t gray = (above < 0 ? 0 : above) * luma, cb = color[0] - 128, cr = color[1] - 128;
    return {rounded(gray + red_cr * cr), rounded(gray + green_cb * cb + green_cr * cr), rounded(gray + blue_cb * cb)};
  }
};

REID_DEVICE uint8_t weighted(int32_t a, int32_t b, int32_t c, int32_t d, const int32_t (&weights)[4]) {
  const int32_t sum = a * weights[0] + b * weights[1] + c * weights[2] + d * weights[3];
  return static_cast<uint8_t>((sum + (1 << (2 * kWeightBits - 1))) >> (2 * kWeightBits));
}

template <class Source>
REID_DEVICE Rgb mixed(const Source& source, const Crop& crop, const Between& across, const Between& down) {
  constexpr int32_t one = 1 << kWeightBits;
  const int32_t x = across.weight, y = down.weight;
  const int32_t weights[4] = {(one - x) * (one - y), x * (one - y), (one - x) * y, x * y};
  const Rgb a = source.at(crop, across.first, down.first), b = source.at(crop, across.second, down.first);
  const Rgb c = source.at(crop, across.first, down.second), d = source.at(crop, across.second, down.second);
  return {weighted(a.red, b.red, c.red, d.red, weights), weighted(a.green, b.green, c.green, d.green, weights),
          weighted(a.blue, b.blue, c.blue, d.blue, weights)};
}

// Grid: tiles of the result, crops.
template <class Source>
REID_DEVICE void resize(const Source& source, const Crop* crops, uint8_t* frames, int32_t height, int32_t width) {
  constexpr int rows = kResizeThreads / kResizeTile;
  const int across = parts(width, kResizeTile), tile = static_cast<int>(blockIdx.x);
  const Crop crop = crops[blockIdx.y];
  const int64_t plane = static_cast<int64_t>(height) * width;
  each_thread(kResizeThreads, [&](int thread) {
    const int x = tile % across * kResizeTile + thread % kResizeTile;
    const int top = tile / across * kResizeTile + thread / kResizeTile;
    if (x >= width) return;
    const Between column = between(x, crop.width, width);
#pragma unroll
    for (int step = 0; step < kResizeTile; step += rows) {
      const int y = top + step;
      if (y >= height) break;
      const Rgb color = mixed(source, crop, column, between(y, crop.height, height));
      uint8_t* pixel = frames + 3 * plane * crop.position + static_cast<int64_t>(y) * width + x;
      pixel[0] = static_cast<uint8_t>(color.red);
      pixel[plane] = static_cast<uint8_t>(color.green);
      pixel[2 * plane] = static_cast<uint8_t>(color.blue);
    }
  });
}

}  // namespace reid
