"""`reid-data` and `reid-eval`: data sets, their lists, outputs, numbers."""

from __future__ import annotations

from table.makers import (
    KINDS,
    KINDS_OF_FOLDERS,
    circle,
    crop,
    cut,
    emptied,
    fifo,
    folder,
    forbidden,
    foreign,
    graph,
    json_with,
    link,
    listed,
    nested,
    own,
    png,
    removed,
    socket,
    sound,
    sparse,
    tensors,
    text,
    zero,
)
from table.numbers import FAR, NO_INTEGERS
from table.row import QUOTED, Row

__all__ = ["CONVERSION", "EVALUATION", "INSPECTION", "SYNTHESIS", "TABLES"]

_LAUGHS = '<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {one} "{f"&{before};" * 20}">' for before, one in zip("abcdefgh", "bcdefghi", strict=True)
)
_BOMB = f'<?xml version="1.0"?><!DOCTYPE x [{_LAUGHS}]><x><Item imageName="&i;" vehicleID="1" cameraID="c1"/></x>'
_OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x><Item imageName="&a;">&a;</Item></x>'
_ABOVE = '<x><Item imageName="../../secret.jpg" vehicleID="0001" cameraID="c001"/></x>'

SYNTHESIS = (
    *(
        Row("reid-data synthesize it", make("it"), says)
        for make, says in (
            (fifo, "it.*not (a|an empty) folder"),
            (socket, "it.*not (a|an empty) folder"),
            (zero, "it.*not (a|an empty) folder"),
            (text, "it.*not (a|an empty) folder"),
            (circle, "it"),
        )
    ),
    Row("reid-data synthesize dangling", link("dangling", "gone"), "dangling exists and is not a folder"),
    Row(
        "reid-data synthesize it",
        foreign("it/thesis"),
        "it.*(not an empty folder|holds thesis)",
        then="reid-data synthesize other --vehicles 4 --cameras 2",
    ),
    Row(
        "reid-data synthesize it", foreign("it/image_train/a.jpg"), "it.*(not an empty folder|holds image_train/a.jpg)"
    ),
    Row("reid-data synthesize data", says="data.*(not an empty folder|holds)"),
    Row("reid-data synthesize .", foreign("thesis"), r"\. .*(not an empty folder|holds)"),
    Row("reid-data synthesize file/data", text("file"), "file.*(Not a directory|not a folder)"),
    Row("reid-data synthesize /proc/data", says="/proc"),
    Row("reid-data synthesize /dev/null", says="/dev/null exists and is not a"),
    Row(f"reid-data synthesize {'n' * 256}", says="n{200}.*: File name too long"),
    Row("reid-data synthesize it/data", (folder("it"), forbidden("it", 0o555)), "permission denied", unprivileged=True),
    Row("reid-data synthesize", says="OUT", code=2),
    *(
        Row(f"reid-data synthesize new --vehicles {value}", says="--vehicles", code=2)
        for value in ("3", "10000", *NO_INTEGERS)
    ),
    *(
        Row(f"reid-data synthesize new --cameras {value}", says="--cameras", code=2)
        for value in ("1", "1000", *NO_INTEGERS)
    ),
    Row("reid-data synthesize new --style painted", says="--style", code=2),
    *(Row(f"reid-data synthesize new --seed {value}", says="--seed", code=2) for value in ("4294967296", *NO_INTEGERS)),
)

