// The parts of the kernels that have a closed form, over all or nearly all of what they can be given.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "kernels.cu"

namespace {

void expect(bool holds, const char* what, long long where) {
  if (holds) return;
  std::fprintf(stderr, "%s does not hold for %lld\n", what, where);
  std::exit(1);
}

// By the definition of binary16: sign, 5 bits of exponent with a bias of 15, 10 bits of fraction.
void every_half_is_the_number_that_its_bits_mean() {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const unsigned exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double size = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, static_cast<int>(exponent) - 25);
    const float value = to_float(Half{static_cast<uint16_t>(bits)});
    expect(std::signbit(value) == (bits >> 15 != 0), "the sign of a half", bits);
    if (exponent < 31) expect(std::fabs(value) == size, "the size of a half", bits);
    else expect(fraction ? std::isnan(value) : std::isinf(value), "a half without a size", bits);
  }
}

void keys_are_in_the_order_of_scores_and_then_of_entries() {
  std::vector<float> scores{-infinity(), -3.4e38f, -1.f, -1e-40f, 0.f, 1e-40f, 0.5f, std::nextafter(0.5f, 1.f), 1.f, infinity()};
  const std::vector<int32_t> entries{0, 1, 77, 2147483647};
  uint64_t before = 0;
  for (float score : scores)
    for (size_t index = entries.size(); index-- > 0;) {
      const uint64_t key = key_of(score, entries[index]);
      expect(key > before, "a larger key for a better match", entries[index]);
      expect(score_of(key) == score && entry_of(key) == entries[index], "key and back", entries[index]);
      before = key;
    }
  expect(key_of(-0.f, 3) == key_of(0.f, 3), "no difference between 0 and -0", 0);
}

// A position is ((2 * pixel + 1) * source / size - 1) / 2, kept inside; in double, exact enough for 2^-12.
void positions_are_those_of_half_pixel_centers() {
  for (int source : {1, 2, 3, 7, 128, 255, 256, 1920, 32767})
    for (int size : {1, 2, 5, 64, 255, 256, 32767})
      for (int pixel = 0; pixel < size; pixel += 1 + size / 500) {
        const double exact = std::clamp((pixel + 0.5) * source / size - 0.5, 0., source - 1.);
        const Between found = between(pixel, source, size);
        expect(0 <= found.first && found.first <= found.second && found.second < source, "a position inside", pixel);
        const double position = found.first + (found.second - found.first) * found.weight / 2048.;
        expect(std::fabs(position - exact) <= 1 / 4096. + 1e-9, "a position", pixel);
      }
}

void every_size_of_a_sort_is_sorted() {
  static uint64_t keys[kKeys];
  uint64_t state = 1;
  for (int size = 1; size <= kKeys; size *= 2)
    for (bool reversed : {false, true}) {
      backwards = reversed;
      for (int index = 0; index < size; ++index) keys[index] = state = state * 6364136223846793005u + 1442695040888963407u;
      std::vector<uint64_t> expected(keys, keys + size);
      std::sort(expected.begin(), expected.end(), std::greater<>());
      sort(keys, size);
      expect(std::equal(expected.begin(), expected.end(), keys), "the order of a sort", size);
    }
}

}  // namespace

int main() {
  every_half_is_the_number_that_its_bits_mean();
  keys_are_in_the_order_of_scores_and_then_of_entries();
  positions_are_those_of_half_pixel_centers();
  every_size_of_a_sort_is_sorted();
}
