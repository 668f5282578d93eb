"""The README's commands and its Python, run as they stand, in a folder of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_the_main_path_and_the_python_example_run_as_they_stand(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    (commands,) = blocks("bash")
    assert len(commands.splitlines()) == 5
    for command in commands.splitlines():
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "results" / "report.html").is_file()
    (example,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(list((tmp_path / "rendered" / "image_query").iterdir()))


def test_every_file_that_the_tree_names_exists() -> None:
    (tree,) = (block for block in blocks("") if "MultiLevelReID" in block)
    folder = Path()
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        names = [word for word in line.split("  ")[0 if indent == 0 else 1 :] if re.fullmatch(r"[\w/.]+", word.strip())]
        for name in (word.strip() for word in names):
            if indent == 0:
                folder = Path(name)
                assert (ROOT / folder).is_dir(), name
            elif indent == 2:
                assert (ROOT / folder / name).exists(), f"{folder}/{name}"


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
