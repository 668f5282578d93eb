"""`reid-train`: data, weights of strangers, runs to resume and to repeat, settings, environment."""

from __future__ import annotations

import numpy as np

from table.changes import GONE
from table.makers import (
    KINDS,
    KINDS_OF_FOLDERS,
    circle,
    compressed,
    cut,
    edited,
    emptied,
    fifo,
    folder,
    forbidden,
    foreign,
    json_with,
    link,
    nested,
    own,
    pickled,
    removed,
    socket,
    sound,
    sparse,
    tensors,
    text,
    zero,
)
from table.numbers import FAR, NO_INTEGERS
from table.row import Row

__all__ = ["DATA", "NUMBERS", "OUTPUTS", "PROCESSES", "REPETITIONS", "STATES", "WEIGHTS"]

_SMALL = "--backbone test_resnet --levels 3,4 --set embedding_size=8 --image-size 32 --batch 2x2 --epochs 1"
_NEW = f"reid-train data {_SMALL} --weights none --output new"
_RESUME = f"reid-train data {_SMALL} --weights none --output trained --resume"
_WITH = f"reid-train data {_SMALL} --output new --weights"
_STATE = "trained/last/state.safetensors"
_RUN = "trained/run.json"
_LONG = 80 * "n"

DATA = (
    Row("reid-train nowhere", says="nowhere: no such folder"),
    *(Row("reid-train it", make("it"), f"it.*({says})") for make, says in KINDS_OF_FOLDERS),
    Row("reid-train it", folder("it"), "it holds no images"),
    Row("reid-train it", text("it/0001_c001_1.jpg"), "it"),
    Row("reid-train data --layout tracklets", says="no usable train images in layout tracklets|data"),
    Row("reid-train data --layout nonsense", says="--layout", code=2),
    Row(_NEW, (fifo("data/train_label.xml"), removed("data/name_train.txt")), "trained|new", 0, ("new", "latest")),
    Row(f"{_NEW} --max-pixels 100", says="more than the 100 of --max-pixels"),
    Row(
        f"{_NEW} --batch 64x2",
        says="needs 64 vehicles; the training data has 4: use --batch 4x2",
        then=f"{_NEW} --batch 4x2",
    ),
    Row("reid-train", says="give the folder of a data set", code=2),
    Row("reid-train it", (folder("it"), forbidden("it")), "it: [Pp]ermission denied", unprivileged=True),
)

