#!/usr/bin/env bash
# The adapters of examples/trackers with the packages that they are for, each in an environment of its own.
# Usage: tests/trackers.sh FOLDER
#   FOLDER gets the environments. They borrow what they do not install, such as PyTorch, from the one on the PATH.
set -euo pipefail

folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/trackers"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/cache YOLO_CONFIG_DIR=$work YOLO_AUTOINSTALL=false REID_TEST_BUNDLE=$work/bundle

# A model that tells rendered vehicles of different fleets apart; a minute of training.
reid-data synthesize "$work/data" --vehicles 40 --cameras 4 >/dev/null
reid-train "$work/data" --backbone resnet10t --weights none --image-size 64 --epochs 12 --batch 8x4 --output "$work/run"
reid-export "$work/run" --output "$work/bundle"

packages=$(python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
for tracker in boxmot ultralytics roboflow; do
  case $tracker in
    boxmot) wanted=(boxmot) ;;
    ultralytics) wanted=(ultralytics lap) ;;
    roboflow) wanted=(trackers supervision) ;;
  esac
  bin=$folder/$tracker/bin
  python -m venv "$folder/$tracker"
  own=$("$bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")
  echo "import site; site.addsitedir('$packages')" >"$own/borrowed.pth"
  "$bin/python" -m pip install --quiet --upgrade "${wanted[@]}"
  echo "$("$bin/python" -m pip list 2>/dev/null | grep -E "^($(IFS='|'; echo "${wanted[*]}")) " | tr -s ' ' | tr '\n' ' ')"
  PYTHONPATH=. "$bin/python" -m pytest -q -p no:cacheprovider --config-file /dev/null --rootdir . --confcutdir . "real_$tracker.py"
done
