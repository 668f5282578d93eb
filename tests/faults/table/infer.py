"""`reid-infer`: crops, saved galleries, bundles, graphs, outputs, numbers."""

from __future__ import annotations

import csv
import io

import numpy as np

from table.changes import GONE, external, npy, other_card, without_card
from table.makers import (
    KINDS,
    KINDS_OF_FOLDERS,
    arrays,
    circle,
    crop,
    cut,
    emptied,
    fifo,
    folder,
    forbidden,
    foreign,
    gallery_of,
    gone,
    graph,
    itself,
    json_with,
    link,
    listed,
    moved,
    nested,
    own,
    png,
    removed,
    socket,
    sound,
    sparse,
    text,
    zero,
)
from table.place import Place
from table.row import Row

__all__ = ["CROPS", "FILTERS", "GALLERIES", "MODELS", "NUMBERS", "OUTPUTS"]

_GIF = b"GIF89a" + b"\xff" * 4 + bytes(3) + b"," + bytes(4) + b"\xff" * 4 + b"\0\2\1\4\0;"
_TEXTS = tuple((b"zTXt", b"a\0\0" + bytes(100)) for _ in range(40))


def _no_formulas(place: Place) -> None:
    """No cell of the table begins as a formula of a spreadsheet does."""
    rows = csv.reader(io.StringIO((place / "results" / "rankings.csv").read_text()))
    cells = [cell for row in rows for cell in row]
    assert any("=1+1" in cell for cell in cells)
    assert not [cell for cell in cells if cell[:1] in "=+@\t\r" and cell]


