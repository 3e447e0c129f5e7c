"""What does a SIGKILL cost? Two processes write one file, are killed at random moments, and every record is looked for.

A child notes in a mapped file of its own, which survives it, how far it got: which records were accepted, and which
durable ones were acknowledged. A killed child is replaced while the other one writes on. After each twenty kills both
are killed, the file is opened as any program would, and compared with the notes, row by row and sum by sum.
"""

import argparse
import asyncio
import json
import mmap
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from itertools import count
from pathlib import Path
from typing import Any, Final

from benchmarks._harness import Bar, Options, Report, Row, as_json, as_text, environment, scratch
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.journal.segment_names import find

__all__ = ["Tally", "kill_many", "run"]

_ROOT: Final = Path(__file__).resolve().parents[1]
_EPOCH: Final = 20
"""Kills between two looks at the whole file."""
_LONGEST: Final = 0.12
"""Seconds a child lives at most after it has written its first record: more than half a flush interval."""
_START: Final = 30.0
_READY, _ACCEPTED, _ACKNOWLEDGED = range(3)
_AT_ONCE: Final = 8
_DURABLE_EVERY: Final = 5
_NONE: Final = Bar("ours", "<=", 0.0)
_ALWAYS_ZERO: Final = frozenset({"durable_lost", "duplicated", "unknown", "broken", "wrong_aggregates"})
_ZERO_WITH_A_JOURNAL: Final = frozenset({"lost", "left"})


@dataclass(slots=True)
class Tally:
    """What was counted.

    Attributes:
        kills: processes ended by SIGKILL.
        accepted: records that `log_invocation_nowait` accepted.
        acknowledged: records that a durable call returned for.
        lost: of the accepted, those that are not in the file.
        durable_lost: of the acknowledged, those that are not in the file.
        duplicated: records that stand in the file, or in its aggregates, more than once.
        unknown: rows that nobody wrote.
        broken: looks at which `integrity_check` found a fault.
        wrong_aggregates: looks at which daily totals differed from their records.
        replayed: records that came out of a crash journal at these looks; the children replay as well.
        left: journals that were still there after the look.
        looks: how often the whole file was compared.
    """

    kills: int = 0
    accepted: int = 0
    acknowledged: int = 0
    lost: int = 0
    durable_lost: int = 0
    duplicated: int = 0
    unknown: int = 0
    broken: int = 0
    wrong_aggregates: int = 0
    replayed: int = 0
    left: int = 0
    looks: int = 0


class _Child:
    """One writing process and its notes."""

    def __init__(self, folder: Path, name: str, *, journal: bool, face: str) -> None:
        self.name = name
        notes = folder / f"{name}.notes"
        notes.write_bytes(bytes(24))
        self._words = _notes(notes)
        arguments = [str(folder / "telemetry.db"), str(notes), name, str(int(journal)), face]
        self._process = subprocess.Popen([sys.executable, "-m", "benchmarks.crash", "--child", *arguments], cwd=_ROOT)

    def wait_until_it_writes(self) -> None:
        """Return once its first record is accepted."""
        deadline = time.monotonic() + _START
        while not self._words[_READY]:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"child {self.name} ended by itself, or wrote nothing")
            time.sleep(0.002)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    @property
    def accepted(self) -> set[str]:
        """The ids of accepted records."""
        return {f"{self.name}-{number}" for number in range(1, self._words[_ACCEPTED] + 1)}

    @property
    def acknowledged(self) -> set[str]:
        """The ids of durable records whose call returned."""
        return {f"{self.name}-durable-{number}" for number in range(1, self._words[_ACKNOWLEDGED] + 1)}


def _notes(path: Path) -> "memoryview[int]":
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 24)).cast("Q")


def _record(name: str, number: int | str, draw: random.Random) -> InvocationRecord:
    extra: dict[str, Any] = {}
    if draw.random() < 0.2:
        extra = {"error_message": "x" * draw.randrange(400), "session_id": "s", "metadata": {"n": draw.random()}}
    return InvocationRecord(
        invocation_id=f"{name}-{number}",
        agent_name=f"agent-{draw.randrange(5)}",
        model_name="gpt-4o",
        prompt_tokens=draw.randrange(2000),
        completion_tokens=draw.randrange(200),
        cost_usd=draw.randrange(1000) / 1e4,
        latency_ms=draw.randrange(5000),
        **extra,
    )


async def _child(path: str, notes: str, name: str, journal: str, face: str) -> None:
    """Log until killed: some records at once that are only accepted, then now and then a durable one."""
    words = _notes(Path(notes))
    draw = random.Random(name)
    options: dict[str, Any] = {"journal": journal == "1", "commit_timeout": 60.0}
    telemetry = (
        AsyncTelemetryLogger(path, models=False, policies=False, **options)
        if face == "async"
        else TelemetryLogger(path, models=False, policies=False, **options)
    )
    number = durable = 0
    for turn in count(1):
        for _ in range(_AT_ONCE):
            if telemetry.log_invocation_nowait(_record(name, number + 1, draw)):
                number += 1
                words[_ACCEPTED] = number
                words[_READY] = 1
        await asyncio.sleep(0.002)
        if turn % _DURABLE_EVERY == 0:
            record = _record(name, f"durable-{durable + 1}", draw)
            returned = telemetry.log_invocation(record, durable=True)
            if not isinstance(returned, bool):
                await returned
            durable += 1
            words[_ACKNOWLEDGED] = durable


