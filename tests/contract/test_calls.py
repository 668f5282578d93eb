"""Every use of TensorRT is held to NVIDIA's own bindings of every version that is supported; see bindings.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from bindings import PACKAGES, file_of
from checking import Checked, check, sources
from facts import Facts, facts_of

FACTS: dict[str, Facts] = {name: json.loads(file_of(name).read_text()) for name in PACKAGES}
RTX = next(name for name in FACTS if name.startswith("tensorrt_rtx"))
ALL = frozenset(FACTS)
OF_10 = {"tensorrt-10.3.0", "tensorrt-10.16.1.11"}
ONLY_10_3 = frozenset({"tensorrt-10.3.0"})


@dataclass(frozen=True)
class Mutation:
    """A change of the code that breaks it with some of the packages: with those it must be found."""

    what: str
    old: str
    new: str
    breaks: frozenset[str] = ALL


MUTATIONS = [
    Mutation("a misspelt argument", "cache, ignore_mismatch=False", "cache, ignore_mismatches=False"),
    Mutation("a flag that 11 removed", "BuilderFlag.TF32", "BuilderFlag.FP16", ALL - OF_10),
    Mutation("a wrong order", "build_serialized_network(network, config)", "build_serialized_network(config, network)"),
    Mutation("a number before the pool", "api.MemoryPoolType.WORKSPACE, opt", "1, api.MemoryPoolType.WORKSPACE, opt"),
    Mutation("a misspelt method", "builder.create_network(", "builder.create_networks("),
    Mutation("a misspelt property", "config.builder_optimization_level =", "config.optimization_level ="),
    Mutation("a property that cannot be set", "config.builder_optimization_level", "config.num_optimization_profiles"),
    Mutation("a path for a name", "parse_from_file(str(graph))", "parse_from_file(graph)"),
    Mutation("a method of later versions", "context.infer_shapes()", "context.get_runtime_config()", ONLY_10_3),
    Mutation("a method of TensorRT 8", ".execute_async_v3(", ".execute_async_v2("),
    Mutation("an argument too many", "engine.create_engine_inspector()", "engine.create_engine_inspector(0)"),
    Mutation("None, which is how it fails", "if engine is None:\n            raise", "if engine:\n            raise"),
    Mutation("an enumerator of no version", "api.TensorIOMode.INPUT", "api.TensorIOMode.IN"),
    Mutation("a class of no version", "self.api.OnnxParser(", "self.api.OnnxReader("),
    Mutation(
        "an argument too few, of TensorRT-RTX", "[self._known()[capability]], index", "[self._known()[capability]]"
    ),
]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Checked, Checked]]:
    """What is found in the code, and in it and its mutants, by the name of what stands for `tensorrt`."""
    folder, modules = tmp_path_factory.mktemp("contract"), sources()
    mutants = {
        f"mutant{index}_{name.rpartition('.')[2]}": text.replace(mutation.old, mutation.new)
        for index, mutation in enumerate(MUTATIONS)
        for name, text in modules.items()
        if mutation.old in text
    }
    return {
        name: (
            check(modules, facts, FACTS[RTX], folder),
            check({**modules, **mutants}, facts, FACTS[RTX], folder),
        )
        for name, facts in FACTS.items()
    }


@pytest.mark.parametrize("package", FACTS)
def test_mypy_finds_nothing_wrong(checked: dict[str, tuple[Checked, Checked]], package: str) -> None:
    found, _ = checked[package]
    assert [error for errors in found.errors.values() for error in errors] == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.what)
def test_what_breaks_the_code_is_found_with_the_packages_that_it_breaks(
    checked: dict[str, tuple[Checked, Checked]], mutation: Mutation
) -> None:
    errors = {package: found.errors for package, (_, found) in checked.items()}
    mutants = [name for name in errors[RTX] if name.startswith(f"mutant{MUTATIONS.index(mutation)}_")]
    assert mutants, f"{mutation.old} is nowhere in the code any more: choose another mutation"
    for name in mutants:
        assert {package for package in errors if errors[package][name]} == mutation.breaks, name


@pytest.mark.parametrize("package", FACTS)
def test_every_member_that_is_used_is_there(checked: dict[str, tuple[Checked, Checked]], package: str) -> None:
    """Walk the uses by the types that mypy found, with the facts alone, without the stubs that are made of them."""
    found, _ = checked[package]
    assert missing(found.uses, package) == set()
    assert {use.partition(".")[2] for use in found.uses} >= {
        "Builder.build_serialized_network",
        "BuilderFlag.TF32",
        "EngineInspector.execution_context",
        "IBuilderConfig.set_compute_capability",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.set_input_shape",
        "INetworkDefinition.mark_output",
        "ITimingCache.combine",
        "Runtime.deserialize_cuda_engine",
    }
    assert len(found.uses) > 60


def missing(uses: set[str], package: str) -> set[str]:
    facts = {"tensorrt": FACTS[package], "tensorrt_rtx": FACTS[RTX]}
    return {use for use in uses if not is_there(facts, *use.split("."))}


def is_there(facts: dict[str, Facts], package: str, owner: str, member: str) -> bool:
    return any(member in {"__members__", *named} for named in facts[package].get(owner, {}).values())


def test_the_walk_finds_members_that_are_not_there_by_itself(checked: dict[str, tuple[Checked, Checked]]) -> None:
    found = {package: missing(mutated.uses, package) for package, (_, mutated) in checked.items()}
    assert all("tensorrt.Builder.create_networks" in names for names in found.values())
    assert {package for package, names in found.items() if "tensorrt.BuilderFlag.FP16" in names} == ALL - OF_10


@pytest.mark.parametrize("package", FACTS)
def test_no_use_is_hidden_from_mypy_by_a_value_without_a_type(
    checked: dict[str, tuple[Checked, Checked]], package: str
) -> None:
    found, _ = checked[package]
    assert found.blind == set()


def test_a_value_without_a_type_is_found(tmp_path: Path) -> None:
    text = "from typing import Any\ndef build(config: Any) -> None:\n    config.set_flags(1)\n    config.set_flag(1)\n"
    found = check({"hidden": text}, FACTS[RTX], FACTS[RTX], tmp_path)
    assert (found.errors["hidden"], found.blind) == ([], {"line 4: set_flag"})


@pytest.mark.rtx
def test_the_package_that_is_installed_says_the_same_of_itself() -> None:
    """Nothing stands in for its libraries: what is read over stand-ins is what is read over TensorRT."""
    import tensorrt_rtx

    if f"tensorrt_rtx-{tensorrt_rtx.__version__}" != RTX:
        pytest.skip(f"the facts are about {RTX}, and {tensorrt_rtx.__version__} is installed")
    assert facts_of(tensorrt_rtx) == FACTS[RTX]