WEIGHTS = (
    Row(f"{_WITH} nowhere.pth", says="nowhere.pth: no such file"),
    *(Row(f"{_WITH} it.pth", make("it.pth"), f"it.pth.*{says}") for make, says in KINDS),
    *(Row(f"{_WITH} it.safetensors", make("it.safetensors"), f"it.safetensors.*{says}") for make, says in KINDS),
    Row(f"{_WITH} it.pth", circle("it.pth"), "it.pth: .*symbolic links"),
    Row(f"{_WITH} it.pth", link("it.pth", "gone"), "it.pth: no such file"),
    Row(f"{_WITH} it.pth", text("it.pth", b""), "it.pth is not a readable file of weights"),
    Row(f"{_WITH} it.pth", text("it.pth"), "it.pth is not a readable file of weights"),
    Row(f"{_WITH} it.pth", sparse("it.pth", 1 << 37), "it.pth: .* bytes, more than"),
    Row(f"{_WITH} it.pth", sparse("it.pth", 1 << 20), "it.pth is not a readable file of weights"),
    Row(f"{_WITH} weights.pth", cut("weights.pth"), "weights.pth is not a readable file of weights"),
    Row(f"{_WITH} weights.pth", cut("weights.pth", 0.99), "weights.pth is not a readable file of weights"),
    Row(f"{_WITH} weights.pth --backbone resnet18", says="--backbone|weights.pth does not fit the backbone", code=1),
    Row(f"{_WITH} saved.npz", says="saved.npz"),
    Row(f"{_WITH} data/name_train.txt", says="name_train.txt is not a readable file of weights"),
    Row(f"{_WITH} it.pth", compressed("it.pth"), "it.pth is a compressed archive", at_most=300),
    Row(f"{_WITH} it.pth", pickled("it.pth", lambda torch: torch.ones(3)), "it.pth holds no plain state dict"),
    Row(f"{_WITH} it.pth", pickled("it.pth", lambda torch: {}), "it.pth holds no plain state dict"),
    Row(f"{_WITH} it.pth", pickled("it.pth", lambda torch: {"model": 1}), "it.pth holds no plain state dict"),
    Row(f"{_WITH} it.pth", pickled("it.pth", lambda torch: {"model": {1: torch.ones(3)}}), "no plain state dict"),
    Row(f"{_WITH} it.pth", pickled("it.pth", lambda torch: {"x": torch.ones(3)}), "it.pth does not fit the backbone"),
    Row(f"{_WITH} it.pth", pickled("it.pth", lambda torch: {"\x1b[2J": torch.ones(3)}), "it.pth does not fit"),
    Row(f"{_WITH} it.pth", pickled("it.pth", lambda torch: {"x": print}), "it.pth holds more than weights"),
    Row(f"{_WITH} it.pth", pickled("it.pth", lambda torch: {"x": torch.ones(3).to_sparse()}), "it.pth"),
    Row(f"{_WITH} run", says="run is a folder; --weights takes a file"),
    Row(
        f"{_WITH} weights.pth",
        forbidden("weights.pth"),
        "weights.pth.*(PermissionError|permission denied)",
        unprivileged=True,
    ),
    # INT8
    Row("reid-train data --qat bundle", says="--weights RUN", code=2),
    Row("reid-train data --qat bundle --weights none", says="--weights RUN", code=2),
    Row("reid-train data --qat bundle --weights run --recipe poster", says="leave out --recipe", code=2),
    Row("reid-train data --qat bundle --weights run", says="bundle has no int8 graph"),
    Row("reid-train data --qat bundle --weights run --levels 3", says="levels cannot be changed"),
    Row("reid-train data --qat nowhere --weights run", says="nowhere holds neither a bundle"),
    *(
        Row("reid-train data --qat it --weights run", make("it"), f"it.*({says}|neither a bundle)")
        for make, says in KINDS
    ),
    Row("reid-train data --qat bundle --weights run", nested("bundle/model.json"), "the model card is not valid"),
    Row("reid-train data --qat bundle --weights run", removed("bundle/report.html"), "report.html is missing"),
)

