"""`reid-gallery`, and its folders in `reid-infer`: stores, ids, outputs."""

from __future__ import annotations

from table.makers import cut, emptied, fifo, folder, foreign, json_with, nested, own, sparse, text
from table.row import Row

__all__ = ["CHANGES", "STORES"]

_MANIFEST = "store/gallery.json"

STORES = (
    Row("reid-gallery info nowhere", says="nowhere/gallery.json: No such file.*give the folder of a gallery"),
    Row("reid-gallery info it", text("it"), "it is not a readable gallery"),
    Row("reid-gallery verify it", text("it"), "it/gallery.json: Not a directory; give the folder of a gallery"),
    Row("reid-gallery info saved.npz", says="entries: ", code=0),
    Row("reid-gallery remove saved.npz a", says="saved.npz exists and is not a folder; .reid-gallery merge STORE FILE"),
    Row("reid-gallery info it", folder("it"), "it/gallery.json: No such file"),
    *(
        Row(line, make, f"store/gallery.json.*({says})")
        for line in ("reid-gallery verify store", "reid-infer store query")
        for make, says in (
            (cut(_MANIFEST), "valid"),
            (emptied(_MANIFEST), "valid"),
            (nested(_MANIFEST), "valid"),
            (sparse(_MANIFEST), "274,877,906,944 bytes, more than"),
            (json_with(_MANIFEST, {"dimensions": 10**9}), "dimensions"),
            (json_with(_MANIFEST, {"format_version": 99}), "99.*update reid"),
            (json_with(_MANIFEST, {"segments:0:rows": 2**31 - 1}), "its digest differs"),
            (json_with(_MANIFEST, {"segments:0:file": "../../etc/passwd"}), "segments.0.file"),
        )
    ),
    Row("reid-gallery info store", fifo(_MANIFEST), "store/gallery.json is damaged .a named pipe, not a file"),
    Row("reid-infer store query --output store/it", own("store"), "store/it lies in store, which is an input"),
    Row("reid-infer store query", says="results/report.html", code=0, leaves=("results",)),
)

CHANGES = (
    Row("reid-gallery append new nowhere", says="nowhere: no such folder"),
    Row("reid-gallery append new query --model nowhere", says="nowhere: no such model"),
    Row("reid-gallery append it query", text("it"), "it exists and is not a folder"),
    Row("reid-gallery append it query", foreign("it/thesis.tex"), "it exists and is not an empty folder"),
    Row("reid-gallery append query/it query", own("query"), "query/it lies in query, which is an input"),
    Row("reid-gallery append new query --storage int8", says="--storage", code=2),
    Row(
        "reid-gallery append store gallery",
        own("store"),
        "store has 4 of 4 tracklets already.*--skip-known",
        changes=("store",),
        then="reid-gallery append store gallery --skip-known",
    ),
    Row("reid-gallery remove store --ids it", (own("store"), text("it", "\n")), "it lists no ids"),
    Row("reid-gallery remove store --ids it", (own("store"), fifo("it")), "it: a named pipe"),
    Row("reid-gallery remove store --ids nowhere", own("store"), "nowhere: No such file"),
    Row("reid-gallery remove store", own("store"), "give ids, or a file with --ids", code=2),
    Row("reid-gallery merge new store nowhere", says="nowhere/gallery.json: No such file"),
    Row("reid-gallery merge store store", own("store"), "store is store, which is an input"),
    Row("reid-gallery compact it", foreign("it/thesis.tex"), "it/gallery.json: No such file"),
    # sightings and shards
    Row("reid-gallery append new query --sightings nowhere", says="nowhere: No such file.*id,camera,time_s"),
    Row("reid-gallery append new query --sightings it", fifo("it"), "it: a named pipe"),
    Row("reid-gallery append new query --sightings it", text("it", "id,time_s\n0.jpg,noon\n"), "it, line 2: .*'noon'"),
    Row("reid-gallery append new query --sightings it", text("it", "id,time_s\nx,1\n"), "name no tracklet of query"),
    Row("reid-gallery append new query --sightings it", text("it", "id, camera\n"), "it has the columns .* ' camera'"),
    Row("reid-gallery append new query --sightings it", text("it", "id,camera\n0.jpg, c\n"), "it, line 2: .*' c'"),
    Row("reid-gallery append new query --shard 0/0", says="such as 3/16", code=2),
    Row("reid-gallery append new query --shard 9/8", says="1/8 to 8/8", code=2),
    # elsewhere
    Row("reid-gallery info s3://bucket/x", says="s3://bucket/x: no such kind of gallery"),
    Row("reid-gallery append s3://bucket/x query", says="s3://bucket/x: no such kind of gallery"),
    Row("reid-gallery merge new store s3://bucket/x", says="s3://bucket/x: no such kind of gallery"),
    Row(
        "reid-gallery verify lance://it",
        says="lance://it has no checksums of ours to verify; give the folder of a gallery",
    ),
    # another model
    Row("reid-gallery migrate nowhere --model bundle", says="nowhere/gallery.json: No such file"),
    Row("reid-gallery migrate lance://it --model bundle", says="lance:/it/gallery.json: No such file"),
    Row("reid-gallery migrate store --model nowhere", says="nowhere: no such model"),
    Row("reid-gallery migrate store", says="--model", code=2),
    Row(
        "reid-gallery migrate store --model bundle",
        own("store"),
        "all 4 entries are of this model already",
        code=0,
        changes=("store",),
    ),
    # travel times
    Row("reid-gallery learn-travel nowhere", says="nowhere: no such folder"),
    Row("reid-gallery learn-travel store", says="store shows no vehicle twice at a known time"),
    Row("reid-gallery learn-travel query", says="query.*(does not look like|shows no vehicle twice)"),
    Row("reid-gallery learn-travel store --share 1", says="--share", code=2),
    Row("reid-gallery learn-travel store --clock nan", says="--clock", code=2),
)
