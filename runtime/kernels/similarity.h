// The similarities of queries to a part of the gallery, a matrix product in tiles, and who may match whom.
//
// A block has a tile of the product, in the registers of its threads: 8 entries each, for 4 or 8 queries. Slices of some
// dimensions go through shared memory, as float32, while the next one is already being read. A product is summed over
// its dimensions in order, by fused multiply and add: the same bits for equal embeddings, wherever in the gallery and in
// whatever tile they are, on every GPU and on the host.
#pragma once

#include "device.h"

namespace reid {

constexpr int kScoreThreads = 256;
constexpr int kEntries = 8;  // of the gallery, of a thread
constexpr int kPack = 8;  // dimensions that a thread reads at a time

// The shape of a tile. Threads that are neighbors have the same queries and neighboring entries.
template <int rows_of_threads, int queries_of_thread, int dimensions_of_slice>
struct Shape {
  static constexpr int columns = kScoreThreads / rows_of_threads;  // threads along the gallery
  static constexpr int queries = queries_of_thread, depth = dimensions_of_slice;
  static constexpr int tile_queries = rows_of_threads * queries, tile_entries = columns * kEntries;

  // Returns where a thread's n-th entry is, seen from its first: in packs of 4, side by side with other threads'.
  REID_DEVICE static constexpr int place_of(int number) { return number / 4 * (4 * columns) + number % 4; }
};

// For few queries, so that the gallery is read about as fast as memory gives it, and for many, so that it is read seldom.
using Few = Shape<4, 4, 8>;  // 16 x 512
using Many = Shape<16, 8, 16>;  // 128 x 128

// Which entries a query may match: of each camera, those that were seen within two windows of time.
struct Conditions {
  const int32_t* camera;  // [G], from 0 on; an entry with another number is nobody's match
  const double* time;  // [G]
  const double* windows;  // [Q, cameras, 2, 2]: the first and the last time of each; null where all may match
  int32_t cameras;

  REID_DEVICE bool allow(int64_t query, int64_t entry) const {
    if (!windows) return true;
    const int32_t number = camera[entry];
    if (number < 0 || number >= cameras) return false;
    const double at = time[entry], *own = windows + 4 * (query * cameras + number);
    return (own[0] <= at && at <= own[1]) || (own[2] <= at && at <= own[3]);
  }
};

// Rows of dimensions in device memory, and how many of them there are.
template <class Value>
struct Matrix {
  const Value* values;
  int64_t rows;
};

// A slice of a tile, dimension by dimension. The padding keeps the stores, which come by rows, apart.
template <int depth, int rows>
struct alignas(16) Slice {
  float values[depth][rows + 4];
};

template <class Tile>
struct Slices {
  Slice<Tile::depth, Tile::tile_queries> query[2];
  Slice<Tile::depth, Tile::tile_entries> entry[2];
};

// The part of a slice that one thread carries from device to shared memory: packs of dimensions of one row each.
template <class Value, int depth_of_slice, int rows>
struct Carried {
  static constexpr int per_row = depth_of_slice / kPack, packs = parts(rows * per_row, kScoreThreads);
  static constexpr int word = 16 / sizeof(Value), words = kPack / word;  // 16 bytes are read at once
  Pack<Value, word> values[packs][words];

  REID_DEVICE void read(const Matrix<Value>& matrix, int64_t first, int depth, int dimensions, int thread) {
#pragma unroll
    for (int index = 0; index < packs; ++index) {
      const int number = index * kScoreThreads + thread, dimension = depth + number % per_row * kPack;
      const int64_t row = first + number / per_row;
      const bool there = number < rows * per_row && row < matrix.rows && dimension < dimensions;
#pragma unroll
      for (int part = 0; part < words; ++part) {
        const Value* at = matrix.values + row * dimensions + dimension + part * word;
        values[index][part] = there ? packed<word>(at) : Pack<Value, word>{};
      }
    }
  }