STATES = (
    *(Row(_RESUME, (removed(_STATE), make(_STATE)), f"{_STATE}: {says}") for make, says in KINDS),
    Row(_RESUME, emptied(_STATE), f"{_STATE} is damaged"),
    Row(_RESUME, text(_STATE), f"{_STATE} is damaged"),
    Row(_RESUME, sparse(_STATE), f"{_STATE} is damaged"),
    Row(_RESUME, cut(_STATE), f"{_STATE} is damaged"),
    Row(_RESUME, cut(_STATE, 0.999), f"{_STATE} is damaged"),
    Row(_RESUME, sound(_STATE, "saved.npz"), f"{_STATE} is damaged"),
    Row(_RESUME, text(_STATE, (2**62).to_bytes(8, "little") + b"{}"), f"{_STATE} is damaged", at_most=300),
    Row(_RESUME, (own("run"), link(_STATE, "../../run/checkpoint.safetensors")), f"{_STATE} is not the state of a run"),
    Row(_RESUME, edited(_STATE, lambda found, said: said.clear()), f"{_STATE} is not the state of a run"),
    Row(_RESUME, edited(_STATE, lambda found, said: found.clear()), f"{_STATE} is damaged"),
    Row(
        _RESUME,
        edited(_STATE, lambda found, said: next(iter(found.values())).view(-1)[:1].add_(1)),
        f"{_STATE} is damaged",
    ),
    *(
        Row(_RESUME, tensors(_STATE, {}, {name: value}), f"{_STATE}.*(is damaged|is not valid)")
        for name in ("progress", "facts", "scaler")
        for value in ("", "null", "[]", "NaN", "[" * 100_000, "1" * 5000)
    ),
    *(
        Row(_RESUME, tensors(_STATE, {}, {"sha256": GONE, name: value}), f"{_STATE}.*{says}")
        for name, value, says in (
            ("progress", '{"epochs_done": -1}', "is not valid"),
            ("progress", '{"epochs_done": 1e30}', "is not valid"),
            ("progress", f'{{"epochs_done": {FAR}}}', "is not valid"),
            ("progress", '{"best_map": NaN}', "is not valid"),
            ("progress", '{"begun": {"steps": -5}}', "is not valid"),
            ("progress", '{"new": 1}', "is not valid"),
            ("scaler", '{"scale": -1}', "is not valid"),
            ("scaler", '{"scale": "a"}', "is not valid"),
            ("scaler", '{"scale": 2.0}', "does not fit the run"),
            ("facts", "[1, 2]", "is not valid"),
        )
    ),
    Row(_RESUME, tensors(_STATE, {}, {"sha256": GONE, "facts": "{}"}), "trained was started with other training data"),
    *(
        Row(_RESUME, (tensors(_STATE, changes, {"sha256": GONE})), f"{_STATE} does not fit the run")
        for changes in (
            {"model/extra": np.zeros(3, np.float32)},
            {"optimizer/99999/exp_avg": np.zeros(3, np.float32)},
            {"optimizer/x/exp_avg": np.zeros(3, np.float32)},
            {"optimizer/0/new": np.zeros(3, np.float32)},
            {"optimizer/0/exp_avg": np.zeros(3, np.float32)},
        )
    ),
    Row(_RESUME, text("trained/metrics.jsonl", "my diary\n"), "metrics.jsonl", leaves=("latest",)),
    Row(_RESUME, text("trained/metrics.jsonl", b"\xff\n"), "metrics.jsonl", leaves=("latest",)),
    Row(
        _RESUME,
        (removed("trained/metrics.jsonl"), fifo("trained/metrics.jsonl")),
        "metrics.jsonl: a named pipe",
        leaves=("latest",),
    ),
    Row(
        _RESUME,
        (removed("trained/metrics.jsonl"), zero("trained/metrics.jsonl")),
        "metrics.jsonl: a device",
        leaves=("latest",),
    ),
    Row(_RESUME, text(_RUN, "{}"), "run.json.* is not valid", leaves=("latest",)),
    Row(_RESUME, nested(_RUN), "run.json.* is not valid", leaves=("latest",)),
    Row(
        _RESUME,
        emptied("trained/checkpoint.safetensors"),
        "checkpoint.safetensors is damaged",
        changes=("trained", "latest"),
    ),
    Row(f"{_RESUME} --seed 5", own("trained"), "trained was started with seed 0, not 5"),
    Row(f"{_RESUME} --loss triplet", own("trained"), "trained was started with loss rll, not triplet"),
)

REPETITIONS = (
    Row("reid-train --repeat nowhere", says="nowhere has no run.json"),
    *(Row("reid-train --repeat it", make("it"), "it.*(has no run.json|Not a directory)") for make, _ in KINDS),
    *(Row("reid-train --repeat trained", (removed(_RUN), make(_RUN)), f"{_RUN}: {says}") for make, says in KINDS),
    *(
        Row("reid-train --repeat trained", text(_RUN, content), f"{_RUN}.* is not valid")
        for content in (b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b"1" * 5000)
    ),
    *(
        Row("reid-train --repeat trained", json_with(_RUN, changes), f"{_RUN}.* is not valid .*{says}")
        for changes, says in (
            ({"recipe:epochs": -1}, "epochs"),
            ({"recipe:epochs": 10**30}, "epochs"),
            ({"recipe:new": 1}, "new"),
            ({"recipe": None}, "recipe"),
            ({"data_path": "a\0b"}, "data_path"),
            ({"machine": {}}, "machine"),
            ({"data": 1}, "data"),
        )
    ),
    Row("reid-train --repeat trained", json_with(_RUN, {"data_path": "/nowhere"}), "/nowhere: no such folder"),
    Row("reid-train --repeat trained", json_with(_RUN, {"data_path": "/dev/zero"}), "/dev/zero is not a folder"),
    Row("reid-train --repeat trained", json_with(_RUN, {"data:layout": "nonsense"}), "nonsense"),
    Row("reid-train cityflow --repeat trained", says="no longer holds that run's training data|layout"),
    Row(
        "reid-train --repeat trained", json_with(_RUN, {"data:fingerprint": "0"}), "no longer holds that run's training"
    ),
    Row("reid-train --repeat trained --epochs 2", says="every setting comes from RUN", code=2),
    Row("reid-train --repeat trained --output trained", says="trained (exists|is trained, which is an input)"),
)

