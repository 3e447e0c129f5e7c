"""CONTRIBUTING.md is kept true: its files are there, its rooms are the rooms, and it stays short."""

import ast
import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

import llm_service

ROOT = Path(__file__).parents[2]
PACKAGE = Path(llm_service.__file__).parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CONTRACTS: list[dict[str, Any]] = PROJECT["tool"]["importlinter"]["contracts"]
MAIN_OF_ITS_PACKAGE = {"journal", "record"}
EARLIER_NAMES = PACKAGE / "telemetry" / "pipeline"


def test_every_file_that_it_names_is_there() -> None:
    """A walk leads to something."""
    named = re.findall(r"`((?:src|tests|benchmarks)/[\w/.]+\.\w+)`", GUIDE)
    assert len(named) > 15
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_it_is_short() -> None:
    """It is read before the first change."""
    assert GUIDE.count("\n") < 150


def test_it_shows_each_room() -> None:
    """What the contracts call a layer is a row of its table."""
    (layers,) = [contract["layers"] for contract in CONTRACTS if contract["name"] == "Layers point one way"]
    rooms = {part.removeprefix("llm_service.").replace(".", "/") for layer in layers for part in layer.split(" : ")}
    rooms -= {f"telemetry/{path.stem}" for path in PACKAGE.rglob("frameworks/*.py")}
    shown = set(re.findall(r"`([\w/]+?)(?:/|\.py)`", GUIDE.partition("## How code reads")[0]))
    assert rooms - {"telemetry/logger"} <= shown
    assert len(layers) <= 13


def test_a_name_of_a_module_means_one_thing() -> None:
    """No two modules of the package have the same name; a package's main module may have the package's own.

    An adapter has the name of its framework, and so has the module that offers it. What is the same in several stores
    has the same name.
    """
    places: dict[str, set[str]] = defaultdict(set)
    adapters = {PACKAGE / "telemetry" / path.name for path in PACKAGE.rglob("frameworks/*.py")}
    for path in set(PACKAGE.rglob("*.py")) - adapters:
        if path.parent == EARLIER_NAMES:
            continue
        name = path.parent.name if path.stem == "__init__" else path.stem
        if path.stem != "__main__" and not (path.stem == path.parent.name and path.stem in MAIN_OF_ITS_PACKAGE):
            place = re.sub(r"/stores/\w+/", "/stores/*/", path.relative_to(PACKAGE).as_posix())
            places[name].add(place)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_modules_and_functions_are_short() -> None:
    """By the bounds that the guide names; of a function its body counts, without signature and docstring."""
    bounds = re.search(r"Modules stay under (\d+)\s+lines, bodies of functions under (\d+)", GUIDE)
    assert bounds is not None
    of_module, of_body = map(int, bounds.groups())
    long = {}
    for path in PACKAGE.rglob("*.py"):
        text, name = path.read_text("utf-8"), path.relative_to(PACKAGE).as_posix()
        if len(text.splitlines()) >= of_module:
            long[name] = len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[ast.get_docstring(node) is not None :]
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                if lines >= of_body:
                    long[f"{name}: {node.name}"] = lines
    assert long == {}


def test_checks_before_a_commit_are_those_of_ci() -> None:
    """By the same commands."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    assert [hook["entry"] for hook in hooks if f".venv/bin/{hook['entry']}" not in ci] == []


def test_earlier_names_are_the_same_objects() -> None:
    """Of what programs that look inside may have imported."""
    from llm_service.telemetry.pipeline.commit_lock import CommitLock
    from llm_service.telemetry.pipeline.teller import Teller
    from llm_service.telemetry.writer import budget_executor, commit_lock

    assert CommitLock is commit_lock.CommitLock
    assert Teller is budget_executor.BudgetExecutor