INSPECTION = (
    Row("reid-data inspect nowhere", says="nowhere: no such folder"),
    *(Row("reid-data inspect it", make("it"), f"it.*({says})") for make, says in KINDS_OF_FOLDERS),
    Row("reid-data inspect it", folder("it"), "it holds no images; docs.data-sets.md"),
    Row("reid-data inspect it", text("it/a.txt"), "it holds no images; docs.data-sets.md"),
    Row("reid-data inspect data --layout market", says="--layout", code=2),
    Row("reid-data inspect it", (folder("it"), forbidden("it")), "it: permission denied", unprivileged=True),
    Row("reid-data inspect data --max-pixels 100", says="pixels, more than the 100 of --max-pixels", code=0),
    Row("reid-data inspect data --max-pixels 0", says="--max-pixels", code=2),
    # lists
    *(
        Row("reid-data inspect data", make(f"data/{name}"), f"{name}.*{says}", code=0)
        for name in ("train_label.xml", "test_label.xml", "name_train.txt", "test_track.txt")
        for make, says in KINDS[:3]
    ),
    Row("reid-data inspect data", emptied("data/train_label.xml"), "train_label.xml.*empty", code=0),
    Row("reid-data inspect data", cut("data/train_label.xml"), "train_label.xml.*not valid XML", code=0),
    Row("reid-data inspect data", removed("data/train_label.xml"), "missing file.*train_label.xml", code=0),
    Row("reid-data inspect data", sparse("data/train_label.xml"), "train_label.xml.*274,877,906,944 bytes", code=0),
    Row("reid-data inspect data", text("data/train_label.xml", _BOMB), "damaged list.*train_label.xml", 0, at_most=300),
    Row("reid-data inspect data", text("data/train_label.xml", _OUTSIDE), "damaged list.*train_label.xml", code=0),
    Row(
        "reid-data inspect data", text("data/train_label.xml", "<x>" * 100_000), "damaged list.*train_label.xml", code=0
    ),
    Row("reid-data inspect data", text("data/train_label.xml", b"\xff\xfe" + b"\xd8" * 99), "train_label.xml", code=0),
    Row(
        "reid-data inspect data",
        (crop("secret.jpg"), text("data/train_label.xml", _ABOVE)),
        r"train_label.xml.*\.\./\.\./secret.jpg",
        code=0,
    ),
    Row("reid-data inspect data", text("data/name_train.txt", "../../a.jpg\n"), r"\.\./\.\./a.jpg", code=0),
    Row("reid-data inspect data", text("data/test_track.txt", "../../a.jpg b.jpg\n"), r"\.\./\.\./a.jpg", code=0),
    Row("reid-data inspect data", text("data/name_train.txt", "\x1b[2J.jpg\n"), r"\\x1b\[2J.jpg", code=0),
    Row("reid-data inspect data", forbidden("data/train_label.xml"), "[Pp]ermission denied", 0, unprivileged=True),
    # images
    *(
        Row("reid-data inspect data", make("data/image_train/0001_c001_00000001_0.jpg"), f"unreadable image.*{says}", 0)
        for make, says in KINDS[:3]
    ),
    Row(
        "reid-data inspect data",
        sound("data/image_train/0001_c001_00000001_0.png", "big.png"),
        "30,000 x 30,000",
        0,
        at_most=300,
    ),
    Row("reid-data inspect data", text("data/image_train/0001_c001_00000001_0.jpg"), "not a readable image", code=0),
    Row("reid-data inspect data", sparse("data/image_train/0001_c001_00000001_0.jpg"), "274,877,906,944 bytes", code=0),
    Row("reid-data inspect data", text("data/image_train/\x1b[2J.jpg"), r"\\x1b\[2J.jpg", code=0),
    Row("reid-data inspect data", text("data/image_test/\udcff\u202e.jpg"), r"\\udcff\\u202e.jpg", code=0),
    Row("reid-data inspect it", text("it/0001_c001_1.jpg"), "not a readable image", code=0),
    Row("reid-data inspect it", text("it/0001_c001_" + "9" * 200 + ".jpg"), "flat", code=0),
    Row("reid-data inspect it", text("it/" + "9" * 200 + "_c001_1.jpg"), "flat", code=0),
    Row("reid-data inspect it", link("it/a/b", "."), "it holds no images"),
    Row("reid-data inspect cityflow", text("cityflow/image_test/" + "9" * 250 + ".jpg"), "cityflow", code=0),
    Row("reid-data inspect cityflow", text("cityflow/image_test/\u0661\u00b2.jpg"), "cityflow", code=0),
    Row("reid-data inspect cityflow", fifo("cityflow/query_label.xml"), "query_label.xml.*a named pipe", code=0),
    Row("reid-data inspect cityflow", zero("cityflow/train_track.txt"), "train_track.txt.*a device", code=0),
    Row("reid-data inspect data --layout cityflow", says="cityflow", code=0),
    Row("reid-data inspect data --layout tracklets", says="tracklets", code=0),
    Row("reid-data inspect", says="DATA", code=2),
    Row("reid-data explain data", says="explain", code=2),
)

_PICTURES = crop("it/{}.jpg", 4)
_SOUND = text("it/t.csv", "path,vehicle\n0.jpg,a1\n1.jpg,a1\n2.jpg,b2\n3.jpg,b2\n")