CROPS = (
    # what is no folder, as either argument
    *(Row("reid-infer gallery it", make("it"), f"it.*({says})") for make, says in KINDS_OF_FOLDERS),
    Row("reid-infer gallery nowhere", says="nowhere: no such folder"),
    Row("reid-infer nowhere query", says="nowhere: no such folder"),
    Row("reid-infer it query", fifo("it"), "it.*not a folder"),
    Row("reid-infer it query", socket("it"), "it.*not a folder"),
    Row("reid-infer it query", zero("it"), "it.*not a folder"),
    Row("reid-infer it query", circle("it"), "it.*(no such folder|symbolic links)"),
    Row("reid-infer gallery dangling", link("dangling", "gone"), "dangling: no such folder"),
    Row("reid-infer gallery query/0.jpg", says="query/0.jpg is not a folder"),
    # folders without images
    Row("reid-infer gallery it", folder("it"), "it holds no images", then="reid-infer gallery query"),
    Row("reid-infer gallery it", crop("it/.hidden.jpg"), "it holds no images"),
    Row("reid-infer gallery it", crop("it/photo.hdr"), "it holds no images"),
    Row("reid-infer it query", folder("it"), "it holds no images"),
    Row("reid-infer gallery it", link("it/again", "."), "it holds no images"),
    # images that are none
    *(Row("reid-infer gallery it", make("it/a.jpg"), f"it/a.jpg: {says}") for make, says in KINDS[:3]),
    Row("reid-infer gallery it", link("it/a.jpg", "gone"), "it/a.jpg: No such file"),
    Row("reid-infer gallery it", circle("it/a.jpg"), "it/a.jpg: .*symbolic links"),
    Row("reid-infer gallery it", text("it/a.jpg", b""), "it/a.jpg: the file is empty"),
    Row("reid-infer gallery it", text("it/a.jpg"), "it/a.jpg: not a readable image"),
    Row("reid-infer gallery it", text("it/a.jpg", b"GIF89a" + bytes(99)), "it/a.jpg: not a readable image"),
    Row("reid-infer gallery it", text("it/a.png", b"II*\0" + bytes(99)), "it/a.png: not a readable image"),
    Row(
        "reid-infer gallery it", text("it/a.GIF", _GIF), r"it/a.GIF: 65,535 x 65,535 pixels.*--max-pixels", at_most=300
    ),
    Row("reid-infer gallery it", text("it/a.tiff", b"P7\nWIDTH 8\n"), "it/a.tiff: a PAM file.*convert it"),
    Row(
        "reid-infer gallery it",
        text("it/a.ppm", b"P6 20000 20000 255 "),
        "it/a.ppm: the image is cut short",
        at_most=300,
    ),
    Row("reid-infer gallery it", text("it/a.jp2", b"\xff\x4f\xff\x51"), "it/a.jp2: not a readable image"),
    Row("reid-infer gallery it", (crop("it/a.jpg"), cut("it/a.jpg")), "it/a.jpg: the image is cut short"),
    Row("reid-infer gallery it", sparse("it/a.jpg"), r"it/a.jpg: 274,877,906,944 bytes, more than"),
    Row("reid-infer it query", fifo("it/a.jpg"), "no image of the gallery.*it/a.jpg: a named pipe"),
    Row("reid-infer it query", zero("it/track/a.jpg"), "no image of the gallery.*it/track/a.jpg: a device"),
    Row(
        "reid-infer gallery it",
        (crop("it/a.jpg"), forbidden("it/a.jpg")),
        "it/a.jpg: [Pp]ermission denied",
        unprivileged=True,
    ),
    Row("reid-infer gallery it", (folder("it"), forbidden("it")), "it: permission denied", unprivileged=True),
    Row(
        "reid-infer it query",
        (crop("it/a.jpg"), forbidden("it/a.jpg")),
        "it/a.jpg: [Pp]ermission denied",
        unprivileged=True,
    ),
    # images that are too large, alone and among others
    Row(
        "reid-infer gallery it",
        sound("it/a.jpg", "big.png"),
        "it/a.jpg: 30,000 x 30,000 pixels, more than the 33,554,432 of --max-pixels",
        at_most=300,
    ),
    Row("reid-infer it query", sound("it/a.jpg", "big.png"), "it/a.jpg: 30,000 x 30,000 pixels", at_most=300),
    Row(
        "reid-infer gallery query",
        sound("query/b.png", "big.png"),
        "1 of 9 frames could not be read: .*30,000 x 30,000",
        code=0,
        leaves=("results",),
        at_most=300,
    ),
    Row(
        "reid-infer gallery query",
        sound("gallery/track/b.png", "big.png"),
        "1 of 9 frames could not be read: .*30,000 x 30,000",
        code=0,
        leaves=("results",),
        at_most=300,
    ),
    Row(
        "reid-infer gallery it", png("it/a.png", 2**31 - 1, 2**31 - 1), "it/a.png: 2,147,483,647 x 2,147,483,647 pixels"
    ),
    Row("reid-infer gallery it", png("it/a.png", 0, 0), "it/a.png: not a readable image"),
    Row("reid-infer gallery it", png("it/a.png", 8, 8), "it/a.png: not a readable image"),
    Row("reid-infer gallery it", png("it/a.png", 8, 8, *_TEXTS), "it/a.png: more than 16 compressed texts"),
    Row(
        "reid-infer gallery it",
        text("it/a.bmp", b"BM" + bytes(12) + b"\x28\0\0\0" + b"\xff\xff\xff\x7f" * 2 + bytes(40)),
        "it/a.bmp: 2,147,483,647 x 2,147,483,647 pixels",
    ),
    Row(
        "reid-infer gallery query --max-pixels 100",
        says="query/.* pixels, more than the 100 of --max-pixels|gallery.*100",
        then="reid-infer gallery query --max-pixels 1000000",
    ),
    Row(
        "REID_MAX_PIXELS=100 reid-infer gallery query",
        says="pixels, more than the 100 of --max-pixels",
        then="reid-infer gallery query --max-pixels 1000000",
    ),
    # one among many
    Row(
        "reid-infer gallery query",
        fifo("query/pipe.jpg"),
        "1 of 9 frames.*query/pipe.jpg: a named pipe",
        0,
        ("results",),
    ),
    Row("reid-infer gallery query", zero("gallery/z.jpg"), "1 of 9 frames.*gallery/z.jpg: a device", 0, ("results",)),
    Row("reid-infer gallery query", socket("query/s.jpg"), "1 of 9 frames.*query/s.jpg: a socket", 0, ("results",)),
    Row("reid-infer gallery it", itself("it"), "results/report.html", 0, ("results",)),
    Row("reid-infer gallery query", folder("query/a.jpg"), "results/report.html", 0, ("results",)),
    # names
    Row("reid-infer gallery it", text("it/\x1b[2J.jpg"), r"it/\\x1b\[2J.jpg: not a readable image"),
    Row("reid-infer gallery it", text("it/a\nerror: b.jpg"), r"it/a.*error: b.jpg: not a readable image"),
    Row("reid-infer gallery it", text("it/\u202egpj.exe.jpg"), r"it/\\u202egpj.exe.jpg: not a readable image"),
    Row("reid-infer gallery it", text("it/\udcff.jpg"), r"it/\\udcff.jpg: not a readable image"),
    Row("reid-infer gallery it", text(f"it/{'n' * 251}.jpg"), "it/n{200}.*: not a readable image"),
    Row("reid-infer gallery 'it\x1b[2J'", says="no such folder"),
    Row(
        "reid-infer gallery query",
        (crop("gallery/=1+1.jpg"), crop("query/=1+1.jpg"), crop("gallery/@a/b.jpg")),
        "report.html",
        0,
        ("results",),
        check=_no_formulas,
    ),
    Row(
        "reid-infer gallery query",
        (crop("query/\x1b]0;a\x07.jpg"), crop("gallery/\udcff.jpg"), crop("query/a\nb.jpg")),
        "report.html",
        0,
        ("results",),
    ),
    Row(
        "reid-infer gallery query",
        (crop("query/<script>alert(1)<.jpg"), crop("gallery/</script>/&.jpg")),
        "report.html",
        0,
        ("results",),
    ),
)

