"""One thing has one name: the manual's table of names lists every other one, with the only places that may have it."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final, is_typeddict

import click
import pytest

from llm_service.cli.commands import cli
from llm_service.config.settings import Settings
from llm_service.telemetry import TelemetryLogger, queries
from llm_service.telemetry.queries.measures import MEASURES

PACKAGE: Final = Path(queries.__file__).parents[1]
MANUAL: Final = (PACKAGE / "README.md").read_text("utf-8")
ROWS: Final = re.findall(
    r"^\| (`[^|]*) \| (`[^|]*) \| ([^|]*) \| [^|]* \|$",
    MANUAL.split("### Names\n", 1)[1].split("\n### ", 1)[0],
    re.MULTILINE,
)
SHORT: Final = "filters, keys, options"


def commands(group: click.Group, path: str = "") -> dict[str, click.Command]:
    """All commands, by the words that call them."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        words = f"{path} {name}".strip()
        found |= commands(command, words) if isinstance(command, click.Group) else {words: command}
    return found


def in_rows() -> Iterator[tuple[str, str]]:
    """Names of typed rows and reports, and of measures."""
    for module in pkgutil.iter_modules(queries.__path__):
        for place, value in vars(importlib.import_module(f"{queries.__name__}.{module.name}")).items():
            if is_typeddict(value):
                yield from ((name, place) for name in value.__annotations__)
    yield from ((name, "a measure") for name in MEASURES)


def in_tables() -> Iterator[tuple[str, str]]:
    """Names of columns."""
    schema = (PACKAGE / "schema.sql").read_text("utf-8")
    for table, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", schema, re.DOTALL):
        yield from ((name, table) for name in re.findall(r"^    ([a-z_0-9]+) ", body, re.MULTILINE))


def in_arguments() -> Iterator[tuple[str, str]]:
    """Names of settings, and of arguments of methods and commands."""
    yield from ((name, "a setting") for name in Settings.names())
    for method, function in inspect.getmembers(TelemetryLogger, inspect.isfunction):
        yield from ((name, method) for name in inspect.signature(function).parameters)
    for words, command in commands(cli).items():
        yield from ((str(parameter.name), words) for parameter in command.params)


def in_documents() -> Iterator[tuple[str, str]]:
    """Keys of dicts that commands write out: documents of JSON that no row has typed."""
    for path in (PACKAGE.parent / "cli").glob("command_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            keys = node.keys if isinstance(node, ast.Dict) else []
            named = (key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
            yield from ((name, path.stem.removeprefix("command_")) for name in named)


def places() -> dict[str, set[str]]:
    """By name: the places that have it."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, place in (*in_rows(), *in_tables(), *in_arguments(), *in_documents()):
        found[name].add(place)
    return found


PLACES: Final = places()


@pytest.mark.parametrize(("names", "others", "where"), ROWS, ids=[row[1] for row in ROWS])
def test_another_name_stands_only_where_the_manual_says(names: str, others: str, where: str) -> None:
    """And the name itself stands somewhere."""
    assert all(PLACES[name] for name in re.findall(r"`(\w+)`", names))
    if where == SHORT:
        return
    said = set(re.findall(r"`([\w ]+)`", where))
    for other in re.findall(r"`(\w+)`", others):
        allowed = {row_where for _, row_others, row_where in ROWS if f"`{other}`" in row_others}
        everywhere = set(re.findall(r"`([\w ]+)`", " ".join(allowed)))
        assert said & PLACES[other]
        assert PLACES[other] <= everywhere, other


def test_the_card_s_names_are_those_of_statistics() -> None:
    """Each that is not a measure's own name is in the table."""
    from llm_service.telemetry.queries.questions import MEASURE_OF

    others = {name for _, others, where in ROWS if "Statistics" in where for name in re.findall(r"`(\w+)`", others)}
    assert set(MEASURE_OF) - set(MEASURES) == others
