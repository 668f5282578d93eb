#!/usr/bin/env bash
# The whole way from data to ranked lists, on rendered vehicles: about four minutes of training on two cores, without
# network or GPU.
# Usage: examples/demo.sh FOLDER
set -euo pipefail
mkdir -p "$1" && cd "$1"

step() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

# 60 vehicles under 6 cameras; many share body and paint and differ only in small marks.
step reid-data synthesize data

# Three levels of a small backbone, from random weights. On real data, `reid-train VeRi` is all it takes.
step reid-train data --backbone resnet18 --weights none --image-size 96 --epochs 15 --batch 8x4

# Vehicles that training has not seen, by the three protocols.
step reid-eval runs/latest data

# One fused ONNX graph, and the crops by which every device checks it. From here on, nothing imports PyTorch.
step reid-export

# As in a city: vehicles seen by camera 1 are searched for among the tracklets of all other cameras.
mkdir gallery query
cp data/image_query/*_c001_* query/
while read -r -a frames; do
  case ${frames[0]} in *_c001_*) continue ;; esac
  mkdir "gallery/${frames[0]%.jpg}"
  (cd data/image_test && cp "${frames[@]}" "../../gallery/${frames[0]%.jpg}")
done <data/test_track.txt
step reid-infer gallery/ query/

printf '\nThe ranked lists: %s\n' "$PWD/results/report.html"