GALLERIES = (
    Row("reid-infer it.npz query", text("it.npz", b""), "it.npz is not a readable gallery"),
    Row("reid-infer it.npz query", text("it.npz"), "it.npz is not a readable gallery", then="reid-infer gallery query"),
    Row("reid-infer it.npz query", fifo("it.npz"), "it.npz.*(a named pipe|not a folder)"),
    Row("reid-infer it.npz query", zero("it.npz"), "it.npz.*(a device|not a folder)"),
    Row("reid-infer it.npz query", sparse("it.npz"), "it.npz is not a readable gallery"),
    Row("reid-infer saved.npz query", cut("saved.npz"), "saved.npz is not a readable gallery"),
    Row("reid-infer saved.npz query", cut("saved.npz", 0.999), "saved.npz is not a readable gallery"),
    Row("reid-infer saved.npz query", emptied("saved.npz"), "saved.npz is not a readable gallery"),
    Row(
        "reid-infer saved.npz query",
        (own("saved.npz"), forbidden("saved.npz")),
        "saved.npz: [Pp]ermission denied",
        unprivileged=True,
    ),
    Row(
        "reid-infer it.npz query", gallery_of("it.npz", fingerprint="ab" * 32), "it.npz was made by model abababababab"
    ),
    Row(
        "reid-infer it.npz query",
        gallery_of("it.npz", precision="fp16"),
        "it.npz was embedded in fp16, not fp32",
    ),
    Row("reid-infer it.npz query", arrays("it.npz", precision=np.array(["fp32"])), "it.npz is not a readable gallery"),
    Row("reid-infer it.npz query", arrays("it.npz", extra=np.zeros(9)), "it.npz is not a readable gallery .*extra"),
    Row(
        "reid-infer it.npz query",
        arrays("it.npz", compressed=True, extra=np.zeros(1 << 28, np.uint8)),
        "it.npz is not a readable gallery .*compressed",
        at_most=300,
    ),
    Row("reid-infer it.npz query", arrays("it.npz", compressed=True), "it.npz is not a readable gallery .*compressed"),
    *(
        Row(
            "reid-infer it.npz query",
            arrays("it.npz", **{column: np.arange(4.0)}),
            "it.npz is not a readable gallery .*texts",
        )
        for column in ("ids", "pictures", "cameras", "vehicles")
    ),
    Row(
        "reid-infer it.npz query", arrays("it.npz", ids=np.array(["a"] * 3)), "it.npz is not a readable gallery .*texts"
    ),
    Row(
        "reid-infer it.npz query",
        arrays("it.npz", ids=np.array(["a"] * 4)),
        "it.npz is not a readable gallery .*digest",
    ),
    Row(
        "reid-infer it.npz query",
        arrays("it.npz", ids=np.array([b"a"] * 4)),
        "it.npz is not a readable gallery .*texts",
    ),
    Row(
        "reid-infer it.npz query", arrays("it.npz", ids=np.array([{}] * 4, object)), "it.npz is not a readable gallery"
    ),
    Row("reid-infer it.npz query", arrays("it.npz", ids=GONE), "it.npz is not a readable gallery .*ids"),
    Row("reid-infer it.npz query", arrays("it.npz", digest=GONE), "it.npz is not a readable gallery .*digest"),
    Row("reid-infer it.npz query", arrays("it.npz", embeddings=GONE), "it.npz is not a readable gallery .*embeddings"),
    Row(
        "reid-infer it.npz query",
        arrays("it.npz", embeddings=np.zeros((4, 32))),
        "it.npz is not a readable gallery .*float64",
    ),
    Row(
        "reid-infer it.npz query",
        arrays("it.npz", embeddings=np.zeros((4, 2, 16), np.float32)),
        "it.npz is not .* gallery",
    ),
    Row(
        "reid-infer it.npz query",
        arrays("it.npz", embeddings=np.zeros((0, 32), np.float32)),
        "it.npz is not .* gallery",
    ),
    Row("reid-infer it.npz query", arrays("it.npz", pictures=np.array(["../a", "b", "c", "d"])), "it.npz .*absolute"),
    Row("reid-infer it.npz query", arrays("it.npz", pictures=np.array(["/a\0b", "", "", ""])), "it.npz .*absolute"),
    Row(
        "reid-infer it.npz query",
        arrays("it.npz", format_version=np.array(9)),
        "it.npz has format version 9, newer than",
    ),
    Row("reid-infer it.npz query", arrays("it.npz", format_version=np.array(0)), "it.npz is not a readable gallery"),
    Row("reid-infer it.npz query", arrays("it.npz", format_version=np.array("3")), "it.npz is not a readable gallery"),
    Row("reid-infer it.npz query", arrays("it.npz", format_version=GONE), "it.npz is not a readable gallery"),
)

