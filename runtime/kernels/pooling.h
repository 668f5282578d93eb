// The sums of tracklets whose frames come in several batches, kept in device memory, and their end: L2 normalization.
//
// A row of `sums` belongs to one unfinished tracklet. A batch adds one row to each of its tracklets, so no two blocks
// write the same number, and a sum is in the order of its batches: the same bits in every run.
#pragma once

#include "device.h"

namespace reid {

constexpr int kPoolingThreads = 256, kPoolingPack = 4;

// Where a row of a batch belongs. Python's `ADDITION` has the same fields.
struct Addition {
  int32_t row;  // of the sums
  int32_t fresh;  // not 0: the tracklet begins, and what is in the row is of another one
  float weight;  // of the tracklet's frames in this batch
};

// Adds the rows of a batch to the sums, and their weights to the totals. Grid: packs of columns, rows.
REID_DEVICE void accumulate(const float* pooled, const Addition* additions, float* sums, float* totals,
                            int32_t dimensions) {
  using Columns = Pack<float, kPoolingPack>;
  const Addition addition = additions[blockIdx.y];
  const int64_t from = blockIdx.y, to = addition.row;
  each_thread(kPoolingThreads, [&](int thread) {
    const int pack = static_cast<int>(blockIdx.x) * kPoolingThreads + thread;
    if (pack == 0) totals[to] = addition.fresh ? addition.weight : totals[to] + addition.weight;
    if (pack * kPoolingPack >= dimensions) return;
    Columns added = packed<kPoolingPack>(pooled + from * dimensions + pack * kPoolingPack);
    Columns& sum = packed<kPoolingPack>(sums + to * dimensions + pack * kPoolingPack);
    if (!addition.fresh) {
      const Columns before = sum;
#pragma unroll
      for (int column = 0; column < kPoolingPack; ++column) added.values[column] += before.values[column];
    }
    sum = added;
  });
}

// Writes the L2-normalized row rows[i] of the sums to row i of the embeddings; a zero vector stays zero. A block makes
// a row: every thread adds up its columns, and then the partial sums are added in pairs. Grid: rows.
REID_DEVICE void normalize(const float* sums, const int32_t* rows, float* embeddings, int32_t dimensions,
                           float (&squares)[kPoolingThreads]) {
  using Columns = Pack<float, kPoolingPack>;
  const int64_t to = blockIdx.x;
  const Columns* row = &packed<kPoolingPack>(sums + static_cast<int64_t>(rows[to]) * dimensions);
  Columns* result = &packed<kPoolingPack>(embeddings + to * dimensions);
  const int packs = dimensions / kPoolingPack;
  each_thread(kPoolingThreads, [&](int thread) {
    float sum = 0;
    for (int pack = thread; pack < packs; pack += kPoolingThreads) {
      const Columns columns = row[pack];
#pragma unroll
      for (int column = 0; column < kPoolingPack; ++column)
        sum = fmaf(columns.values[column], columns.values[column], sum);
    }
    squares[thread] = sum;
  });
  for (int half = kPoolingThreads / 2; half > 0; half /= 2)
    each_thread(kPoolingThreads, [&](int thread) {
      if (thread < half) squares[thread] += squares[thread + half];
    });
  each_thread(kPoolingThreads, [&](int thread) {
    const float length = fmaxf(sqrtf(squares[0]), 1e-12f);
    for (int pack = thread; pack < packs; pack += kPoolingThreads) {
      Columns columns = row[pack];
#pragma unroll
      for (int column = 0; column < kPoolingPack; ++column) columns.values[column] /= length;
      result[pack] = columns;
    }
  });
}

}  // namespace reid
