"""The manual names what exists: each setting, field, statistic, reason, error and table, with today's defaults."""

import builtins
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from llm_service import errors
from llm_service.cli.commands import cli
from llm_service.config.settings import Settings
from llm_service.telemetry.logger import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.maintenance.findings import KINDS
from llm_service.telemetry.queries.field_names import SHORT_NAMES
from llm_service.telemetry.queries.group_keys import KEYS
from llm_service.telemetry.queries.measures import MEASURES, SETS
from llm_service.telemetry.queries.questions import Statistics
from llm_service.telemetry.record.record import FIELDS
from llm_service.telemetry.writer.ledger import DropReason
from llm_service.telemetry.writer.stats import Stats

PACKAGE = Path(__file__).parents[2] / "src" / "llm_service" / "telemetry"
MANUAL = (PACKAGE / "README.md").read_text("utf-8")
NAMED = frozenset(re.findall(r"`([A-Za-z_][\w.]*)", MANUAL))


def section(title: str) -> str:
    """The text under one heading."""
    return MANUAL.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def leaves(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, under its whole name."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield " ".join((*path, name)), command
            yield from leaves(command, *path, name)
        else:
            yield " ".join((*path, name)), command


def test_the_command_table_has_exactly_the_commands_and_their_arguments() -> None:
    """No command is missing, none is invented."""
    documented = set(re.findall(r"^\| `([a-z][^`]*)` \|", section("Command line"), re.MULTILINE))
    existing: set[str] = set()
    for name, command in leaves(cli):
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        existing.add(" ".join([name, *(a.metavar or a.human_readable_name.upper() for a in arguments)]))
    assert documented == existing


def test_the_option_table_has_exactly_the_options() -> None:
    """Each way to write one, in the table of its own."""
    rows = re.findall(r"^\| (`-[^|]*) \| ", section("Command line"), re.MULTILINE)
    documented = {option for row in rows for option in re.findall(r"`(--?[a-z-]+)", row)}
    existing = {option for _, command in leaves(cli) for p in command.params for option in p.opts if option[0] == "-"}
    assert documented == existing | {"--help", "-h", "--version"}


def test_each_option_is_documented_with_the_commands_that_have_it() -> None:
    """A row names its commands, or all of them."""
    for row in re.findall(r"^\| (`-.*) \|$", section("Command line"), re.MULTILINE):
        options, commands, *_ = (cell.strip() for cell in row.split(" | "))
        long = re.findall(r"`(--[a-z-]+)", options)
        if not commands:
            continue
        if commands.startswith("all but ") and "`--json`" not in row and "`--db PATH`" not in row:
            having = {
                name for name, command in leaves(cli) if any(one in long for p in command.params for one in p.opts)
            }
            assert {name for name, _ in leaves(cli)} - having == set(re.findall(r"`([a-z -]+)`", commands)), row
            continue
        if commands.startswith("all but"):
            continue
        for name, command in leaves(cli):
            has = any(option in long for p in command.params for option in p.opts)
            assert (f"`{name}`" in commands) is has, (row, name)


def test_the_manual_has_every_exit_code() -> None:
    """Those that the group's own help lists."""
    shown = re.findall(r"^  (\d+) ", str(cli.epilog), re.MULTILINE)
    rows = re.findall(r"^\| ([\d, ]+) \| ", section("Command line"), re.MULTILINE)
    assert sorted(shown) == sorted(code for row in rows for code in row.split(", "))


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_a_record_is_in_the_manual(field: str) -> None:
    """A reader finds what the constructor takes."""
    assert f"`{field}`" in section("Fields of a record")


def test_the_settings_table_has_exactly_the_settings_and_their_defaults() -> None:
    """No key is missing, none is invented, and the defaults are today's."""
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", section("Settings"), re.MULTILINE))
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    assert set(rows) == set(Settings.names())
    for name, shown in rows.items():
        if name != "db_path":
            default = defaults[name]
            assert shown == (str(default).lower() if isinstance(default, bool) else str(default))


def test_the_statistics_section_has_exactly_the_keys() -> None:
    """What get_statistics returns is what the manual says."""
    assert set(re.findall(r"`(\w+)`", section("Statistics"))) - {"get_statistics"} == set(Statistics.__annotations__)


def test_the_ledger_section_has_every_reason_and_every_stats_key() -> None:
    """Losses have names, and the manual lists them."""
    text = section("The ledger")
    for reason in DropReason:
        assert f"`{reason.value}`" in text
    for field in dataclasses.fields(Stats):
        assert f"`{field.name}`" in text or field.name == "ledger"


def test_the_error_section_names_only_errors_that_exist() -> None:
    """Nobody catches a name that is not there."""
    for name in re.findall(r"`(\w+Error)`", section("Errors")):
        assert hasattr(errors, name) or hasattr(builtins, name) or name == "IntegrityError"


@pytest.mark.parametrize("face", [AsyncTelemetryLogger, TelemetryLogger])
def test_every_public_method_of_a_face_is_in_the_manual(face: type) -> None:
    """The method table is complete on both sides."""
    public = {name for name in dir(face) if not name.startswith("_")}
    missing = {name for name in public if not re.search(rf"`[^`|]*\b{name}\b", section("Methods"))}
    assert missing == set()


def test_every_table_of_the_schema_is_in_the_manual() -> None:
    """The tables section lists what schema.sql makes."""
    tables = set(re.findall(r"CREATE TABLE (\w+)", (PACKAGE / "schema.sql").read_text("utf-8")))
    listed = section("Tables").strip().partition("\n\n")[0]
    assert tables == set(re.findall(r"`(\w+)`", listed)) - {"schema"}


def test_the_doctor_section_has_exactly_the_findings_with_their_codes_and_remedies() -> None:
    """A script can rely on the table: nothing is missing, invented or out of date."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\d+) \| (.+) \|$", section("Doctor"), re.MULTILINE)
    kinds = [(kind.name, kind.severity.value, str(kind.exit_code), kind.remedy) for kind in KINDS.values()]
    assert rows == kinds


@pytest.mark.parametrize(
    ("title", "command"), [("Doctor", "doctor"), ("Backup", "backup"), ("Dead letters", "dead-letters")]
)
def test_every_option_of_a_command_that_looks_after_the_file_is_in_its_section(title: str, command: str) -> None:
    """The common ones are where all commands are."""
    found = cli.commands[command]
    parts = list(found.commands.values()) if isinstance(found, click.Group) else [found]
    options = {name for part in parts for option in part.params for name in option.opts if name.startswith("--")}
    for name in (
        options
        - {"--db", "--config", "--json", "--format", "--output", "--safe-csv"}
        - ({"--force"} if command == "dead-letters" else set())
    ):
        assert name in section(title)
    for part in parts:
        assert str(part.name) in section(title)


def test_the_section_of_questions_has_exactly_the_keys_measures_and_short_names() -> None:
    """Each measure with its unit and what it is; the other names with the measures that they stand for."""
    text = section("Ask anything")
    rows = [tuple(row) for row in re.findall(r"^\| `(\w+)` \| ([^|`]+) \| ([^|]+) \|$", text, re.MULTILINE)]
    assert rows == [(name, measure.unit, measure.what) for name, measure in MEASURES.items()]
    sets = re.findall(r"^\| `(\w+)` \| (`\w+`(?:, `\w+`)*) \|$", text, re.MULTILINE)
    assert {name: tuple(re.findall(r"\w+", measures)) for name, measures in sets} == SETS
    keys = text.split("### Keys\n\n", 1)[1].split("\n\n", 1)[0]
    assert tuple(re.findall(r"`([^`]+)`", keys)) == KEYS
    short = text.split("The short names are ", 1)[1].split("\n\n", 1)[0]
    assert re.findall(r"`(\w+)`", short) == list(SHORT_NAMES)
