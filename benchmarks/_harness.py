"""What the benchmarks share: interleaved rounds, verdicts, tables, JSON, and a header that says where they ran."""

import argparse
import json
import math
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

__all__ = [
    "Bar",
    "Options",
    "Report",
    "Row",
    "as_json",
    "as_markdown",
    "as_text",
    "check",
    "command",
    "environment",
    "interleave",
    "percentile",
    "scratch",
]

COLUMNS: Final = ("what", "ours", "peer or ceiling", "ratio", "bar", "verdict")
_PACKAGES: Final = ("aiosqlite", "pydantic", "opentelemetry-sdk")


class WrongResultError(Exception):
    """What was about to be timed does not do what it should."""


def check(holds: object, what: str) -> None:
    """Refuse to report the time of something that is wrong."""
    if not holds:
        raise WrongResultError(what)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    quick: bool = False

    def count(self, full: int, quick: int) -> int:
        """How many of something to measure."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Bar:
    """What a number must reach: the ratio of a row, or our own number where the promise is in its unit."""

    of: Literal["ratio", "ours"]
    relation: Literal[">=", "<=", "<"]
    limit: float

    def met(self, value: float) -> bool:
        """Whether the value reaches the bar."""
        if self.relation == ">=":
            return value >= self.limit
        return value <= self.limit if self.relation == "<=" else value < self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        what: what was measured.
        ours: our number, in `unit`.
        unit: of `ours` and `peer`.
        peer: the number that stands beside it, from the same run.
        peer_name: whose it is.
        inverse: the ratio is peer / ours ("so many times cheaper") instead of ours / peer.
        bar: what must hold; None where the row only informs.
    """

    what: str
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str = ""
    inverse: bool = False
    bar: Bar | None = None

    @property
    def ratio(self) -> float | None:
        """Ours to the peer's, or the other way round."""
        if self.peer is None:
            return None
        above, below = (self.peer, self.ours) if self.inverse else (self.ours, self.peer)
        return above / below if below else math.inf

    @property
    def verdict(self) -> Literal["met", "missed", ""]:
        """Whether the bar holds; empty where there is none."""
        if self.bar is None:
            return ""
        value = self.ours if self.bar.of == "ours" else self.ratio
        return "met" if value is not None and self.bar.met(value) else "missed"

    def cells(self) -> tuple[str, ...]:
        """The line as texts, in the order of `COLUMNS`."""
        peer = "" if self.peer is None else f"{_number(self.peer)} {self.unit} ({self.peer_name})"
        ratio = "" if self.ratio is None else f"{_number(self.ratio)}"
        bar = ""
        if self.bar is not None:
            unit = f" {self.unit}" if self.bar.of == "ours" else ""
            bar = f"{self.bar.of} {self.bar.relation} {self.bar.limit:g}{unit}"
        return self.what, f"{_number(self.ours)} {self.unit}", peer, ratio, bar, self.verdict

    def as_dict(self) -> dict[str, Any]:
        """The line for JSON."""
        return asdict(self) | {"ratio": self.ratio, "verdict": self.verdict}


@dataclass(slots=True)
class Report:
    """The answer to one question."""

    name: str
    question: str
    rows: list[Row] = field(default_factory=list[Row])
    notes: list[str] = field(default_factory=list[str])

    def as_dict(self) -> dict[str, Any]:
        """The answer for JSON."""
        return {
            "name": self.name,
            "question": self.question,
            "rows": [row.as_dict() for row in self.rows],
            "notes": self.notes,
        }


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` from 0 to 1."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


async def interleave(rounds: int, contenders: Mapping[str, Callable[[], Awaitable[float]]]) -> dict[str, list[float]]:
    """Measure A B A B, so that a noisy neighbour disturbs all of them; one round first that does not count.

    Args:
        rounds: how often each runs.
        contenders: each runs once and returns its number.
    """
    results: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            measured = await run()
            if turn:
                results[name].append(measured)
    return results


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


@contextmanager
def scratch() -> Generator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="llm-telemetry-bench-") as folder:
        yield Path(folder)


def environment() -> dict[str, str]:
    """Where and with what this runs."""
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}Z",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found | {"cpus": str(os.cpu_count()), "machine": f"{platform.system()} {platform.machine()}"}


def as_json(reports: Sequence[Report]) -> str:
    """Everything, for machines."""
    return json.dumps({"environment": environment(), "reports": [report.as_dict() for report in reports]}, indent=2)


def as_markdown(report: Report) -> str:
    """One report as a heading, a table and its notes."""
    lines = [f"## {report.name}", "", report.question, "", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(row.cells())} |" for row in report.rows]
    lines += ["", *(f"- {note}" for note in report.notes)] if report.notes else []
    return "\n".join(lines) + "\n"


def as_text(report: Report) -> str:
    """One report for a terminal: by rich where it is installed, else in plain columns."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        return _plain(report)
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(*COLUMNS, title=f"{report.name}: {report.question}", title_justify="left")
    for row in report.rows:
        colour = {"met": "green", "missed": "red"}.get(row.verdict)
        table.add_row(*row.cells(), style=colour)
    with console.capture() as captured:
        console.print(table)
        for note in report.notes:
            console.print(f"  {note}", highlight=False, markup=False)
    return captured.get()


def _plain(report: Report) -> str:
    lines = [COLUMNS, *(row.cells() for row in report.rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(COLUMNS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([f"{report.name}: {report.question}", *table, *(f"  {note}" for note in report.notes)]) + "\n"


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark takes."""
    parsing = argparse.ArgumentParser(description=description)
    parsing.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parsing.add_argument("--quick", action="store_true", help="smaller counts: does it run, not how fast")
    return parsing


def show(reports: Sequence[Report], *, json_wanted: bool) -> None:
    """Print the reports."""
    if json_wanted:
        print(as_json(reports))
        return
    print("  ".join(f"{name} {value}" for name, value in environment().items()))
    for report in reports:
        print(as_text(report))


def command(run: Callable[[Options], Report]) -> None:
    """The command line of one benchmark."""
    arguments = parser((run.__doc__ or "").partition("\n")[0]).parse_args()
    show([run(Options(quick=arguments.quick))], json_wanted=arguments.json)