FILTERS = (
    # what is not known
    Row("reid-infer gallery query --since 1", says="no entry of gallery has a time: .*--sightings FILE"),
    Row("reid-infer saved.npz query --until 1", says="no entry of saved.npz has a time"),
    Row("reid-infer store query --since -1e12", says="no entry of store has a time"),
    Row("reid-infer gallery query --camera '=1+1'", says="no entry of gallery is of camera '=1.1'; there are c0"),
    Row("reid-infer store query --camera c999", says="no entry of store is of camera 'c999'; there are c0"),
    Row("reid-infer store query --not-camera c999", says="no entry of store is of camera 'c999'; there are c0"),
    Row("reid-infer gallery query --other-cameras", says="the camera of query 0.jpg is not known: .*--sightings"),
    # files
    *(
        Row("reid-infer gallery query --travel-times it", make("it"), f"it.*({says}|list of travel times)")
        for make, says in KINDS
    ),
    Row("reid-infer gallery query --travel-times nowhere", says="nowhere: No such file"),
    Row("reid-infer gallery query --travel-times it", text("it", "{}"), "it.*list of travel times"),
    Row(
        "reid-infer gallery query --travel-times it",
        text("it", '{"format_version": 1, "pairs": []}'),
        "the camera of query 0.jpg is not known",
    ),
    Row("reid-infer gallery query --sightings nowhere", says="nowhere: No such file.*id,camera,time_s"),
    Row("reid-infer gallery query --sightings it", fifo("it"), "it: a named pipe"),
    Row("reid-infer gallery query --sightings it", zero("it"), "it: a device"),
    Row("reid-infer gallery query --sightings it", text("it", b""), "it has the columns .*id,camera,time_s"),
    Row(
        "reid-infer gallery query --sightings it", text("it", "id,camera\n"), "the sightings name no tracklet of query"
    ),
    Row(
        "reid-infer gallery query --sightings it --travel-times travel",
        (text("it", "id,time_s\n0.jpg,inf\n"), text("travel", '{"format_version": 1, "pairs": []}')),
        "it, line 2: the time is 'inf'",
    ),
    Row(
        "reid-infer gallery query --sightings it/seen.csv --output it",
        text("it/seen.csv", "id,camera\n0.jpg,c1\n"),
        "it holds it/seen.csv, which is an input",
    ),
    # galleries elsewhere
    Row("reid-infer s3://bucket/x query", says="s3://bucket/x: no such kind of gallery.*lance://"),
    Row("reid-infer lance:/x query", says="lance:/x is no address of a gallery: write lance://, with two slashes"),
    Row("reid-infer gallery query --shard 17/16", says="1/16 to 16/16", code=2),
    Row("reid-infer gallery query --shard 0/0", says="such as 3/16", code=2),
    Row("reid-infer gallery query --shard 1/2 --rerank", says="--rerank looks at all queries", code=2),
    Row("reid-infer gallery query --since inf", says="--since", code=2),
    Row("reid-infer gallery query --since 2 --until 1", says="--since 2 is after --until 1", code=2),
    Row("reid-infer gallery query --camera ''", says="--camera", code=2),
    Row("reid-infer gallery query --camera a --not-camera a", says="--not-camera", code=2),
)