TABLES = (
    *(
        Row("reid-data inspect it --layout table", (_PICTURES, make("it/t.csv")), f"it/t.csv: .*{says}")
        for make, says in KINDS[:3]
    ),
    Row("reid-data inspect it --layout table", _PICTURES, "missing file.*table.csv.*no table: none of", code=0),
    Row("reid-data inspect it/t.csv", _PICTURES, "it/t.csv: no such file"),
    Row("reid-data inspect it/t.csv", (_PICTURES, sparse("it/t.csv")), "it/t.csv: 274,877,906,944 bytes", at_most=300),
    Row("reid-data inspect it/t.csv --layout flat", (_PICTURES, _SOUND), "is a table, .* leave --layout out"),
    Row(
        "reid-data inspect it --layout table",
        (_PICTURES, text("it/t.csv", "image,id\n0.jpg,1\n")),
        "it/t.csv has no column path and none vehicle, but 'image', 'id'; name its columns path, vehicle, camera",
    ),
    Row(
        "reid-data inspect it --layout table",
        (_PICTURES, _SOUND, text("it/u.csv", "path,vehicle\n")),
        r"it holds 2 tables \(t.csv, u.csv\); give the path of one of them",
        then="reid-data inspect it/t.csv",
    ),
    Row(
        "reid-data inspect it/t.csv",
        (_PICTURES, text("it/t.csv", b"\xff\xfe" + b"\xd8" * 99)),
        "it/t.csv has no column",
    ),
    Row("reid-data inspect it/t.csv", (_PICTURES, text("it/t.csv", b"\0" * 99)), "it/t.csv has no column"),
    Row(
        "reid-data inspect it/t.csv",
        (_PICTURES, text("it/t.csv", "path,vehicle\n" + "x" * (1 << 26))),
        "it/t.csv: line 2 has more than 1,048,576 characters",
        at_most=500,
    ),
    Row(
        "reid-data inspect it/t.csv",
        (crop("secret.jpg"), _PICTURES, text("it/t.csv", "path,vehicle\n../secret.jpg,1\n0.jpg,../1\n")),
        r"'\.\./secret.jpg' is not the path of a file within",
        code=0,
    ),
    Row(
        "reid-data inspect it/t.csv",
        (_PICTURES, text("it/t.csv", "path,vehicle\n0.jpg,\x1b[2J\n\x1b[2J.jpg,1\n")),
        r"'\\x1b\[2J' is not a name",
        code=0,
    ),
    Row(
        "reid-data inspect it/t.csv",
        (_PICTURES, text("it/t.csv", 'path,vehicle\n"0.jpg,a1\n1.jpg,a1\n')),
        "line 3: ",
        0,
    ),
    Row("reid-data inspect it/t.parquet", (_PICTURES, text("it/t.parquet", "PAR1" * 20)), "t.parquet is not a Parquet"),
    Row("reid-data inspect it/t.parquet", (_PICTURES, fifo("it/t.parquet")), "it/t.parquet: a named pipe"),
)

CONVERSION = (
    Row("reid-data convert nowhere new --to flat", says="nowhere: no such folder"),
    Row(
        "reid-data convert data new --to cityflow", says="--to: CityFlow-ReID's test images have no identities", code=2
    ),
    Row("reid-data convert data new --to coco", says="--to: unknown layout 'coco'; choose one of", code=2),
    Row("reid-data convert data new", says="--to", code=2),
    Row("reid-data convert data it --to flat", foreign("it/thesis"), "it.*(not an empty folder|holds thesis)"),
    *(
        Row("reid-data convert data it --to flat", make("it"), "it.*not (a|an empty) folder")
        for make in (fifo, zero, text)
    ),
    Row("reid-data convert data data/new --to flat", own("data"), "data/new lies in data, which is an input"),
    Row("reid-data convert it/t.csv it/new --to flat", (_PICTURES, _SOUND), "it/new lies in it, which is an input"),
    Row("reid-data convert it new --to flat", folder("it"), "it"),
    Row(
        "reid-data convert it new --to camera-vehicle",
        (_PICTURES, _SOUND),
        "tells none; choose --to vehicle-folders or table",
        then="reid-data convert it other --to vehicle-folders",
    ),
    Row("reid-data convert data /proc/new --to flat", says="/proc"),
    Row(
        "reid-data convert data new --to flat",
        fifo("data/image_train/0001_c001_00000001_0.jpg"),
        "1 images could not be read.*a named pipe",
        code=0,
        leaves=("new",),
    ),
    Row(
        "reid-data convert data new --to vehicleid",
        says="the cameras of .* images are not kept",
        code=0,
        leaves=("new",),
    ),
)