OUTPUTS = (
    Row(
        f"{_NEW[:-4]} trained",
        own("trained"),
        "trained exists; --resume continues it, --output names another",
        then=f"{_NEW[:-4]} other",
    ),
    Row(f"{_NEW[:-4]} it", text("it"), "it exists and is not a run; --output names another folder"),
    *(Row(f"{_NEW[:-4]} it", make("it"), "it exists and is not a run") for make in (fifo, socket, zero)),
    Row(f"{_NEW[:-4]} it", link("it", "gone"), "it"),
    Row(f"{_NEW[:-4]} it", circle("it"), "it"),
    Row(f"{_NEW[:-4]} it", foreign("it/thesis"), "it exists and is not a run; --output names another folder"),
    Row(f"{_NEW[:-4]} it --resume", foreign("it/thesis"), "it exists and is not a run; --output names another folder"),
    Row(f"{_NEW[:-4]} it", foreign("it/.thesis.partial"), "it exists and is not a run; --output names another folder"),
    Row(f"{_NEW[:-4]} data", own("data"), "data is data, which is an input"),
    Row(f"{_NEW[:-4]} data/runs/new", own("data"), "data/runs/new lies in data, which is an input"),
    Row(f"{_NEW[:-4]} .", own("data"), r"^error: \. holds data, which is an input"),
    Row(f"{_NEW[:-4]} file/new", text("file"), "file.*(Not a directory|not a folder)"),
    Row(f"{_NEW[:-4]} /proc/new", says="/proc"),
    Row(f"{_NEW[:-4]} {'n' * 256}", says="n{200}.*: File name too long"),
    Row(f"{_NEW[:-4]} it/new", (folder("it"), forbidden("it", 0o555)), "[Pp]ermission denied", unprivileged=True),
)

PROCESSES = (
    *(
        Row(f"WORLD_SIZE={value} {_NEW}", says="WORLD_SIZE is")
        for value in ("abc", "0", "-1", "1.5", "' x'", "65537", FAR)
    ),
    *(Row(f"LOCAL_WORLD_SIZE={value} {_NEW}", says="LOCAL_WORLD_SIZE is") for value in ("abc", "0", "-1", FAR)),
    Row(f"WORLD_SIZE=2 {_NEW}", says="WORLD_SIZE is 2, and RANK is not set; start with torchrun, or unset WORLD_SIZE"),
    Row(f"WORLD_SIZE=2 RANK=0 {_NEW}", says="WORLD_SIZE is 2, and MASTER_ADDR is not set"),
    *(
        Row(f"WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=1 RANK={value} {_NEW}", says="RANK is")
        for value in ("abc", "2", "-1", FAR)
    ),
    *(
        Row(f"WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=1 RANK=1 LOCAL_RANK={value} {_NEW}", says="LOCAL_RANK is")
        for value in ("abc", "2", "-1", FAR)
    ),
    *(
        Row(f"WORLD_SIZE=2 MASTER_ADDR=localhost RANK=1 MASTER_PORT={value} {_NEW}", says="MASTER_PORT is")
        for value in ("abc", "0", "65536", FAR)
    ),
    *(Row(f"OMP_NUM_THREADS={value} {_NEW}", says="OMP_NUM_THREADS is") for value in ("abc", "0", FAR)),
    Row(
        f"TMPDIR={_LONG} {_NEW}",
        folder(_LONG),
        f"TMPDIR is .*{_LONG}, whose .* bytes are too many .*; set one of at most 75, such as TMPDIR=/tmp",
        leaves=(f"{_LONG}/torchinductor_*",),
        then=f"TMPDIR=/tmp {_NEW}",
    ),
    *(
        Row(f"REID_MAX_PIXELS={value} {_NEW}", says="REID_MAX_PIXELS|--max-pixels", code=2)
        for value in ("abc", "0", FAR)
    ),
)