MODELS = (
    # what does not know how its data looked
    Row("reid-infer gallery query --check", says="bundle does not say how the data looked.*reid-export --verify"),
    Row("reid-infer gallery query --model bundle/model.fp32.onnx --check", says="does not say how the data looked"),
    Row(
        "reid-infer gallery query --check",
        (text("bundle/distribution.json"), listed("bundle/distribution.json")),
        "distribution.json: the reference distribution is not valid.*reid-export --verify",
    ),
    Row(
        "reid-infer gallery query --check",
        (text("bundle/distribution.json", b'{"precisions": {}}'), listed("bundle/distribution.json")),
        "distribution.json has no distribution of the fp32 graph",
    ),
    Row("reid-infer gallery query --fail-on-drift", says="add --check", code=2),
    # what is no model
    *(
        Row("reid-infer gallery query --model it", make("it"), f"it.*({says}|neither a bundle|not a|no such)")
        for make, says in KINDS
    ),
    *(
        Row("reid-infer gallery query --model it.onnx", make("it.onnx"), f"it.onnx.*({says}|neither a bundle)")
        for make, says in KINDS
    ),
    *(
        Row(
            "reid-infer gallery query --model it.safetensors",
            make("it.safetensors"),
            f"it.safetensors.*({says}|holds no)",
        )
        for make, says in KINDS
    ),
    Row(
        "reid-infer gallery query --model nowhere",
        says="nowhere: no such model",
        then="reid-infer gallery query --model run",
    ),
    Row("reid-infer gallery query", gone("bundle"), "bundle: no such model"),
    Row("reid-infer gallery query --model dangling", link("dangling", "gone"), "dangling: no such model"),
    Row("reid-infer gallery query --model it", circle("it"), "it.*(no such model|symbolic links)"),
    Row("reid-infer gallery query --model gallery", says="gallery holds neither a bundle"),
    Row("reid-infer gallery query --model saved.npz", says="saved.npz"),
    Row(
        "reid-infer gallery query --model it.onnx", text("it.onnx", b""), "it.onnx.*(cannot load it|not an ONNX graph)"
    ),
    Row("reid-infer gallery query --model it.onnx", text("it.onnx"), "it.onnx.*(cannot load it|not an ONNX graph)"),
    Row("reid-infer gallery query --model it.onnx", sparse("it.onnx"), "it.onnx"),
    Row("reid-infer gallery query --model it.safetensors", text("it.safetensors", b""), "it.safetensors is damaged"),
    Row("reid-infer gallery query --model it.safetensors", text("it.safetensors"), "it.safetensors is damaged"),
    Row("reid-infer gallery query --model it.safetensors", sparse("it.safetensors"), "it.safetensors is damaged"),
    Row("reid-infer gallery query --model it.json", text("it.json", "{}"), "it.json holds no checkpoint"),
    Row(
        "reid-infer gallery query",
        forbidden("bundle/model.fp32.onnx"),
        "model.fp32.onnx: [Pp]ermission denied",
        unprivileged=True,
    ),
    Row("reid-infer gallery query", forbidden("bundle"), "permission denied", unprivileged=True),
    # graphs on their own
    Row("reid-infer gallery query --model it.onnx", graph("it.onnx", without_card), "it.onnx carries no model card"),
    Row(
        "reid-infer gallery query --model it.onnx",
        graph("it.onnx", other_card({"levels": [{"name": "level3", "size": 2_000_000}]})),
        "it.onnx: the model card is not valid .*levels.0.size",
        at_most=300,
    ),
    Row(
        "reid-infer gallery query --model it.onnx",
        graph("it.onnx", other_card({"levels": [{"name": "level3", "size": 16}] * 99})),
        "it.onnx: the model card is not valid .*levels",
    ),
    Row(
        "reid-infer gallery query --model it.onnx",
        graph("it.onnx", other_card({"levels": [{"name": "neck", "size": 16}]})),
        "it.onnx: the model card is not valid .*levels.0.name",
    ),
    Row(
        "reid-infer gallery query --model it.onnx",
        graph("it.onnx", other_card({"preprocessing:height": 10**9})),
        "it.onnx: the model card is not valid .*preprocessing",
    ),
    Row(
        "reid-infer gallery query --model it.onnx",
        graph("it.onnx", other_card({"levels": [{"name": "level3", "size": 65_536}]})),
        "it.onnx: .*(card says|instead of)",
        at_most=600,
    ),
    Row(
        "reid-infer gallery query --model it.onnx",
        graph("it.onnx", other_card({"format_version": 99})),
        "format version 99 is newer than 1: update reid",
    ),
    Row(
        "reid-infer gallery query --model it.onnx",
        graph("it.onnx", other_card("[" * 100_000)),
        "it.onnx: the model card is not valid",
    ),
    Row(
        "reid-infer gallery query --model it.onnx",
        graph("it.onnx", other_card('{"format_version": NaN}')),
        "it.onnx: the model card is not valid",
    ),
    Row("reid-infer gallery query --model it.onnx", graph("it.onnx", external("weights.bin")), "it.onnx"),
    Row(
        "reid-infer gallery query --model it.onnx",
        (text("secret", bytes(4096)), graph("deep/it.onnx", external("../secret"))),
        "it.onnx",
    ),
    # the card of a bundle
    Row("reid-infer gallery query", text("bundle/model.json", b""), "bundle/model.json: the model card is not valid"),
    Row("reid-infer gallery query", text("bundle/model.json", "[]"), "bundle/model.json: the model card is not valid"),
    Row(
        "reid-infer gallery query",
        text("bundle/model.json", b"\xff\xfe\0"),
        "bundle/model.json: the model card is not valid",
    ),
    Row("reid-infer gallery query", nested("bundle/model.json"), "bundle/model.json: the model card is not valid"),
    Row("reid-infer gallery query", cut("bundle/model.json"), "bundle/model.json: the model card is not valid"),
    Row("reid-infer gallery query", sparse("bundle/model.json"), "bundle/model.json: 274,877,906,944 bytes, more than"),
    Row("reid-infer gallery query", fifo("bundle/model.json"), "bundle.*(a named pipe|neither a bundle)"),
    Row("reid-infer gallery query", zero("bundle/model.json"), "bundle.*(a device|neither a bundle)"),
    Row("reid-infer gallery query", removed("bundle/model.json"), "bundle holds neither a bundle .*nor a checkpoint"),
    *(
        Row(
            "reid-infer gallery query",
            json_with("bundle/model.json", changes),
            f"bundle/model.json: the model card is not valid .*{says}",
        )
        for changes, says in (
            ({"format_version": 2}, "format version 2 is newer"),
            ({"format_version": "x"}, "format_version"),
            ({"levels": []}, "levels"),
            ({"levels:0:size": 2_000_000}, "levels.0.size"),
            ({"levels:0:size": -1}, "levels.0.size"),
            ({"levels:0:name": "level3/../../x"}, "levels.0.name"),
            ({"levels:1:name": "level3"}, "same name"),
            ({"preprocessing:mean": [float("nan")] * 3}, "mean"),
            ({"preprocessing:height": 10**9}, "height"),
            ({"preprocessing:color": "CMYK"}, "color"),
            ({"preprocessing": GONE}, "preprocessing"),
            ({"similarity": {"fp32": -2}}, "similarity"),
            ({"similarity": {"fp64": 0.9}}, "similarity"),
            ({"fingerprint": "x" * 10_000}, "fingerprint"),
            ({"files:../outside.jpg": "0" * 64}, "not the path of a file"),
            ({"files:/etc/passwd": "0" * 64}, "not the path of a file"),
            ({"files:reference/./a.jpg": "0" * 64}, "not the path of a file"),
            ({"files:reference//a.jpg": "0" * 64}, "not the path of a file"),
            ({"files:a\\b.jpg": "0" * 64}, "not the path of a file"),
            ({"files:\x1b[2J.jpg": "0" * 64}, "not the path of a file"),
            ({"files:model.fp32.onnx": "no digest"}, "files"),
        )
    ),
    # the files of a bundle
    Row(
        "reid-infer gallery query",
        removed("bundle/model.fp32.onnx"),
        "bundle/model.fp32.onnx is missing from the bundle",
    ),
    Row(
        "reid-infer gallery query",
        cut("bundle/model.fp32.onnx"),
        "bundle/model.fp32.onnx is not the file that was exported",
    ),
    Row("reid-infer gallery query", fifo("bundle/model.fp32.onnx"), "bundle/model.fp32.onnx: a named pipe"),
    Row("reid-infer gallery query", zero("bundle/model.fp32.onnx"), "bundle/model.fp32.onnx.*(a device|is a link)"),
    Row(
        "reid-infer gallery query",
        (removed("bundle/report.html"), folder("bundle/report.html")),
        "bundle/report.html: a folder",
    ),
    Row("reid-infer gallery query", text("bundle/verification.json"), "bundle/verification.json is not the file"),
    Row(
        "reid-infer gallery query",
        json_with("bundle/model.json", {"files:reference/embeddings.npy": GONE}),
        "bundle lists no reference embeddings",
    ),
    Row(
        "reid-infer gallery query",
        (text("bundle/reference/embeddings.npy"), listed("bundle/reference/embeddings.npy")),
        "bundle: its reference embeddings cannot be read",
    ),
    Row(
        "reid-infer gallery query",
        (cut("bundle/reference/embeddings.npy"), listed("bundle/reference/embeddings.npy")),
        "bundle: its reference embeddings cannot be read",
    ),
    Row(
        "reid-infer gallery query",
        (
            text("bundle/reference/embeddings.npy", npy(np.zeros((3, 32), np.float32))),
            listed("bundle/reference/embeddings.npy"),
        ),
        "bundle: its reference crops and their embeddings do not match",
    ),
    Row(
        "reid-infer gallery query",
        (
            text("bundle/reference/embeddings.npy", npy(np.zeros(0), claims=(1 << 40,))),
            listed("bundle/reference/embeddings.npy"),
        ),
        "bundle: its reference embeddings cannot be read",
        at_most=300,
    ),
    Row(
        "reid-infer gallery query",
        (text("bundle/reference/extra.jpg"), listed("bundle/reference/extra.jpg")),
        "bundle: its reference crops and their embeddings do not match",
    ),
    Row(
        "reid-infer gallery query --model bundle/alias.onnx",
        link("bundle/alias.onnx", "model.fp32.onnx"),
        "results",
        0,
        ("results",),
    ),
    Row(
        "reid-infer gallery query --model bundle/other.onnx",
        graph("bundle/other.onnx", lambda model: None),
        "bundle/other.onnx is not one of the graphs of bundle",
    ),
    Row(
        "reid-infer gallery query",
        (graph("bundle/model.fp32.onnx", external("weights.bin")), listed("bundle/model.fp32.onnx")),
        "bundle",
    ),
    Row(
        "reid-infer gallery query",
        (moved("bundle/model.fp32.onnx", "moved.onnx"), link("bundle/model.fp32.onnx", "../moved.onnx")),
        "bundle/model.fp32.onnx",
    ),
    Row("reid-infer gallery query", foreign("bundle/notes.txt"), "results", 0, ("results",)),
    Row(
        "reid-infer gallery query",
        (graph("bundle/model.fp32.onnx", other_card({"backbone": "other"})), listed("bundle/model.fp32.onnx")),
        "bundle/model.json is not the card of its graph",
    ),
    # sessions and precisions
    Row(
        "reid-infer gallery query --precision int8",
        says="bundle has no int8 graph; choose one of: fp32",
        then="reid-infer gallery query --precision fp32",
    ),
    Row("reid-infer gallery query --precision int4", says="--precision", code=2),
    Row(
        "reid-infer gallery query --session quantum",
        says="unknown session 'quantum'; choose one of",
        then="reid-infer gallery query --session onnxruntime",
    ),
    Row("reid-infer gallery query --session ''", says="unknown session ''"),
    Row("reid-infer gallery query --session :cpu", says="unknown session ''"),
    Row(
        "reid-infer gallery query --session onnxruntime:tpu",
        says="unknown ONNX Runtime device 'tpu'",
        then="reid-infer gallery query --session onnxruntime:cpu",
    ),
    Row("reid-infer gallery query --session '\x1b[2J'", says="unknown session"),
    Row("reid-infer gallery query --model run --session onnxruntime", says="run"),
    Row(
        "reid-infer gallery query --session triton:localhost:1", says="localhost:1: Triton cannot be reached .*start it"
    ),
    Row(
        "reid-infer gallery query --session triton:localhost",
        says="no device 'localhost'; write triton:HOST:PORT/MODEL",
    ),
    Row("reid-infer gallery query --session triton:localhost:1/../x", says="write triton:HOST:PORT/MODEL/VERSION"),
    Row("reid-infer gallery query --session 'triton:localhost:1/\x1b[2J'", says="Triton has no device"),
    Row(
        "reid-infer gallery query --session triton:localhost:1/reid_frames_fp16",
        says="in fp16 by its name, not in fp32; add --precision fp16",
    ),
    Row("reid-infer gallery query --session tensorrt", says="TensorRT|tensorrt|GPU"),
    Row(
        "reid-infer gallery query --session openvino:GPU",
        says="OpenVINO has no device 'GPU' here; use openvino:cpu",
        then="reid-infer gallery query --session openvino:cpu",
    ),
    Row("reid-infer gallery query --model it.onnx --session openvino", text("it.onnx"), "it.onnx.*not an ONNX graph"),
    Row("reid-infer gallery query --model it.onnx --session openvino", fifo("it.onnx"), "it.onnx.*a named pipe"),
    Row("reid-infer gallery query --model it.onnx --session openvino", zero("it.onnx"), "it.onnx.*a device"),
    Row(
        "reid-infer gallery query --model it.onnx --session openvino",
        graph("it.onnx", external("/etc/passwd")),
        "it.onnx",
    ),
    Row(
        "reid-infer gallery query --session openvino",
        cut("bundle/model.fp32.onnx"),
        "is not the file that was exported",
    ),
    Row("reid-infer gallery query --model run --session torch:tpu", says="tpu"),
    Row("reid-infer gallery query --model run --session torch", cut("run/checkpoint.safetensors"), "is damaged"),
    Row("reid-infer gallery query --session torch", says="bundle"),
    Row("reid-infer gallery query --model bundle/model.fp32.onnx --precision int8", says="single graph|no int8 graph"),
)

