"""trtexec's arguments and files, as NVIDIA's samples/common write them; and a stand-in that takes and writes these."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from reid.bench.peers.trtexec import batch_times_ms, build_arguments, embeddings_in, find_trtexec, tensorrt_version
from reid.bench.peers.trtexec_subject import open_subject
from reid.runtime.errors import SessionError

# Two batches, the second of which is sent before the first is back.
TIMES = """[
  { "startEnqMs" : 201.5, "endEnqMs" : 201.8, "startH2dMs" : 201.6, "endH2dMs" : 201.8, "startComputeMs" : 201.8,\
 "endComputeMs" : 203.9, "startD2hMs" : 203.9, "endD2hMs" : 204, "h2dMs" : 0.2, "computeMs" : 2.1, "d2hMs" : 0.1,\
 "latencyMs" : 2.4 }
, { "startEnqMs" : 201.9, "endEnqMs" : 202.2, "startH2dMs" : 202, "endH2dMs" : 202.2, "startComputeMs" : 203.9,\
 "endComputeMs" : 206, "startD2hMs" : 206, "endD2hMs" : 206.1, "h2dMs" : 0.2, "computeMs" : 2.1, "d2hMs" : 0.1,\
 "latencyMs" : 2.4 }
]
"""

OUTPUT = """[
  { "name" : "pooled"
  , "dimensions" : "1x3"
  , "values" : [ 5, 7, 9 ]
  }
, { "name" : "frame_embedding"
  , "dimensions" : "2x3"
  , "values" : [ 1, 2, 3, 4, 5, 6e-05 ]
  }
]
"""

# Holds each run to the options of trtexec that it uses, and to the shapes that the engine was built for.
STAND_IN = """#!{python} -S
import json, math, sys
if sys.argv[1:] == ["--help"]:
    print("  --stronglyTyped   Create a strongly typed network.")
    sys.exit()
known = "onnx saveEngine minShapes optShapes maxShapes skipInference stronglyTyped loadEngine shapes iterations"
known += " duration warmUp loadInputs exportOutput exportTimes useCudaGraph"
options = dict(word.removeprefix("--").partition("=")[::2] for word in sys.argv[1:])
print("&&&& RUNNING TensorRT.trtexec [TensorRT v101609] [b11] # trtexec")
if unknown := options.keys() - set(known.split()):
    sys.exit(f"[E] Unknown option: {{unknown}}")
def shapes(text):
    named = dict(one.split(":") for one in text.split(","))
    return {{name: [int(size) for size in sizes.split("x")] for name, sizes in named.items()}}
if "onnx" in options:
    assert "stronglyTyped" in options and open(options["onnx"], "rb").read(1)
    ranges = [shapes(options[end + "Shapes"]) for end in ("min", "opt", "max")]
    json.dump(ranges, open(options["saveEngine"], "w"))
    sys.exit()
least, _, most = json.load(open(options["loadEngine"]))
given = shapes(options["shapes"])
for name, shape in given.items():
    if not all(low <= size <= high for low, size, high in zip(least[name], shape, most[name], strict=True)):
        print(f"[E] Static dimension mismatch while setting input shape for {{name}}.")
        sys.exit(1)
if "exportTimes" in options:
    open(options["exportTimes"], "w").write({times!r})
if "exportOutput" in options:
    files = dict(one.split(":") for one in options["loadInputs"].split(","))
    frames, count = open(files["frames"], "rb").read(), given["frames"][0]
    assert len(frames) == math.prod(given["frames"])
    assert len(open(files["pooling"], "rb").read()) == 4 * math.prod(given["pooling"])
    size = len(frames) // count
    values = [frames[first] for first in range(0, len(frames), size)]
    output = {{"name": "frame_embedding", "dimensions": f"{{count}}x1", "values": values}}
    json.dump([output], open(options["exportOutput"], "w"))
"""


@pytest.fixture
def trtexec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "trtexec"
    program.write_text(STAND_IN.format(python=sys.executable, times=TIMES))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return program


def test_the_time_of_a_batch_is_what_it_adds() -> None:
    assert batch_times_ms(json.loads(TIMES)) == pytest.approx([2.4, 2.1])  # 4.5 ms from the first start to the last end


def test_embeddings_are_found_among_the_outputs() -> None:
    assert embeddings_in(json.loads(OUTPUT)).tolist() == np.float32([[1, 2, 3], [4, 5, 6e-5]]).tolist()


def test_the_version_is_in_the_first_line() -> None:
    assert tensorrt_version("&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --onnx=a.onnx") == "10.3.0"
    assert tensorrt_version("&&&& RUNNING TensorRT.trtexec [TensorRT v110401] [b106] # trtexec") == "11.4.1"
    assert tensorrt_version("Segmentation fault") == ""


def test_only_what_knows_weak_typing_is_told_that_types_are_strong() -> None:
    old, new = (
        build_arguments(Path("a.onnx"), Path("a.engine"), (64, 32), 8, help_text)
        for help_text in ("--fp16 --stronglyTyped", "--onnx")
    )
    assert set(old) - set(new) == {"--stronglyTyped"}
    assert "--minShapes=frames:1x3x64x32,pooling:1x1" in new
    assert "--maxShapes=frames:8x3x64x32,pooling:1x8" in new


def test_trtexec_as_a_subject(trtexec: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_trtexec() == trtexec
    monkeypatch.chdir(tmp_path)
    subject = open_subject({"model": str(bundle), "precision": "fp32", "program": str(trtexec), "most_frames": 4})
    assert [*tmp_path.glob("*/model.engine")]  # in the process's own folder
    assert subject.facts["backend"] == "trtexec (TensorRT 10.16.9)"
    frames = np.arange(3, dtype=np.uint8).repeat(3 * 64 * 64).reshape(3, 3, 64, 64)
    assert subject.embed(frames).tolist() == [[0], [1], [2]]
    turn = subject.commands["turn"]({"frames": 2, "seconds": 0.25})
    assert turn["wall_ms"] == pytest.approx([2.4, 2.1])
    assert turn["cpu_s"] > 0
    with pytest.raises(SessionError, match=r"trtexec failed: .*mismatch while setting input shape for frames"):
        subject.commands["turn"]({"frames": 5, "seconds": 0.25})
    subject.close()
    assert not [*tmp_path.glob("*/model.engine")]