EVALUATION = (
    # models
    Row("reid-eval nowhere data", says="nowhere: no such model"),
    *(Row("reid-eval it data", make("it"), f"it.*({says}|neither a bundle)") for make, says in KINDS),
    *(
        Row("reid-eval it.onnx data", make("it.onnx"), f"it.onnx.*({says}|neither a bundle)")
        for make, says in KINDS[:3]
    ),
    Row("reid-eval run data", cut("run/checkpoint.safetensors"), "run/checkpoint.safetensors is damaged"),
    Row("reid-eval run data", emptied("run/checkpoint.safetensors"), "run/checkpoint.safetensors is damaged"),
    Row("reid-eval run data", fifo("run/checkpoint.safetensors"), "run/checkpoint.safetensors: a named pipe"),
    Row("reid-eval run data", zero("run/checkpoint.safetensors"), "run/checkpoint.safetensors: a device"),
    Row("reid-eval run data", tensors("run/checkpoint.safetensors", {"reference.../x.jpg": b"x"}), "no reference crop"),
    Row("reid-eval bundle data", removed("bundle/report.html"), "bundle/report.html is missing"),
    Row("reid-eval bundle data", json_with("bundle/model.json", {"levels:0:size": 10**7}), "levels.0.size"),
    Row(
        "reid-eval bundle data", (nested("bundle/verification.json"), listed("bundle/verification.json")), "i2i|I2I", 0
    ),
    Row("reid-eval bundle/other.onnx data", graph("bundle/other.onnx", lambda model: None), "not one of the graphs"),
    Row("reid-eval bundle data --precision fp16", says="bundle has no fp16 graph; choose one of: fp32"),
    Row("reid-eval bundle data --session quantum", says="unknown session 'quantum'"),
    # data
    Row("reid-eval bundle nowhere", says="nowhere: no such folder"),
    *(Row("reid-eval bundle it", make("it"), f"it.*({says})") for make, says in KINDS_OF_FOLDERS),
    Row("reid-eval bundle it", folder("it"), "it holds no images; docs.data-sets.md"),
    Row("reid-eval bundle data --layout tracklets", says="no usable query images in layout tracklets", then=QUOTED),
    Row("reid-eval bundle data --layout nonsense", says="--layout", code=2),
    Row("reid-eval bundle data", (fifo("data/test_label.xml"), removed("data/name_query.txt")), "mAP", code=0),
    Row("reid-eval bundle data --max-pixels 100", says="can be read|more than the 100 of --max-pixels"),
    # protocols, submissions
    *(
        Row(f"reid-eval bundle data --protocols {value}", says="--protocols", code=2)
        for value in ("i2x", "''", "i2i,,t2t", "i2i;i2t", "'\x1b[2J'", FAR)
    ),
    Row(
        "reid-eval bundle data --submission new.txt",
        says="data is not a CityFlow-ReID folder",
        then="reid-eval bundle data --protocols i2i",
    ),
    Row("reid-eval bundle cityflow --submission it", folder("it"), "it"),
    *(Row("reid-eval bundle cityflow --submission it", make("it"), "it") for make in (fifo, socket, zero)),
    Row("reid-eval bundle cityflow --submission new/new.txt", says="I2I", code=0, leaves=("new",)),
    Row("reid-eval bundle cityflow --submission /proc/new.txt", says="/proc"),
    Row("reid-eval bundle cityflow --submission cityflow/train_label.xml", own("cityflow"), "cityflow"),
    Row("reid-eval bundle cityflow --submission bundle/model.json", (own("bundle"), own("cityflow")), "bundle"),
    Row("reid-eval bundle cityflow --submission cityflow/image_test/000001.jpg", own("cityflow"), "cityflow"),
    Row(
        "reid-eval bundle cityflow --submission new.txt", fifo("cityflow/image_query/000001.jpg"), "query 000001 cannot"
    ),
    Row("reid-eval bundle cityflow --submission new.txt", text("cityflow/image_query/1.jpg"), "has the same number as"),
    Row(
        "reid-eval bundle cityflow --submission new.txt",
        sound("cityflow/image_query/000001.jpg", "big.png"),
        "query 000001 cannot be read",
        at_most=300,
    ),
    Row(
        "reid-eval bundle cityflow --submission new.txt",
        png("cityflow/image_test/000001.jpg", 99, 99),
        "new.txt|I2I",
        code=0,
        leaves=("new.txt",),
    ),
    # numbers
    Row("reid-eval bundle data --max-pixels 0", says="--max-pixels", code=2),
    *(Row(f"OMP_NUM_THREADS={value} reid-eval bundle data", says="OMP_NUM_THREADS") for value in ("0", "abc", FAR)),
    Row("reid-eval bundle", says="DATA", code=2),
)