OUTPUTS = (
    Row(
        "reid-infer gallery query --output query",
        says="query is query, which is an input",
        then="reid-infer gallery query --output elsewhere",
    ),
    Row("reid-infer gallery query --output gallery", says="gallery is gallery, which is an input"),
    Row("reid-infer gallery query --output bundle", says="bundle is bundle, which is an input"),
    Row("reid-infer gallery query --output query/results", says="query/results lies in query, which is an input"),
    Row("reid-infer gallery query --output gallery/track/deep/er", says="lies in gallery, which is an input"),
    Row("reid-infer gallery query --output bundle/results", says="lies in bundle, which is an input"),
    Row("reid-infer gallery query --output .", (own("gallery"), own("query")), "^error: . holds .*which is an input"),
    Row("reid-infer gallery query --output ..", says=r"^error: \.\. holds "),
    Row("reid-infer gallery query --output it", link("it", "gallery"), "it is gallery, which is an input"),
    Row("reid-infer gallery query --output it/deep", link("it", "query"), "it/deep lies in query"),
    Row("reid-infer saved.npz query --output saved.npz", says="saved.npz.*(which is an input|not a folder)"),
    Row(
        "reid-infer results/saved.npz query",
        (own("saved.npz"), folder("results"), moved("saved.npz", "results/saved.npz")),
        "results holds results/saved.npz, which is an input",
        then="reid-infer results/saved.npz query --output elsewhere",
    ),
    # what is there already
    Row("reid-infer gallery query --output it", text("it"), "it exists and is not a folder; choose another --output"),
    *(
        Row("reid-infer gallery query --output it", make("it"), "it exists and is not a folder")
        for make in (fifo, socket, zero)
    ),
    Row("reid-infer gallery query --output dangling", link("dangling", "gone"), "dangling exists and is not a folder"),
    Row("reid-infer gallery query --output it", circle("it"), "it"),
    Row(
        "reid-infer gallery query --output it",
        foreign("it/thesis.tex"),
        "it holds thesis.tex, which is not as reid wrote",
        then="reid-infer gallery query --output elsewhere",
    ),
    Row(
        "reid-infer gallery query --output it",
        (text("it/rankings.json", "{}"), foreign("it/thesis.tex")),
        "it holds .*, which is not as reid wrote",
    ),
    Row("reid-infer gallery query --output it", text("it/rankings.json", "{}"), "it holds rankings.json, which is not"),
    Row(
        "reid-infer gallery query --output it",
        text("it/.reid-manifest.json", '{"format_version": 1, "files": {}}'),
        "it",
        0,
        changes=("it",),
    ),
    Row(
        "reid-infer gallery query --output it",
        (text("it/.reid-manifest.json", "[" * 100_000), foreign("it/a")),
        "it holds",
    ),
    Row("reid-infer gallery query --output it", (fifo("it/.reid-manifest.json"), foreign("it/a")), "it holds"),
    Row("reid-infer gallery query --output it", zero("it/.reid-manifest.json"), "it holds"),
    Row("reid-infer gallery query --output it", fifo("it/pipe"), "it holds pipe, which is not as reid wrote"),
    Row("reid-infer gallery query --output it", foreign("it/deep/er/thesis"), "it holds deep/er/thesis"),
    Row("reid-infer gallery query --output it", folder("it"), "it", 0, changes=("it",)),
    # where nothing can be written
    Row("reid-infer gallery query --output file/results", text("file"), "file.*(Not a directory|not a folder)"),
    Row("reid-infer gallery query --output /proc/results", says="/proc"),
    Row("reid-infer gallery query --output /dev/null", says="/dev/null exists and is not a folder"),
    Row(f"reid-infer gallery query --output {'n' * 256}", says="n{200}.*: File name too long"),
    Row(f"reid-infer gallery query --output {'n' * 255}", says="n{200}"),
    Row(
        "reid-infer gallery query --output it/results",
        (folder("it"), forbidden("it", 0o555)),
        "it.*: permission denied",
        unprivileged=True,
    ),
    Row(
        "reid-infer gallery query --output it",
        (folder("it"), forbidden("it", 0o555)),
        "it.*: permission denied",
        unprivileged=True,
    ),
    Row("reid-infer gallery query --output ''", says="which is an input|which is not as reid wrote"),
    Row("PYTHONIOENCODING=ascii reid-infer gallery query --output ö", says="", code=0, leaves=("ö",)),
    Row("reid-infer gallery query --output 'o\x1b[2J'", says="report.html", code=0, leaves=("*",)),
)