NUMBERS = (
    *(Row(f"reid-train data --epochs {value}", says="--epochs", code=2) for value in ("0", "100001", *NO_INTEGERS)),
    *(Row(f"reid-train data --seed {value}", says="--seed", code=2) for value in ("4294967296", *NO_INTEGERS)),
    *(
        Row(f"reid-train data --image-size {value}", says="--image-size", code=2)
        for value in ("0", "31", "4097", "1000000", *NO_INTEGERS)
    ),
    *(
        Row(f"reid-train data --save-every {value}", says="--save-every", code=2)
        for value in ("nan", "inf", "-inf", "-1", "x", "''", FAR)
    ),
    *(
        Row(f"reid-train data --batch {value}", says="--batch", code=2)
        for value in (
            "0x1",
            "1x4",
            "2x0",
            "x",
            "2",
            "2x2x2",
            "-2x2",
            "4097x1",
            f"2x{FAR}",
            "nanx1",
            "''",
            "\u0662x\u0662",
        )
    ),
    *(
        Row(f"reid-train data --levels {value}", says="levels", code=2)
        for value in ("x", "3,3", "3;4", "''", ",", "1.5", "nan")
    ),
    *(
        Row(f"reid-train data --levels {value} --backbone test_resnet --weights none --batch 2x2", says="level")
        for value in ("-1", "99", FAR)
    ),
    *(
        Row(f"reid-train data --set {value}", says=value.partition("=")[0])
        for value in (
            "learning_rate=nan",
            "learning_rate=inf",
            "learning_rate=-1",
            "weight_decay=-1",
            f"embedding_size={FAR}",
            "embedding_size=0",
            "vehicles_per_batch=0",
            f"vehicles_per_batch={FAR}",
            "held_out=2",
            "held_out=nan",
            f"micro_batch={FAR}",
            "micro_batch=-1",
            f"memory_size={FAR}",
            "frozen_epochs=-1",
            "average_decay=1",
            "warmup_epochs=nan",
            "clip_norm=-1",
            "label_smoothing=nan",
            "last_stride=3",
        )
    ),
    *(
        Row(f"reid-train data --set {value}", says="", code=2)
        for value in ("nonsense=1", "epochs=two", "epochs", "=1", "''", "bnneck=maybe", "'\x1b[2J=1'", "levels=")
    ),
    Row("reid-train data --epochs 1 --set epochs=1", says="also given by an option of its own", code=2),
    Row("reid-train data --set clip_norm=1 --set clip_norm=2", says="clip_norm is set twice", code=2),
    Row("reid-train data --recipe nonsense", says="unknown recipe 'nonsense'; choose one of", code=2),
    Row("reid-train data --loss nonsense", says="--loss", code=2),
    Row("reid-train data --batch 2x2 --weights none --backbone nonsense", says="has no model 'nonsense'"),
    Row("reid-train data --batch 2x2 --weights none --backbone ../../etc/passwd", says="has no model"),
    Row("reid-train data --batch 2x2 --weights none --backbone '\x1b[2J'", says="has no model"),
    Row("reid-train data --batch 2x2 --weights none --backbone hf-hub:stranger/model", says="has no model"),
)
