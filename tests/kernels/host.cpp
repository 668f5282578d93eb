// The kernels on the host, behind a function that takes what CUDA's driver takes: a name, the sizes of the launch and
// the packed parameters. The parameters' types are those of the kernels, so a wrong size or order shows.
#include "kernels.cu"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

namespace {

template <class Type>
Type next(const unsigned char* parameters, size_t& position) {
  position = (position + alignof(Type) - 1) / alignof(Type) * alignof(Type);
  Type value;
  std::memcpy(&value, parameters + position, sizeof value);
  position += sizeof value;
  return value;
}

using Launch = size_t (*)(const unsigned char*, bool);

// Returns how many bytes of parameters a kernel takes; runs it, for one block.
template <auto kernel, class... Types>
size_t unpack(const unsigned char* parameters, bool run, void (*)(Types...)) {
  size_t size = 0;
  if (!run) {
    ((size = (size + alignof(Types) - 1) / alignof(Types) * alignof(Types) + sizeof(Types)), ...);
    return size;
  }
  const std::tuple<Types...> arguments{next<Types>(parameters, size)...};
  std::apply(kernel, arguments);
  return size;
}

template <auto kernel>
size_t launch_one(const unsigned char* parameters, bool run) {
  return unpack<kernel>(parameters, run, kernel);
}

struct Kernel {
  const char* name;
  Launch launch;
  int threads;
};

const Kernel kernels[] = {
#define KERNEL(name, threads) {#name, launch_one<name>, threads}
    KERNEL(resize_interleaved, kResizeThreads),     KERNEL(resize_nv12, kResizeThreads),
    KERNEL(accumulate_rows, kPoolingThreads),       KERNEL(normalize_rows, kPoolingThreads),
    KERNEL(score_few_float32, kScoreThreads),       KERNEL(score_few_float16, kScoreThreads),
    KERNEL(score_many_float32, kScoreThreads),      KERNEL(score_many_float16, kScoreThreads),
    KERNEL(select_best, kSelectThreads),            KERNEL(exact_distances_float32, kExactThreads),
    KERNEL(exact_distances_float16, kExactThreads),
};

}  // namespace

// Returns "" or what is wrong with a launch. Blocks and threads run forwards, or all of them backwards.
extern "C" const char* launch(const char* name, const unsigned* grid, const unsigned* block,
                              const unsigned char* parameters, size_t size, int reversed) {
  const auto found = std::find_if(std::begin(kernels), std::end(kernels),
                                  [&](const Kernel& kernel) { return std::strcmp(kernel.name, name) == 0; });
  if (found == std::end(kernels)) return "no such kernel";
  if (block[0] != static_cast<unsigned>(found->threads) || block[1] * block[2] != 1) return "wrong block";
  if (grid[0] == 0 || grid[1] == 0 || grid[1] > 65535 || grid[2] != 1) return "wrong grid";
  if (found->launch(parameters, false) != size) return "wrong size of the parameters";
  backwards = reversed != 0;
  gridDim = {grid[0], grid[1], 1};
  const unsigned blocks = grid[0] * grid[1];
  for (unsigned index = 0; index < blocks; ++index) {
    const unsigned number = backwards ? blocks - 1 - index : index;
    blockIdx = {number % grid[0], number / grid[0], 0};
    found->launch(parameters, true);
  }
  return "";
}
