"""The table of everything that reid reads."""

from __future__ import annotations

from fuzz import loaders
from fuzz.mutators import (
    BYTES,
    NASTY_TEXTS,
    Mutator,
    bundle_files,
    header_integer,
    insert_any,
    jpeg_segments,
    json_facts,
    json_lines,
    long_header_integer,
    png_chunks,
    protobuf_fields,
    safetensors_header,
    sealed_facts,
    store_files,
    tar_headers,
    zip_bomb,
    zip_members,
)
from fuzz.runner import Format

__all__ = ["FORMATS"]


def _mostly(*own: Mutator) -> tuple[Mutator, ...]:
    """Return mutators of which three in four know the format."""
    return (*BYTES, *own * (3 * len(BYTES) // len(own)))


def _image(*files: str) -> str:
    """Return the modules that read images of a format."""
    return " ".join(("runtime.imaging", *(f"runtime.image_headers.{file}" for file in ("reading", *files))))


_WORDS = insert_any(
    *(text.encode("utf-8", "surrogatepass") for text in NASTY_TEXTS),
    *(name.encode() for name in loaders.LISTED),
    *(b"\r\n", b"\n\n", b"\t", b"\x85", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc4\xe3", b"-1_c1s1_0_0.jpg"),
)
_MARKUP = insert_any(
    b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>',
    b'<!DOCTYPE a SYSTEM "file:///etc/passwd">',
    b'<!DOCTYPE a [<!ENTITY x SYSTEM "/etc/passwd">]>',
    *(b"&c;&c;&c;&c;&c;&c;&c;&c;", b"&x;", b"&#0;", b"&#x10FFFF;", b"<a>" * 5000, b"<![CDATA[", b"<!--", b"<?xml?>"),
    *(b'<Item imageName=""/>', b'<Item imageName="../../x.jpg" vehicleID="9" cameraID="c9"/>', b"<Item/>", b"gb18030"),
    *(b"imageName", b"vehicleID", b"cameraID", b"Item", b'encoding="UTF-16"', b' version="1.1"', b"\xff\xfe<\0a\0"),
)

_STORE = " ".join(f"runtime.galleries.store.{name}" for name in ("manifest", "blocks", "segment", "snapshot", "layout"))
_ARCHIVES = "runtime.files.archives runtime.files.catalog runtime.files.reading"
_LISTS = "data.readers.lists data.readers.veri data.readers.cityflow data.tracks"
_CELLS = insert_any(
    *(b'"', b'""', b'",', b'"\r\n', b"'", b",", b";", b"\t", b",,,,,,,,", b"\r", b"\0", b"sep=,\n", b"sep=\0\n", b"|"),
    *(
        b"path",
        b"vehicle",
        b"split",
        b"track",
        b"-1",
        b"1e999",
        b"nan",
        b"9" * 5000,
        b"0001-01-01",
        b"9999-12-31T23:59",
    ),
    *(
        b"=1+1",
        b'"' + b"x" * 200_000,
        b"\\..\\",
        b"C:\\a.jpg",
        b"./",
        b"/",
        b"image/0000001.jpg",
        b"query",
        b"2024-13-01",
    ),
)
_TABLE = "data.readers.table data.readers.table_file"
_CARD = "runtime.model_card runtime.training_facts runtime.files.validation runtime.files.names"
_CHECKPOINT = "train.model.checkpoint train.model.architecture train.model.quantization train.tensor_file"
_PAGE = "evaluation.verification.reading pages.verification.report"
_BENCHMARK = "bench.reading bench.recommendation bench.compare bench.report.table bench.report.page"

FORMATS = (
    Format("JPEG", loaders.jpeg, _mostly(jpeg_segments), _image("jpeg"), 90),
    Format("PNG", loaders.png, _mostly(png_chunks), _image("png"), 90),
    Format("BMP", loaders.bmp, _mostly(header_integer), _image("pixel_rows"), 40),
    Format("WebP", loaders.webp, _mostly(header_integer), _image("webp"), 60),
    Format("TIFF", loaders.tiff, _mostly(long_header_integer), _image("tiff"), 40),
    Format("GIF", loaders.gif, _mostly(long_header_integer), _image("gif"), 40),
    Format("JPEG 2000", loaders.jpeg_2000, _mostly(long_header_integer), _image("jpeg2000", "boxes"), 40),
    Format("AVIF", loaders.avif, _mostly(long_header_integer), _image("avif", "av1", "boxes"), 40),
    Format("PNM and Sun raster", loaders.plain_rows, _mostly(header_integer), _image("pixel_rows"), 30),
    Format(
        "other images",
        loaders.other_images,
        _mostly(header_integer),
        "runtime.imaging runtime.image_headers.reading",
        20,
    ),
    Format(
        "archive .zip",
        loaders.zip_archive,
        (*_mostly(zip_members), zip_bomb),
        f"{_ARCHIVES} runtime.files.zip_format",
        30,
    ),
    Format("archive .tar", loaders.tar_archive, _mostly(tar_headers), f"{_ARCHIVES} runtime.files.tar_format", 30),
    Format("label XML of CityFlow", loaders.label_xml, _mostly(_MARKUP, _WORDS), _LISTS, 40),
    Format("label XML of VeRi", loaders.veri_label_xml, _mostly(_MARKUP, _WORDS), _LISTS, 30),
    Format("name list", loaders.name_list, _mostly(_WORDS), _LISTS, 40),
    Format("track list", loaders.track_list, _mostly(_WORDS), _LISTS, 40),
    Format(
        "list of VehicleID", loaders.vehicleid_list, _mostly(_WORDS), "data.readers.vehicleid data.readers.lists", 20
    ),
    Format("list of VERI-Wild", loaders.veriwild_list, _mostly(_WORDS), "data.readers.veriwild data.readers.lists", 20),
    Format("cameras of VERI-Wild", loaders.veriwild_cameras, _mostly(_WORDS, _CELLS), "data.readers.veriwild", 20),
    Format("table", loaders.table, _mostly(_WORDS, _CELLS), _TABLE, 40),
    Format("table in Parquet", loaders.parquet_table, _mostly(header_integer), _TABLE, 15),
    Format("file name", loaders.file_name, _mostly(_WORDS), "runtime.file_names", 50),
    Format("environment", loaders.environment, _mostly(_WORDS), "runtime.environment runtime.sessions.threads", 40),
    Format("model card", loaders.model_card, _mostly(json_facts), _CARD, 60),
    Format("engine card", loaders.engine_card, _mostly(json_facts, sealed_facts), "runtime.engine_card", 30),
    Format("verification", loaders.verification, _mostly(json_facts), _PAGE, 30),
    Format("reference distribution", loaders.distributions, _mostly(json_facts), "runtime.data_drift.reference", 20),
    Format("scale file", loaders.scales, _mostly(json_facts), "calibration.scales", 25),
    Format("benchmark result", loaders.benchmark, _mostly(json_facts), _BENCHMARK, 15),
    Format("tolerances", loaders.tolerances, _mostly(json_facts), "evaluation.verification.tolerances", 20),
    Format("INT8 record", loaders.int8_record, _mostly(json_facts), "export.int8.record", 15),
    Format("run.json", loaders.run_origin, _mostly(json_facts), "train.run.origin", 25),
    Format("metrics.jsonl", loaders.metrics, _mostly(json_lines), "train.run.metrics train.run.folder", 15),
    Format("journal", loaders.journal, _mostly(json_facts), "calibration.journal", 25),
    Format("manifest", loaders.manifest, _mostly(json_facts), "runtime.files.manifest runtime.files.storage", 20),
    Format("bundle", loaders.bundle, (bundle_files,), "runtime.bundle runtime.files.arrays", 50),
    Format(
        "gallery",
        loaders.gallery,
        (*_mostly(zip_members), zip_bomb),
        "runtime.galleries.saved runtime.galleries.memory runtime.files.arrays",
        50,
    ),
    Format("gallery in a folder", loaders.stored_gallery, (store_files,), _STORE, 30),
    Format("sightings", loaders.sightings, _mostly(_WORDS, _CELLS), "runtime.sightings", 20),
    Format(
        "results kept in a bundle",
        loaders.stored_retrieval,
        (*_mostly(zip_members), zip_bomb),
        "evaluation.verification.stored_retrieval runtime.files.arrays",
        30,
    ),
    Format(
        "self-check memory", loaders.self_check, _mostly(json_facts), "runtime.self_check runtime.files.ownership", 15
    ),
    Format("checkpoint", loaders.checkpoint, _mostly(safetensors_header), _CHECKPOINT, 10),
    Format("run state", loaders.run_state, _mostly(safetensors_header), "train.run.state train.tensor_file", 20),
    Format("weights .pth", loaders.weights_pth, (*_mostly(zip_members), zip_bomb), "train.model.foreign_weights", 20),
    Format("weights .safetensors", loaders.weights_safetensors, _mostly(safetensors_header), "train.tensor_file", 20),
    Format("graph", loaders.graph, _mostly(protobuf_fields), "runtime.sessions.graph runtime.sessions.onnxruntime", 15),
    Format("graph in OpenVINO", loaders.graph_openvino, _mostly(protobuf_fields), "runtime.sessions.openvino", 5),
    Format("bundle in ONNX Runtime", loaders.opened_bundle, (bundle_files,), "runtime.opening runtime.self_check", 5),
    Format("Triton configuration", loaders.triton_config, _mostly(_WORDS), "export.triton", 10),
)
