"""The command line and the result files of the scripts that compare training methods."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from result_files import environment, write_result
from score_tables import summary
from trials import Bench, Method, Trials, data_digest, run_trials

from reid.runtime.errors import ReidError

__all__ = ["compare"]

BUDGET = ("backbone", "weights", "image-size", "epochs", "batch")


def compare(
    script: Path, help_text: str | None, methods: Sequence[Method], as_markdown: Callable[[Trials], str]
) -> None:
    """Run the trials that are missing, print the tables, and write OUTPUT.md and OUTPUT.json: a script's `main`.

    Args:
        script: the script's file; the results are named after it.
        help_text: the text of `--help`.
        methods: the methods to compare.
        as_markdown: the function that turns all finished trials into the tables.
    """
    options = _parser(script.stem, help_text).parse_args()
    bench = Bench(options.data, options.work, _budget(options))
    try:
        methods = _without(methods, options.leave_out)
        surroundings = _surroundings(script.name, bench, options)

        def page(trials: Trials) -> str:
            return f"{_caption(surroundings['command'], trials, options.seeds)}\n{as_markdown(trials)}"

        def write(trials: Trials) -> None:
            file = options.output.with_name(f"{options.output.name}.json")
            write_result(file, surroundings | {"methods": _as_json(trials)}, page(trials))

        print(page(run_trials(methods, options.seeds, bench, write)), end="")
    except ReidError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # the commands received the same signal, and can resume from what they stored


def _parser(name: str, help_text: str | None) -> argparse.ArgumentParser:
    output, work = f"benchmarks/results/{name}", f"runs/{name.replace('_', '-')}"
    parser = argparse.ArgumentParser(description=help_text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of a data set")
    parser.add_argument("--seeds", type=_seeds, default=(0, 1, 2), help="comma-separated [default: 0,1,2]")
    parser.add_argument("--output", type=Path, default=Path(output), help=f"without .md and .json [default: {output}]")
    parser.add_argument("--work", type=Path, default=Path(work), help=f"folder of the trials [default: {work}]")
    parser.add_argument("--leave-out", action="append", default=[], metavar="METHOD", help="skip a method; repeatable")
    given = parser.add_argument_group("budget, passed to every reid-train, whose defaults hold for what is left out")
    for option in BUDGET:
        given.add_argument(f"--{option}")
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    seeds = text.split(",")
    if not all(seed.isdecimal() for seed in seeds) or len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of different seeds, such as 0,1,2")
    return tuple(map(int, seeds))


def _budget(options: argparse.Namespace) -> tuple[str, ...]:
    given = {option: getattr(options, option.replace("-", "_")) for option in BUDGET}
    return tuple(word for option, value in given.items() if value is not None for word in (f"--{option}", value))


def _without(methods: Sequence[Method], left_out: Sequence[str]) -> list[Method]:
    """Leave out methods that do not apply to a backbone: only ResNets have a last stride.

    Raises:
        ReidError: a name is not that of a method.
    """
    names = [method.name for method in methods]
    if unknown := [name for name in left_out if name not in names]:
        raise ReidError(f"--leave-out: unknown method {unknown[0]!r}; choose one of: {', '.join(names)}")
    return [method for method in methods if method.name not in left_out]


def _surroundings(script: str, bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """Return everything that a result depends on besides the methods, and the command that repeats it."""
    left_out = [word for name in options.leave_out for word in ("--leave-out", name)]
    words = [bench.data.resolve().name, "--seeds", ",".join(map(str, options.seeds)), *left_out, *bench.budget]
    return {
        "command": shlex.join(["python", f"benchmarks/{script}", *words]),
        "data": data_digest(bench.data),
        "environment": environment(),
    }


def _caption(command: str, trials: Trials, seeds: Sequence[int]) -> str:
    done, total = sum(map(len, trials.values())), len(trials) * len(seeds)
    listed = ", ".join(map(str, seeds))
    return f"`{command}`: percent, mean ± sample standard deviation over seeds {listed}; {done} of {total} trials.\n"


def _as_json(trials: Trials) -> dict[str, Any]:
    return {name: {"summary": summary(of_method), "trials": of_method} for name, of_method in trials.items()}
