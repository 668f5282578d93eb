#!/usr/bin/env bash
# Gather what prove.sh wants on a GPU machine without a network, for Python 3.12 on x86-64; run this where there is one.
#
#   benchmarks/gpu/carry.sh            # with the versions of this environment
#
# leaves benchmarks/gpu/carried/wheels/*.whl, small, and carried/parts/*.part-*, the wheel of onnxruntime-gpu in parts of
# 55 MiB, for machines that take no larger file. Both are ignored by git.
set -euo pipefail
cd "$(dirname "$0")"

python=${PYTHON:-python3}
target=3.12
out=$PWD/carried
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

version() { "$python" -c "from importlib.metadata import version; print(version('$1'))" 2>/dev/null || echo "$2"; }

platforms=()
for glibc in 2_34 2_31 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
download() {
  "$python" -m pip download --quiet --only-binary=:all: --python-version $target --implementation cp \
    "${platforms[@]}" "$@"
}

rm -rf "$out"
mkdir -p "$out/wheels" "$out/parts"
download --dest "$out/wheels" "pydantic==$(version pydantic 2.14.4)" pytools mako
download --dest "$out/wheels" --no-deps hypothesis sortedcontainers nvidia-nvimgcodec-cu13 nvidia-nvjpeg

download --dest "$work" --no-deps "onnxruntime-gpu==$(version onnxruntime-gpu 1.31.1)"
for wheel in "$work"/onnxruntime_gpu-*.whl; do split -b 55m "$wheel" "$out/parts/$(basename "$wheel").part-"; done

# pycuda has no wheel. Its headers are in wheels of NVIDIA's; it links with empty libraries that have the names of the
# real ones. Where that fails, its source is carried, and prove.sh compiles it in the background.
build_pycuda() {
  local builder=${PYTHON312:-python3.12} root=$work/headers/nvidia/cu13
  "$builder" -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet --no-deps --target "$work/headers" \
    nvidia-cuda-profiler-api nvidia-cuda-runtime nvidia-cuda-crt nvidia-curand nvidia-cuda-cccl || return
  mkdir "$work/empty"
  for library in cuda.so.1 curand.so.10; do
    gcc -shared -x c /dev/null -Wl,-soname,lib$library -o "$work/empty/lib${library%%.*}.so" || return
  done
  CUDA_ROOT=$root CPATH=$root/include LIBRARY_PATH=$work/empty LDFLAGS=-Wl,--no-as-needed CFLAGS='-O1 -w' \
    CXXFLAGS='-O1 -w' "$work/venv/bin/pip" wheel --quiet --no-deps --no-cache-dir --wheel-dir "$out/wheels" "$pycuda"
}
pycuda="pycuda==$(version pycuda 2026.1)"
if ! build_pycuda 2>"$work/pycuda.log"; then
  echo "pycuda does not compile here ($(tail -1 "$work/pycuda.log")); its source is carried instead" >&2
  "$python" -m pip download --quiet --no-deps --no-binary=:all: --no-build-isolation --dest "$out/wheels" "$pycuda"
fi

du -h "$out"/parts/* "$out"/wheels/* | sed "s|$PWD/||"
cat <<'END'

Take the repository, carried/wheels and all of carried/parts to the machine, then run there benchmarks/gpu/prove.sh.
Where parts come one at a time, collect them in a folder of that machine, and name it:
  mv benchmarks/gpu/carried/parts/* /tmp/carried/                      # after each part
  PROVE_CARRIED=/tmp/carried benchmarks/gpu/prove.sh                   # once all are there
END
