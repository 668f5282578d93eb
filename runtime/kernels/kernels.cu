// The kernels by name: what Python launches. The arguments of each are packed by `library.py` in this order.
#include "pooling.h"
#include "resize.h"
#include "selection.h"
#include "similarity.h"

using namespace reid;

extern "C" __global__ void __launch_bounds__(kResizeThreads)
    resize_interleaved(const uint8_t* pixels, const Crop* crops, uint8_t* frames, int32_t height, int32_t width,
                       int32_t reversed) {
  resize(Interleaved{pixels, reversed != 0}, crops, frames, height, width);
}

extern "C" __global__ void __launch_bounds__(kResizeThreads)
    resize_nv12(const uint8_t* pixels, const Crop* crops, uint8_t* frames, int32_t height, int32_t width, int32_t black,
                int32_t luma, int32_t red_cr, int32_t green_cb, int32_t green_cr, int32_t blue_cb) {
  resize(Nv12{pixels, black, luma, red_cr, green_cb, green_cr, blue_cb}, crops, frames, height, width);
}

extern "C" __global__ void __launch_bounds__(kPoolingThreads)
    accumulate_rows(const float* pooled, const Addition* additions, float* sums, float* totals, int32_t dimensions) {
  accumulate(pooled, additions, sums, totals, dimensions);
}

extern "C" __global__ void __launch_bounds__(kPoolingThreads)
    normalize_rows(const float* sums, const int32_t* rows, float* embeddings, int32_t dimensions) {
  __shared__ float squares[kPoolingThreads];
  normalize(sums, rows, embeddings, dimensions, squares);
}

// For few queries or many. `blocks` is how many of them a multiprocessor has room for.
#define REID_SCORE(name, Tile, blocks, Entry)                                                                          \
  extern "C" __global__ void __launch_bounds__(kScoreThreads, blocks)                                                  \
      name(const float* query, int32_t query_rows, const Entry* gallery, int64_t gallery_rows, int32_t dimensions,     \
           int64_t start, int32_t count, int32_t pitch, const int32_t* camera, const double* time,                     \
           const double* windows, int32_t cameras, float* scores) {                                                   \
    __shared__ Slices<Tile> slices;                                                                                    \
    score<Tile>(Matrix<float>{query, query_rows}, Matrix<Entry>{gallery, gallery_rows}, dimensions, start, count,      \
                pitch, Conditions{camera, time, windows, cameras}, scores, slices);                                     \
  }
REID_SCORE(score_few_float32, Few, 3, float)
REID_SCORE(score_few_float16, Few, 3, Half)
REID_SCORE(score_many_float32, Many, 2, float)
REID_SCORE(score_many_float16, Many, 2, Half)

extern "C" __global__ void __launch_bounds__(kSelectThreads)
    select_best(const float* source, const int32_t* source_entries, int32_t start, int32_t count, int32_t pitch,
                int32_t k, int32_t more, float* scores, int32_t* entries) {
  __shared__ Found found;
  select(Scores{source, source_entries, start, count, pitch}, k, more != 0, scores, entries, found);
}

#define REID_EXACT(name, Entry)                                                                              \
  extern "C" __global__ void __launch_bounds__(kExactThreads)                                                \
      name(const float* query, const Entry* gallery, int32_t dimensions, const int32_t* entries, int32_t k,  \
           double* distances) {                                                                              \
    __shared__ int64_t sums[kExactThreads];                                                                  \
    exact_distances(query, gallery, dimensions, entries, k, distances, sums);                                \
  }
REID_EXACT(exact_distances_float32, float)
REID_EXACT(exact_distances_float16, Half)
