"""Every function of the package that makes files or folders, and where the names come from that it gives them.

A function that is not listed here fails the test, so that whoever writes one decides whether a stranger's file could
choose where it writes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import reid

PACKAGE = Path(reid.__file__).parent

WRITERS = {
    *(
        "write_text",
        "write_bytes",
        "mkdir",
        "makedirs",
        "touch",
        "rename",
        "symlink_to",
        "hardlink_to",
        "link",
        "symlink",
    ),
    *("copyfile", "copytree", "save", "savez", "savez_compressed", "tofile", "imwrite"),
    *("mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryDirectory", "SummaryWriter"),
    *("atomic_write", "atomic_directory", "amended_directory", "replaceable_directory", "workspace_for"),
}
NOT_FILES = {
    "bench.host.__main__.main: fdopen",
    "commands.calibrate._measure: save",
    "train.tensor_file.tensors_to_bytes: save",
}

OWN_NAMES = (
    "bench.host.protocol.Host._embed_all",
    "bench.material",
    "bench.measure.measure",
    "bench.peers.trtexec_subject.TrtexecPeer",
    "bench.process.start_host",
    "bench.report",
    "calibration.journal.Journal",
    "calibration.probe._embed",
    "calibration.scales.ScaleFile.save",
    "commands.bench.bench",
    "commands.calibrate._measure",
    "commands.gallery_travel.learn_travel",
    "commands.infer.infer",
    "commands.verify._write_again",
    "commands.verify.verify",
    "data.conversion.convert._write_lists",
    "data.conversion.convert.convert",
    "data.synthesis.veri",
    "evaluation.challenge.write_submission",
    "evaluation.verification.engines.record_judgment",
    "evaluation.verification.stored_retrieval.write_retrieval",
    "export.bundle",
    "export.deepstream",
    "export.engines.marked.options_of",
    "export.engines.timing_cache.save_timing_cache",
    "export.engines.trace.SessionTrace",
    "export.frames_graph",
    "export.graphs.save_graph",
    "export.hub_card",
    "export.int8",
    "export.rejection.leave_report",
    "export.triton",
    "pages",
    "runtime.doctor",
    "runtime.embedding_jobs",
    "runtime.files.manifest.replaceable_directory",
    "runtime.files.publishing",
    "runtime.files.storage",
    "runtime.files.user_cache.remember",
    "runtime.galleries",
    "runtime.live.keeping",
    "runtime.marks.write_counterparts",
    "runtime.migration_places",
    "train.failures.not_finite",
    "train.loop._Loop",
    "train.model.checkpoint.save_checkpoint",
    "train.report.write",
    "train.run",
    "train.tensor_file.tensors_to_bytes",
    "train.trial.write_checkpoint",
)
"""Their names are constants, the user's own options, or made of the names of the output itself."""

NAMES_FROM_FILES = {
    "data.conversion.convert._copy": "check_relative_name",  # the names of images in a table
    "export.bundle._write_reference": "check_name",  # the names of a checkpoint's reference crops
    "serve.pictures._written": "check_relative_name",  # the ids that clients give
    "export.engines.build.build_engine": "_slug",  # the GPU's name, as its driver says it
}
"""These give names that were read from somewhere: -> the function that every such name goes through there."""


def writing_calls(module: str, tree: ast.AST) -> Iterator[str]:
    """Yield "module.Class.function: call" for every call that may make a file or a folder."""

    def walk(node: ast.AST, where: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            inner = where
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                inner = f"{where}.{child.name}"
            elif isinstance(child, ast.Call):
                name = child.func.attr if isinstance(child.func, ast.Attribute) else getattr(child.func, "id", "")
                if name in WRITERS or (name in ("open", "fdopen") and _writes(child)):
                    yield f"{where}: {name}"
            yield from walk(child, inner)

    return walk(tree, module)


def _writes(call: ast.Call) -> bool:
    words = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)


def found() -> set[str]:
    calls: set[str] = set()
    for room in PACKAGE.iterdir():
        for file in room.rglob("*.py") if room.is_dir() else ():
            module = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
            calls |= set(writing_calls(module, ast.parse(file.read_text())))
    return {call.partition(": ")[0] for call in calls - NOT_FILES}


def test_every_writer_is_known() -> None:
    writers = found()
    assert len(writers) > 30
    unknown = {
        writer
        for writer in writers - NAMES_FROM_FILES.keys()
        if not any(writer == known or writer.startswith(f"{known}.") for known in OWN_NAMES)
    }
    assert sorted(unknown) == []
    assert writers >= NAMES_FROM_FILES.keys()


@pytest.mark.parametrize("writer", NAMES_FROM_FILES)
def test_names_from_elsewhere_are_checked_where_they_are_given_to_files(writer: str) -> None:
    module, _, name = writer.rpartition(".")
    tree = ast.parse(PACKAGE.joinpath(*module.split(".")).with_suffix(".py").read_text())
    (function,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)
    assert f"{NAMES_FROM_FILES[writer]}(" in ast.unparse(function)


def test_a_new_writer_would_be_found() -> None:
    source = (
        "def f(path):\n    path.write_bytes(b'')\n\nclass A:\n    def g(self):\n        with open('x', mode='w'): pass"
    )
    assert set(writing_calls("m", ast.parse(source))) == {"m.f: write_bytes", "m.A.g: open"}
    assert not set(writing_calls("m", ast.parse("def f(path):\n    path.open('rb'); open('w.txt'); 'a'.split('w')")))
