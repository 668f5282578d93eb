#!/usr/bin/env bash
# The wheel, installed by every Python that it allows, with the extras that a device takes and without any: `--help`, and
# a gallery ranked with a bundle. What needs PyTorch is only resolved, unless TORCH names the Pythons to install it for.
# Usage: tests/installs.sh FOLDER
#   FOLDER gets one environment after another; each is removed when it has passed.
#   PYTHONS: versions to take, of which python3.N or PYTHON_3_N is the interpreter; default: 3.10 3.11 3.12 3.13
#   EXTRAS:  extras to take, `lean` for none; default: lean cpu onnx train export
#   TORCH:   versions for which `train` and `export` are installed as well; default: none
#   WHEEL:   the wheel; default: one is built
#   MADE:    what tests/helpers/untrained.py has left; default: it is made, by the environment on the PATH
set -euo pipefail

folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/cache

fail() { echo "error: $*" >&2; exit 1; }
quietly() { "$@" >"$work/said" 2>&1 || { tail -n 20 "$work/said" >&2; fail "$* failed"; }; }

made=${MADE:-$work/made}
test -d "$made" || python tests/helpers/untrained.py "$made"
wheel=${WHEEL:-}
if [ -z "$wheel" ]; then
  quietly python -m pip wheel --no-deps --wheel-dir "$work" .
  wheel=$(echo "$work"/reid-*.whl)
fi

interpreter() {
  local named=PYTHON_${1/./_}
  local found=${!named:-$(command -v "python$1" || true)}
  "$found" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null || return 1
  echo "$found"
}

try() {  # what an environment with an extra does, in an empty folder
  local bin=$1 extra=$2
  cd "$(mktemp -d "$work/try.XXXX")"
  quietly "$bin/reid-eval" --help
  quietly "$bin/reid-infer" "$made/veri/image_test" "$made/veri/image_query" --model "$made/bundle"
  test -s results/report.html || fail "reid-infer left no report"
  case $extra in
    cpu) quietly "$bin/reid-infer" "$made/veri/image_test" "$made/veri/image_query" --model "$made/whole" \
      --session openvino --precision int8 --output openvino ;;
    onnx) quietly "$bin/reid-calibrate" "$made/bundle" "$made/veri" --frames 8 ;;
    train) quietly "$bin/reid-eval" "$made/untrained" "$made/veri" ;;
    export) quietly "$bin/reid-export" "$made/untrained" --output exported ;;
  esac
}

for version in ${PYTHONS:-3.10 3.11 3.12 3.13}; do
  python=$(interpreter "$version") || fail "no Python $version: put python$version on the PATH, or set PYTHON_${version/./_}"
  for extra in ${EXTRAS:-lean cpu onnx train export}; do
    wanted="$wheel$([ $extra = lean ] || echo "[$extra]")"
    environment=$folder/$version-$extra
    rm -rf "$environment"
    "$python" -m venv "$environment"
    if [[ $extra =~ train|export && " ${TORCH:-} " != *" $version "* ]]; then
      quietly "$environment/bin/pip" install --dry-run "$wanted"
      echo "$version $extra: resolved: $(grep -oE '(torch|torchvision|timm|onnx|onnxruntime_gpu|onnxruntime-gpu)-[0-9.]+' "$work/said" | sort -u | tr '\n' ' ')"
    else
      quietly "$environment/bin/pip" install --no-compile "$wanted"
      quietly "$environment/bin/pip" check
      (try "$environment/bin" $extra)
      echo "$version $extra: $("$environment/bin/pip" freeze | grep -E '^(numpy|onnx|opencv|openvino|pydantic|torch)' | tr '\n' ' ')"
    fi
    rm -rf "$environment"
  done
done
