// What a kernel is written in, for a GPU and, so that its arithmetic and its indices can be tested, for the host.
//
// A kernel is a sequence of phases. `each_thread(n, phase)` runs a phase in every thread of a block and then waits for
// all of them. On the host it is a loop, forwards or backwards: a phase that depends on the order of its threads gives
// two results. Local variables that live longer than a phase are `PerThread`: a register on the GPU, an array here.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define REID_DEVICE __device__ __forceinline__
#define REID_CONSTANT __host__ __device__ constexpr
#else
#define REID_DEVICE inline
#define REID_CONSTANT constexpr
#define __global__ inline
#define __shared__
#define __restrict__
#define __launch_bounds__(...)

struct Dimensions {
  unsigned x, y, z;
};
inline Dimensions blockIdx, gridDim;
inline bool backwards;
#endif

namespace reid {

// Returns how many parts of a size are needed to cover a total.
REID_CONSTANT int parts(int64_t total, int size) { return static_cast<int>((total + size - 1) / size); }

template <int threads, class Value>
struct PerThread {
#ifdef __CUDACC__
  Value value;
  REID_DEVICE Value& operator[](int) { return value; }
#else
  Value values[threads];
  Value& operator[](int thread) { return values[thread]; }
#endif
};

template <class Phase>
REID_DEVICE void each_thread([[maybe_unused]] int threads, Phase phase) {
#ifdef __CUDACC__
  phase(static_cast<int>(threadIdx.x));
  __syncthreads();
#else
  for (int index = 0; index < threads; ++index) phase(backwards ? threads - 1 - index : index);
#endif
}

// Returns a value that a block shares, once all threads have read it, so that the next phase may change it.
template <class Value>
REID_DEVICE Value agreed(const Value& shared) {
  const Value value = shared;
#ifdef __CUDACC__
  __syncthreads();
#endif
  return value;
}

// Adds 1 to a counter that a block shares, and returns what it was.
REID_DEVICE int take_number(int& counter) {
#ifdef __CUDACC__
  return atomicAdd(&counter, 1);
#else
  return counter++;
#endif
}

// A number in IEEE 754's binary16, as NumPy's float16 stores it.
struct Half {
  uint16_t bits;
};

// So many values that are read at once; their address is a multiple of their size.
template <class Value, int count>
struct alignas(sizeof(Value) * count) Pack {
  Value values[count];
};

template <int count, class Value>
REID_DEVICE Pack<Value, count>& packed(Value* values) {
  return *reinterpret_cast<Pack<Value, count>*>(values);
}

template <int count, class Value>
REID_DEVICE const Pack<Value, count>& packed(const Value* values) {
  return *reinterpret_cast<const Pack<Value, count>*>(values);
}

REID_DEVICE uint32_t bits_of(float value) {
#ifdef __CUDACC__
  return __float_as_uint(value);
#else
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

REID_DEVICE float float_of(uint32_t bits) {
#ifdef __CUDACC__
  return __uint_as_float(bits);
#else
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

REID_DEVICE float infinity() { return float_of(0x7f800000); }

REID_DEVICE float to_float(float value) { return value; }

REID_DEVICE float to_float(Half value) {
#ifdef __CUDACC__
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
#else
  const uint32_t sign = (value.bits & 0x8000u) << 16, exponent = value.bits >> 10 & 31, fraction = value.bits & 1023;
  if (exponent == 0) return (sign ? -1.f : 1.f) * std::ldexp(static_cast<float>(fraction), -24);
  return float_of(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13);
#endif
}

}  // namespace reid