  REID_DEVICE void write(Slice<depth_of_slice, rows>& slice, int thread) const {
#pragma unroll
    for (int index = 0; index < packs; ++index) {
      const int number = index * kScoreThreads + thread;
      if (number >= rows * per_row) continue;
#pragma unroll
      for (int column = 0; column < kPack; ++column)
        slice.values[number % per_row * kPack + column][number / per_row] =
            to_float(values[index][column / word].values[column % word]);
    }
  }
};

// Adds a slice's products to the sums of one thread.
template <class Tile>
REID_DEVICE void multiply(const Slices<Tile>& slices, int buffer, int thread, float (&sums)[Tile::queries][kEntries]) {
  const int column = thread % Tile::columns, row = thread / Tile::columns;
#pragma unroll
  for (int depth = 0; depth < Tile::depth; ++depth) {
    Pack<float, 4> asked[Tile::queries / 4], entries[kEntries / 4];
#pragma unroll
    for (int part = 0; part < Tile::queries / 4; ++part)
      asked[part] = packed<4>(&slices.query[buffer].values[depth][row * Tile::queries + part * 4]);
#pragma unroll
    for (int part = 0; part < kEntries / 4; ++part)
      entries[part] = packed<4>(&slices.entry[buffer].values[depth][column * 4 + Tile::place_of(part * 4)]);
#pragma unroll
    for (int query = 0; query < Tile::queries; ++query)
#pragma unroll
      for (int entry = 0; entry < kEntries; ++entry)
        sums[query][entry] = fmaf(asked[query / 4].values[query % 4], entries[entry / 4].values[entry % 4],
                                  sums[query][entry]);
  }
}

// Writes the scores of the gallery's entries start to start + count - 1, [Q, pitch]: minus infinity where there may be
// no match, and from count on to the next multiple of 4. Grid: tiles of queries, tiles of entries; blocks that run
// together share the gallery's rows in the L2 cache.
template <class Tile, class Query, class Entry>
REID_DEVICE void score(const Matrix<Query>& query, const Matrix<Entry>& gallery, int32_t dimensions, int64_t start,
                       int32_t count, int32_t pitch, const Conditions& conditions, float* scores,
                       Slices<Tile>& slices) {
  const int64_t first_query = static_cast<int64_t>(blockIdx.x) * Tile::tile_queries;
  const int32_t first_entry = static_cast<int32_t>(blockIdx.y) * Tile::tile_entries;
  struct Registers {
    Carried<Query, Tile::depth, Tile::tile_queries> query;
    Carried<Entry, Tile::depth, Tile::tile_entries> entry;
    float sums[Tile::queries][kEntries];
  };
  PerThread<kScoreThreads, Registers> registers;
  const auto read = [&](Registers& own, int depth, int thread) {
    own.query.read(query, first_query, depth, dimensions, thread);
    own.entry.read(gallery, start + first_entry, depth, dimensions, thread);
  };
  const auto write = [&](const Registers& own, int buffer, int thread) {
    own.query.write(slices.query[buffer], thread);
    own.entry.write(slices.entry[buffer], thread);
  };
  each_thread(kScoreThreads, [&](int thread) {
    Registers& own = registers[thread];
#pragma unroll
    for (int index = 0; index < Tile::queries * kEntries; ++index) own.sums[index / kEntries][index % kEntries] = 0;
    read(own, 0, thread);
    write(own, 0, thread);
  });
  int buffer = 0;
  for (int depth = 0; depth < dimensions; depth += Tile::depth, buffer ^= 1)
    each_thread(kScoreThreads, [&](int thread) {
      Registers& own = registers[thread];
      const bool more = depth + Tile::depth < dimensions;
      if (more) read(own, depth + Tile::depth, thread);
      multiply<Tile>(slices, buffer, thread, own.sums);
      if (more) write(own, buffer ^ 1, thread);
    });
  each_thread(kScoreThreads, [&](int thread) {
    const int column = thread % Tile::columns, row = thread / Tile::columns;
    const int64_t asked = first_query + row * Tile::queries;
    const int32_t entry = first_entry + column * 4;
    uint64_t allowed = 0;  // bit by bit: to check 64 pairs in as many branches would be most of the kernel's code
#pragma unroll 1
    for (int bit = 0; bit < Tile::queries * kEntries; ++bit) {
      const int32_t number = entry + Tile::place_of(bit % kEntries);
      if (asked + bit / kEntries < query.rows && number < count)
        allowed |= static_cast<uint64_t>(conditions.allow(asked + bit / kEntries, start + number)) << bit;
    }
#pragma unroll
    for (int index = 0; index < Tile::queries; ++index)
#pragma unroll
      for (int part = 0; part < kEntries; part += 4) {
        Pack<float, 4> result;
#pragma unroll
        for (int number = 0; number < 4; ++number)
          result.values[number] = allowed >> (index * kEntries + part + number) & 1
                                      ? registers[thread].sums[index][part + number]
                                      : -infinity();
        if (asked + index < query.rows && entry + Tile::place_of(part) < count)
          packed<4>(scores + (asked + index) * pitch + entry + Tile::place_of(part)) = result;
      }
  });
}

}  // namespace reid