def kill_many(
    kills: int, folder: Path, *, journal: bool, seed: int = 1, progress: Callable[[Tally], None] = lambda _tally: None
) -> Tally:
    """Kill so many writers, and compare what is on disk with what they were told.

    Args:
        kills: how many processes are killed.
        folder: for the files.
        journal: whether the writers keep a crash journal.
        seed: of the moments; what the machine does meanwhile does not repeat.
        progress: told after each kill.
    """
    draw = random.Random(seed)
    tally = Tally()
    serial = count(1)
    for epoch in count(1):
        if tally.kills >= kills:
            return tally
        place = folder / str(epoch)
        place.mkdir()
        everyone: list[_Child] = []

        def start(face: str, place: Path = place, everyone: list[_Child] = everyone) -> _Child:
            everyone.append(_Child(place, f"w{next(serial)}", journal=journal, face=face))
            return everyone[-1]

        running = [start("async"), start("sync")]
        try:
            for child in running:
                child.wait_until_it_writes()
            last = min(kills, tally.kills + _EPOCH)
            while tally.kills < last:
                time.sleep(draw.uniform(0.0, _LONGEST))
                which = draw.randrange(2)
                running[which].kill()
                tally.kills += 1
                progress(tally)
                if tally.kills < last - 1:
                    running[which] = start(draw.choice(("async", "sync")))
                    running[which].wait_until_it_writes()
                elif tally.kills < last:
                    running[1 - which].kill()
                    tally.kills += 1
        finally:
            for child in running:
                child.kill()
        _look(place / "telemetry.db", everyone, tally)
    return tally


def _look(path: Path, children: list[_Child], tally: Tally) -> None:
    """Open the file as the next program would, and compare it with the notes."""
    with TelemetryLogger(path, models=False, policies=False) as telemetry:
        tally.replayed += telemetry.stats().replayed
    accepted = set[str]().union(*(child.accepted for child in children))
    acknowledged = set[str]().union(*(child.acknowledged for child in children))
    with closing(sqlite3.connect(path)) as connection:
        ask = connection.execute
        ids = [str(row[0]) for row in ask("SELECT invocation_id FROM invocations NOT INDEXED")]
        sound = ask("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = ask(
            "SELECT count(*), sum(CAST(cost_usd * 1e9 + 0.5 AS INTEGER)), sum(total_tokens), sum(latency_ms) * 1000 "
            "FROM invocations"
        ).fetchone()
        counted = ask(
            "SELECT sum(invocations), sum(cost_nanos), sum(total_tokens), sum(latency_us_sum) FROM daily_costs"
        ).fetchone()
    there = set(ids)
    tally.looks += 1
    tally.accepted += len(accepted)
    tally.acknowledged += len(acknowledged)
    tally.lost += len(accepted - there)
    tally.durable_lost += len(acknowledged - there)
    tally.duplicated += len(ids) - len(there)
    # At the end of each child stands at most one call whose return it did not live to note.
    unnoted = {f"{child.name}-{len(child.accepted) + 1}" for child in children}
    unnoted |= {f"{child.name}-durable-{len(child.acknowledged) + 1}" for child in children}
    tally.unknown += len(there - accepted - acknowledged - unnoted)
    tally.broken += not sound
    tally.wrong_aggregates += tuple(map(round, stored)) != tuple(map(round, counted))
    tally.left += len(find(path))


def report_of(tally: Tally, *, journal: bool) -> Report:
    """The table."""
    words = "with the crash journal" if journal else "without the crash journal"
    report = Report(f"crash, {words}", f"two processes write one file and are killed at random moments, {words}")
    zero = _ALWAYS_ZERO | _ZERO_WITH_A_JOURNAL if journal else _ALWAYS_ZERO
    for field in fields(tally):
        value = float(getattr(tally, field.name))
        report.rows.append(Row(field.name.replace("_", " "), value, "", bar=_NONE if field.name in zero else None))
    return report


def run(options: Options) -> Report:
    """Kill two hundred writers with a journal, ask what is missing."""
    with scratch() as folder:
        return report_of(kill_many(options.count(200, 4), folder, journal=True), journal=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; 1 where a bar is missed."""
    parsing = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parsing.add_argument("--kills", type=int, default=200)
    parsing.add_argument("--journal", action="store_true", help="the writers keep a crash journal")
    parsing.add_argument("--seed", type=int, default=1)
    parsing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parsing.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    given = parsing.parse_args(arguments)
    if given.child:
        asyncio.run(_child(*given.child))
    started = time.monotonic()

    def progress(tally: Tally) -> None:
        if sys.stderr.isatty() or tally.kills % 50 == 0:
            seconds = time.monotonic() - started
            print(f"\r{tally.kills} of {given.kills} kills, {seconds:.0f} s", end="", file=sys.stderr, flush=True)

    with scratch() as folder:
        tally = kill_many(given.kills, folder, journal=given.journal, seed=given.seed, progress=progress)
    print(file=sys.stderr)
    report = report_of(tally, journal=given.journal)
    if given.json:
        print(json.dumps(json.loads(as_json([report])) | {"tally": asdict(tally)}, indent=2))
    else:
        print("  ".join(f"{name} {value}" for name, value in environment().items()))
        print(as_text(report))
    return int(any(row.verdict == "missed" for row in report.rows))


if __name__ == "__main__":
    sys.exit(main())
