#!/usr/bin/env bash
# Prove the GPU side of reid on one machine, in under 8 minutes, or with --quick in under 3.
#
#   benchmarks/gpu/prove.sh [--quick] [SECTION ...]
#
# Needs Python with PyTorch, timm and onnxscript, and uses what else is there: TensorRT, nvcc, compute-sanitizer, CuPy.
# It reads no network; what the machine lacks is taken from benchmarks/gpu/carried, and from the folder PROVE_CARRIED,
# as carry.sh has gathered it. Writes proof.md, proof.json and log.txt to the folder OUT, all three after each section.
# PROVE_DRY=1 goes through everything in small on a CPU. The exit code is 1 if a section failed.
set -u -o pipefail

began=$(date +%s)
gpu=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$gpu/../.." && pwd)
work=$(mktemp -d)
# shellcheck disable=SC2046 # one number a job
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
out=${OUT:-$(mktemp -d "${TMPDIR:-/tmp}/reid-proof.XXXXXX")}
mkdir -p "$out" "$work/wheels" "$work/sections"
log=$out/log.txt
: >"$log"
cd "$root" || exit 2

export TMPDIR=$work XDG_CACHE_HOME=$work/cache PYTHONPYCACHEPREFIX=$work/pycache CUDA_CACHE_PATH=$work/cuda \
  TRITON_CACHE_DIR=$work/triton TORCHINDUCTOR_CACHE_DIR=$work/inductor HYPOTHESIS_STORAGE_DIRECTORY=$work/hypothesis \
  CUPY_CACHE_DIR=$work/cupy PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
export PYTHONPATH=$gpu:$work/reid:$work/site:$work/pycuda${PYTHONPATH:+:$PYTHONPATH}

say() { printf '%4ss  %s\n' $(($(date +%s) - began)) "$*" | tee -a "$log"; }
carried() { find "$gpu/carried" ${PROVE_CARRIED:+"$PROVE_CARRIED"} -type f -name "$1" 2>/dev/null; }
install() { python3 -m pip install --quiet --no-index --no-deps --no-cache-dir "$@" >>"$log" 2>&1; }

# Parts, wherever they lie, become the wheel that they were.
carried '*.part-aa' | while read -r first; do
  name=$(basename "$first" .part-aa)
  carried "$name.part-*" | awk -F/ '{print $NF "\t" $0}' | sort -u -k1,1 | cut -f2 | xargs -d '\n' cat >"$work/wheels/$name"
  if ! python3 -m zipfile -l "$work/wheels/$name" >/dev/null 2>&1; then
    say "$name: parts are missing; it is left out"
    rm "$work/wheels/$name"
  fi
done
carried '*.whl' | while read -r wheel; do ln -sf "$wheel" "$work/wheels/"; done

# ONNX Runtime looks for CUDA's libraries beside itself; PyTorch's environment has them.
python3 - >"$work/libraries" 2>>"$log" <<'END' &
import pathlib, torch
found = pathlib.Path(torch.__file__).parents[1].glob("nvidia/**/*.so*")
print(":".join(sorted({str(file.parent) for file in found})))
END
looking=$!

say "installing what was carried, and reid with its kernels"
compile_for=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d .)
(install --no-compile --no-build-isolation --target "$work/reid" \
  --config-settings=cmake.define.REID_CUDA_ARCHITECTURES="${compile_for:-90}" "$root" || touch "$work/not-installed") &
project=$!
if compgen -G "$work/wheels/*.whl" >/dev/null; then
  install --no-compile --target "$work/site" "$work"/wheels/*.whl || say "a carried wheel does not install; see log.txt"
fi
source=$(carried 'pycuda-*.tar.gz' | head -1)
if [ -n "$source" ]; then # takes two minutes; what comes before takes cuda-bindings
  (CFLAGS=-O1 CXXFLAGS=-O1 install --no-build-isolation --target "$work/pycuda" "$source") &
fi
wait $project
if [ -e "$work/not-installed" ]; then
  say "reid does not install; its sources are used, without kernels; see log.txt"
  PYTHONPATH=$PYTHONPATH:$root/src
fi

wait $looking
LD_LIBRARY_PATH=$(cat "$work/libraries")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH

say "sections"
python3 "$gpu/run_sections.py" --out "$out" --work "$work/sections" --began "$began" "$@"
code=$?
say "$out/proof.md, proof.json, log.txt"
exit $code
