#!/usr/bin/env bash
# What a device does with a bundle, in an environment without PyTorch: evaluate, verify, rank, calibrate, add an engine.
# Usage: tests/without_torch.sh ENVIRONMENT
#   ENVIRONMENT is a virtual environment with `reid[onnx,rtx]`; the commands on the PATH are of one with everything.
set -euo pipefail

bin=$(cd "$1/bin" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME=$work/cache

fail() { echo "error: $*" >&2; exit 1; }
step() { printf '$ %s\n' "$*"; "$@" >stdout 2>stderr || { cat stdout stderr >&2; fail "$* failed"; }; }

env -u PYTHONPATH "$bin/python" - <<'PYTHON' || fail "$1 is not an environment without PyTorch"
import importlib.util
import sys

import onnx, reid

surplus = [name for name in ("torch", "torchvision", "timm", "safetensors", "onnxscript") if importlib.util.find_spec(name)]
assert reid.__file__.startswith(sys.prefix), reid.__file__
sys.exit(f"{surplus} can be imported" if surplus else 0)
PYTHON

# With PyTorch: a bundle to try.
step reid-data synthesize data --vehicles 12 --cameras 3
step reid-train data --backbone resnet10t --weights none --image-size 64 --epochs 1 --batch 4x2
step reid-export --fp16 --verify data --tolerance-map 100 --tolerance-rank 100
reid-eval bundle data --json >with.json

# Without it.
unset PYTHONPATH
PATH=$bin:$PATH
hash -r

reid-eval bundle data --json >without.json
python - <<'PYTHON' || fail "the two environments score differently"
import json

first, second = (json.load(open(name))["protocols"] for name in ("with.json", "without.json"))
assert first == second, (first, second)
PYTHON

step reid-verify bundle data --tolerance-map 100 --tolerance-rank 100
grep -q "compared with PyTorch" stderr || { cat stderr >&2; fail "reid-verify did not use what the bundle keeps"; }
test -s verification/report.html || fail "reid-verify left no report"

step reid-infer data/image_test data/image_query
test -s results/report.html || fail "reid-infer left no report"

step reid-calibrate bundle data --frames 32 --sensitivity
for file in scales.json sensitivity.json report.html; do
  test -s "calibration/$file" || fail "reid-calibrate left no $file"
done

step reid-export bundle --engine tensorrt-rtx
ls bundle/engines/*-fp32.engine >/dev/null || fail "reid-export added no engine"

if reid-eval runs/latest data >stdout 2>stderr; then fail "a checkpoint was opened without PyTorch"; fi
grep -q "pip install 'reid\[train\]'" stderr || { cat stderr >&2; fail "the error does not name the extra"; }

step reid-doctor bundle
grep -q "^onnxruntime:cpu fp16 *works" stdout || { cat stdout >&2; fail "reid-doctor does not find that FP16 works"; }
reid-doctor --json >doctor.json || fail "reid-doctor finds no session that works"
python - <<'PYTHON' || { cat doctor.json >&2; fail "reid-doctor does not say what brings PyTorch"; }
import json

(torch,) = (one for one in json.load(open("doctor.json"))["sessions"] if one["name"] == "torch")
assert (torch["state"], torch["remedy"]) == ("missing", "pip install 'reid[train]'"), torch
PYTHON
