"""`python -m reid.runtime.doctor.child SAID FUNCTION NAME ...`: the process of one check; see `apart.py`.

It appends lines of JSON to the file SAID: texts, which say what it does next, and at last its finding, an object.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict
from importlib import import_module

from reid.runtime.doctor.check import Check
from reid.runtime.text import clipped, one_line

__all__ = ["main"]


def main() -> None:
    """Run the check that the arguments name."""
    said, function, name, *arguments = sys.argv[1:]
    _leave_no_core()
    module, _, attribute = function.partition(":")
    with open(said, "w", buffering=1) as file:

        def say(one: object) -> None:
            file.write(json.dumps(one) + "\n")

        try:
            say("importing reid")
            found = getattr(import_module(module), attribute)(name, say, *arguments)
        except Exception as error:  # libraries raise anything
            reason = clipped(one_line(str(error).strip())) or type(error).__name__
            found = Check(name, "broken", f"{type(error).__name__}: {reason}")
        say(asdict(found))
    os._exit(0)  # what a library does at the end of its process is no matter of the check


def _leave_no_core() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
