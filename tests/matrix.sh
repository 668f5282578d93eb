#!/usr/bin/env bash
# The tests of what a device runs, with the oldest libraries that pyproject.toml allows and with the newest.
# Usage: tests/matrix.sh FOLDER
#   FOLDER gets an environment for each; the commands on the PATH are of one with everything.
set -euo pipefail

folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "error: $*" >&2; exit 1; }

# With PyTorch: the models that the tests take.
python tests/helpers/untrained.py "$work/untrained"
python -m pip wheel --quiet --no-deps --wheel-dir "$work" .

for versions in oldest newest; do
  bin=$folder/$versions/bin
  python tests/versions.py $versions >"$work/$versions.txt"
  python -m venv "$folder/$versions"
  "$bin/pip" install --quiet --upgrade --upgrade-strategy eager --only-binary :all: --requirement "$work/$versions.txt"
  "$bin/pip" install --quiet --force-reinstall --no-deps "$work"/reid-*.whl
done

# Below the oldest: the command in the error is run, and then the same graph is read.
bin=$folder/oldest/bin
evaluate() { "$bin/reid-eval" "$work/untrained/whole" "$work/untrained/veri" --protocols i2i --precision int8 >/dev/null; }
"$bin/pip" install --quiet onnxruntime==1.20.1
if evaluate 2>"$work/stderr"; then fail "ONNX Runtime 1.20.1 runs INT8: lower the floor"; fi
remedy=$(grep -o "pip install '[^']*'" "$work/stderr") || { cat "$work/stderr" >&2; fail "the error names no command"; }
PIP_CONSTRAINT=$work/oldest.txt PATH=$bin:$PATH bash -c "$remedy --quiet"
evaluate 2>"$work/stderr" || { cat "$work/stderr" >&2; fail "INT8 does not run after: $remedy"; }

# Left out: a signal while ONNX Runtime 1.21 is being imported, which prints a traceback of its own.
for versions in oldest newest; do
  bin=$folder/$versions/bin
  echo "$versions: $("$bin/pip" freeze | grep -E '^(numpy|onnx|opencv|openvino|pydantic|rich|typer)' | tr '\n' ' ')"
  PATH=$bin:$PATH "$bin/pytest" -q -n auto --dist loadfile -m "not torch and not rtx and not gpu" \
    --untrained "$work/untrained" \
    --deselect tests/commands/test_infer.py::test_a_signal_leaves_no_results_and_no_traceback \
    tests/runtime tests/test_public_names.py \
    tests/commands/test_evaluate.py tests/commands/test_help.py tests/commands/test_infer.py
done