_BIG = "1" + "0" * 30
_HUGE = "9" * 5000

NUMBERS = (
    *(
        Row(f"reid-infer gallery query --top-k {value}", says="--top-k", code=2)
        for value in ("0", "-1", "1000001", "1.5", "ten", "nan", "''", "1e3", _BIG, _HUGE)
    ),
    *(
        Row(f"reid-infer gallery query --max-pixels {value}", says="--max-pixels", code=2)
        for value in ("0", "-1", "1e9", _BIG, _HUGE)
    ),
    *(
        Row(f"REID_MAX_PIXELS={value} reid-infer gallery query", says="REID_MAX_PIXELS|--max-pixels", code=2)
        for value in ("0", "-5", "abc", "nan", "1.5", _BIG, _HUGE)
    ),
    *(
        Row(f"OMP_NUM_THREADS={value} reid-infer gallery query", says=f"OMP_NUM_THREADS is '{value[:40]}")
        for value in ("0", "-1", "abc", "99999999999", "1.5", "4,x", "0,4", _BIG, _HUGE)
    ),
    Row(
        "OMP_NUM_THREADS=none reid-infer gallery query",
        says="OMP_NUM_THREADS is 'none': set it to an integer from 1 to 1024, or unset it",
        then="OMP_NUM_THREADS=1 reid-infer gallery query",
    ),
    Row("reid-infer gallery", says="QUERY", code=2),
    Row("reid-infer", says="GALLERY", code=2),
    Row("reid-infer gallery query more", says="more", code=2),
    Row("reid-infer gallery query --modle bundle", says="--modle", code=2),
    Row("reid-infer gallery query --model", says="--model", code=2),
    Row("reid-infer gallery query --frames '\x1b[2J'", says="--frames", code=2),
)
