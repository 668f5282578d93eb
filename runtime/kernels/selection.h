// The best k of many scores, best first, ties in the gallery's order, and their exact distances.
//
// A score and its entry become one number of 64 bits, which is larger where the score is higher or, of equal scores,
// where the entry comes first. So all keys differ, and the best are the same whatever the order in which threads find
// them. A block keeps those of one query that beat the k-th best so far; when its shared memory is nearly full it sorts
// them and forgets all but k. Of n scores in random order only about k * ln(n / k) ever get that far.
#pragma once

#include "device.h"
#include "similarity.h"

namespace reid {

constexpr int kSelectThreads = 512, kSelectStep = 4 * kSelectThreads;
constexpr int kKeys = 2 * kSelectStep;  // in shared memory; a power of two
constexpr int kMostMatches = 1024;  // leaves room for a whole step beside them

REID_DEVICE uint64_t key_of(float score, int32_t entry) {
  const uint32_t bits = bits_of(score == 0 ? 0.f : score);  // -0 is 0
  const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | static_cast<uint32_t>(~entry);
}

REID_DEVICE float score_of(uint64_t key) {
  const uint32_t ordered = static_cast<uint32_t>(key >> 32);
  return float_of(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
}

REID_DEVICE int32_t entry_of(uint64_t key) { return static_cast<int32_t>(~static_cast<uint32_t>(key)); }

// The matches that a block has found so far; `worst` is the k-th best of those that have been sorted, or 0.
struct Found {
  uint64_t keys[kKeys];
  uint64_t worst;
  int count;

  // Keeps a match that may be among the best. Leaves out minus infinity, which may be no match, and NaN.
  REID_DEVICE void keep(float score, int32_t entry) {
    const uint64_t key = key_of(score, entry);
    if (score > -infinity() && key > worst) keys[take_number(count)] = key;
  }
};

// Sorts keys downwards, bitonically: `size` is a power of two. A thread puts pairs in order that nobody else touches.
REID_DEVICE void sort(uint64_t (&keys)[kKeys], int size) {
  for (int run = 2; run <= size; run *= 2)
    for (int distance = run / 2; distance > 0; distance /= 2)
      each_thread(kSelectThreads, [&](int thread) {
        for (int pair = thread; pair < size / 2; pair += kSelectThreads) {
          const int first = 2 * pair - (pair & (distance - 1)), second = first + distance;
          const uint64_t a = keys[first], b = keys[second];
          if ((a < b) == ((first & run) == 0)) {
            keys[first] = b;
            keys[second] = a;
          }
        }
      });
}

REID_DEVICE void sort_and_forget(Found& found, int k) {
  const int count = agreed(found.count);
  int size = 1;
  while (size < count) size *= 2;
  each_thread(kSelectThreads, [&](int thread) {
    for (int place = count + thread; place < size; place += kSelectThreads) found.keys[place] = 0;
  });
  sort(found.keys, size);
  each_thread(kSelectThreads, [&](int thread) {
    if (thread != 0) return;
    found.count = count < k ? count : k;
    found.worst = count < k ? 0 : found.keys[k - 1];
  });
}

// Where a selection reads its scores: [Q, pitch], and which entries they are of: [Q, pitch], or start, start + 1, ...
struct Scores {
  const float* scores;
  const int32_t* entries;  // null where they follow one another
  int32_t start, count, pitch;
};

// Writes a query's best matches to [Q, stripes, k]: minus infinity and entry -1 where there are fewer. Every block has a
// stripe of the scores; `more` says that its best of before are there already and stay in the running.
// Grid: stripes, queries.
REID_DEVICE void select(const Scores& source, int k, bool more, float* scores, int32_t* entries, Found& found) {
  const int64_t query = blockIdx.y, best = (query * gridDim.x + blockIdx.x) * k;
  const int share = parts(parts(source.count, 4), static_cast<int>(gridDim.x)) * 4;
  const int first = static_cast<int>(blockIdx.x) * share;
  const int end = source.count - first < share ? source.count : first + share;
  each_thread(kSelectThreads, [&](int thread) {
    if (thread == 0) {
      found.count = 0;
      found.worst = 0;
    }
  });
  if (more)
    each_thread(kSelectThreads, [&](int thread) {
      for (int place = thread; place < k; place += kSelectThreads) found.keep(scores[best + place], entries[best + place]);
    });
  for (int step = first; step < end; step += kSelectStep) {
    if (agreed(found.count) > kKeys - kSelectStep) sort_and_forget(found, k);
    each_thread(kSelectThreads, [&](int thread) {
      const int at = step + 4 * thread;
      if (at >= end) return;
      const Pack<float, 4> four = packed<4>(source.scores + query * source.pitch + at);
#pragma unroll
      for (int number = 0; number < 4; ++number) {
        if (at + number >= end) break;
        const int entry = source.entries ? source.entries[query * source.pitch + at + number] : source.start + at + number;
        found.keep(four.values[number], entry);
      }
    });
  }
  sort_and_forget(found, k);
  each_thread(kSelectThreads, [&](int thread) {
    for (int place = thread; place < k; place += kSelectThreads) {
      const bool there = place < found.count;
      scores[best + place] = there ? score_of(found.keys[place]) : -infinity();
      entries[best + place] = there ? entry_of(found.keys[place]) : -1;
    }
  });
}

constexpr int kExactThreads = 256, kLanes = 32;

// A coordinate of a unit vector in steps of 2^-26; see reid/runtime/galleries/ranking.py.
REID_DEVICE int32_t steps_of(float value) {
  return static_cast<int32_t>(rintf(fminf(fmaxf(value, -1.03f), 1.03f) * 67108864.f));
}

// Writes the exact cosine distances [Q, k] of queries and their matches, infinity where there is none: sums of integers,
// which have no rounding and no order. A warp has one match. Grid: groups of matches, queries.
template <class Query, class Entry>
REID_DEVICE void exact_distances(const Query* queries, const Entry* gallery, int32_t dimensions, const int32_t* entries,
                                 int32_t k, double* distances, int64_t (&sums)[kExactThreads]) {
  constexpr int group = kExactThreads / kLanes;
  const int64_t query = blockIdx.y;
  const auto match_of = [&](int thread) { return static_cast<int>(blockIdx.x) * group + thread / kLanes; };
  each_thread(kExactThreads, [&](int thread) {
    sums[thread] = 0;
    if (match_of(thread) >= k || entries[query * k + match_of(thread)] < 0) return;
    const Query* asked = queries + query * dimensions;
    const Entry* entry = gallery + static_cast<int64_t>(entries[query * k + match_of(thread)]) * dimensions;
    int64_t sum = 0;
    for (int pack = thread % kLanes; pack < dimensions / 4; pack += kLanes) {
      const Pack<Query, 4> a = packed<4>(asked + 4 * pack);
      const Pack<Entry, 4> b = packed<4>(entry + 4 * pack);
#pragma unroll
      for (int number = 0; number < 4; ++number)
        sum += static_cast<int64_t>(steps_of(to_float(a.values[number]))) * steps_of(to_float(b.values[number]));
    }
    sums[thread] = sum;
  });
  for (int half = kLanes / 2; half > 0; half /= 2)
    each_thread(kExactThreads, [&](int thread) {
      if (thread % kLanes < half) sums[thread] += sums[thread + half];
    });
  each_thread(kExactThreads, [&](int thread) {
    if (thread % kLanes != 0 || match_of(thread) >= k) return;
    const int64_t place = query * k + match_of(thread);
    distances[place] = entries[place] < 0 ? infinity() : 1 - static_cast<double>(sums[thread]) / 4503599627370496.;
  });
}

}  // namespace reid
