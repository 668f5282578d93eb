#!/usr/bin/env bash
# What a release consists of: the wheel, the source distribution, an SBOM for each extra, and their checksums.
# Usage: release/release.sh ENVIRONMENT FOLDER
#   ENVIRONMENT is made, for the tools; FOLDER must not exist. The SBOMs list what the environment on the PATH has. The wheel has the CUDA kernels where nvcc is.
set -euo pipefail

python -m venv "$1"
tools=$(cd "$1/bin" && pwd)
folder=$2
test ! -e "$folder" || { echo "error: $folder is there; remove it" >&2; exit 1; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$tools/pip" install --quiet --upgrade pip "scikit-build-core>=0.11" cyclonedx-bom
kernels=$(command -v nvcc >/dev/null || test -x /usr/local/cuda/bin/nvcc && echo --kernels || true)
"$tools/python" release/distributions.py "$folder" $kernels

export SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
extras=(lean bench cpu export lance milvus onnx ray rtx table train)
for extra in "${extras[@]}"; do
  python release/inventory.py requirements "$extra" |
    "$tools/cyclonedx-py" requirements --pyproject pyproject.toml --mc-type library --output-reproducible \
      --output-format JSON --output-file "$folder/reid-$extra.cdx.json" -
done
python release/inventory.py licenses "${extras[@]}" >"$work/licenses.md"
mv "$work/licenses.md" docs/licenses.md

(cd "$folder" && sha256sum ./* >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" . && sha256sum --check --quiet SHA256SUMS)
ls -l "$folder"
