"""What reaches the terminal: no control characters, results that are whole, and an error where they cannot be."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.runtime.text import clipped, one_line, printable

HOSTILE = "a\x1b[31mred\x07\r\t\x9b2J\u202egpj.\u2066\u200b\x00\x7f\udcff"
"""Colors, a bell, a carriage return, a C1 sequence, marks of direction and of nothing, and an undecodable byte."""

PROGRAM = """
import logging, os, signal, time
from pathlib import Path
import typer
from reid.commands.shell import application, print_json, run
from reid.commands.terminal import print_result, print_tables
from reid.runtime.text import printable
from reid.runtime.errors import DataError
app = application()
@app.command()
def command(word: str) -> None:
    {body}
run(app)
"""


def program(
    body: str, word: str = "word", stdout: int | None = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command with this body in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body), word],
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | environment,
        timeout=60,
        check=False,
    )


@given(st.text(st.characters(codec=None)))
def test_nothing_printable_has_an_effect_and_every_letter_stays(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    letters = [one for one in text if one.isalnum()]
    assert [one for one in shown if one.isalnum() and not one.isascii()] == [one for one in letters if one > "\x7f"]
    if all(" " <= one <= "~" for one in text):
        assert shown == text


def test_an_escape_says_which_character_it_stands_for() -> None:
    assert printable(HOSTILE) == (r"a\x1b[31mred\x07\r\t\x9b2J\u202egpj.\u2066\u200b\x00\x7f\udcff")
    assert printable(Path("Straße 東京\u3000.jpg")) == "Straße 東京\u3000.jpg"
    assert one_line("a\nb\r\nc") == r"a b\r c"


def test_a_long_line_keeps_its_cause_and_its_remedy() -> None:
    line = f"error: cause {'x' * 5000}; remedy"
    assert len(clipped(line)) == 2000
    assert clipped(line).startswith("error: cause x")
    assert clipped(line).endswith("x; remedy")
    assert clipped(line[:2000]) == line[:2000]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("raise DataError(f'{word}: bad')", 1),
        ("raise OSError(2, 'No such file', word)", 1),
        ("raise OSError(2, 'No such file', os.fsencode('x\\x1b'))", 1),
        ("raise typer.BadParameter(f'{word}\\n{word}')", 2),
        ("logging.getLogger('reid.part').warning('%s', word)", 0),
        ("logging.getLogger('reid.part').info('%s', word)", 0),
        ("print_result(printable(word))", 0),
        ("print_json({'word': word})", 0),
    ],
)
def test_no_name_reaches_the_terminal_raw(body: str, code: int) -> None:
    done = program(body, HOSTILE.replace("\x00", ""))
    assert done.returncode == code
    shown = done.stdout + done.stderr
    assert r"\x1b" in shown or r"\u001b" in shown
    assert all(one.isprintable() or one == "\n" for one in shown)
    assert len([line for line in shown.splitlines() if r"1b" in line]) == 1


def test_a_usage_error_of_the_parser_is_printable_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body="pass"), "word", HOSTILE.replace("\x00", "")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert all(one.isprintable() or one == "\n" for one in done.stderr)
    assert [line.startswith("Error: ") for line in done.stderr.splitlines()].count(True) == 1


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "utf-8:strict"])
def test_every_encoding_takes_every_name(encoding: str) -> None:
    done = program("print_result(printable(word))", "ö甲", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "ö甲\n".encode(encoding.partition(":")[0], "backslashreplace").decode()


def full_and_closed(body: str, word: str, unbuffered: str) -> Iterator[subprocess.CompletedProcess[str]]:
    """Run a command whose output is full, then one whose output nobody reads."""
    with Path("/dev/full").open("w") as full:
        yield program(body, word, full.fileno(), PYTHONUNBUFFERED=unbuffered)
    reader, writer = os.pipe()
    os.close(reader)
    yield program(body, word, writer, PYTHONUNBUFFERED=unbuffered)
    os.close(writer)


@pytest.mark.parametrize(
    ("body", "unbuffered"),
    [
        ("print_result('x'); print_result('y')", ""),
        ("print_result('x')", "1"),
        ("print_json({str(one): one for one in range(10_000)})", ""),
        ("print_tables(*['x' * 70] * 500)", ""),
        ("print_tables('x')", "1"),
    ],
)
def test_an_output_that_is_full_or_closed_is_one_line(body: str, unbuffered: str) -> None:
    reasons = ("No space left on device", "Broken pipe")
    for done, reason in zip(full_and_closed(body, "word", unbuffered), reasons, strict=True):
        assert done.returncode == 1
        assert re.fullmatch(rf"error: standard output takes no more \({reason}\); .*\n", done.stderr)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_that_is_not_taken_is_one_line(unbuffered: str) -> None:
    for done in full_and_closed("pass", "--help", unbuffered):
        assert done.returncode == 1
        assert re.fullmatch(r"error: .*\n", done.stderr)


def in_shell(redirection: str, body: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(PROGRAM.format(body=body))
    words = f"'{sys.executable}' program.py word {redirection}"
    return subprocess.run(["sh", "-c", words], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_an_output_that_was_never_open_is_refused_before_the_work(tmp_path: Path) -> None:
    done = in_shell(">&-", "Path('made').touch()", tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"error: standard output is closed; .*\n", done.stderr)
    assert not (tmp_path / "made").exists()


def test_without_standard_error_no_file_gets_its_number(tmp_path: Path) -> None:
    body = "logging.getLogger('reid').warning('x'); print_result(str(os.open('made', os.O_CREAT | os.O_WRONLY)))"
    done = in_shell("2>&-", body, tmp_path)
    assert done.returncode == 0
    assert int(done.stdout) > 2


def test_notes_that_cannot_be_printed_stop_nothing(tmp_path: Path) -> None:
    done = in_shell("2>/dev/full", "logging.getLogger('reid').warning('x'); print_result('result')", tmp_path)
    assert (done.returncode, done.stdout) == (0, "result\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_unwinds_and_gives_its_exit_code(number: int, code: int, tmp_path: Path) -> None:
    body = f"""
    try:
        os.kill(os.getpid(), {int(number)})
        time.sleep(30)
    finally:
        print('unwound')
    """
    done = program(body)
    assert (done.returncode, done.stdout, done.stderr) == (code, "unwound\n", "")


@pytest.mark.parametrize("value", ["abc", "0", "-1", "99999999999"])
def test_a_senseless_number_of_threads_is_one_line_before_the_work(value: str) -> None:
    done = program("print('work')", OMP_NUM_THREADS=value)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"error: OMP_NUM_THREADS is '{value}': .*\n", done.stderr)
    assert program("pass", "--help", OMP_NUM_THREADS=value).returncode == 0


@pytest.fixture
def hostile_data(veri: Path, tmp_path: Path) -> Path:
    """A data set with a file whose name would steer a terminal."""
    root = tmp_path / "veri"
    (root / "image_query").mkdir(parents=True)
    for part in ("image_train", "image_test"):
        (root / part).symlink_to(veri / part)
    for name in ("name_train.txt", "name_query.txt", "name_test.txt", "train_label.xml", "test_label.xml"):
        (root / name).symlink_to(veri / name)
    (root / "image_query" / "evil\x1b]0;owned\x07\u202e.jpg").write_bytes(b"no picture")
    return root


def test_inspect_shows_a_hostile_name_and_does_not_obey_it(
    hostile_data: Path, run_main: Callable[..., tuple[int, str, str]]
) -> None:
    from reid.commands.data import main

    code, out, err = run_main(main, "reid-data", "inspect", hostile_data)
    assert code == 0, err
    assert r"evil\x1b]0;owned\x07\u202e.jpg" in out
    assert all(one.isprintable() or one == "\n" for one in out + err)
    assert json.loads(run_main(main, "reid-data", "inspect", hostile_data, "--json")[1])["problems"]
