"""Does a limit hold? Eight processes with fifty tasks each spend against four budgets, and are killed at random.

Beside them, in the same run, the way budgets are usually kept: look what was spent, compare, call, log. Then: what a
reservation and a settlement cost, beside a bare hop to a thread and back, and beside the least that can be done there:
a transaction of plain `sqlite3` that moves four sums and keeps a row, and one that moves them with a call's row and its
daily totals in the library's own tables.

`python -m benchmarks.budgets [--seconds 30] [--json]`.
"""

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from benchmarks._harness import Bar, Options, Report, Row, check, interleave, median, parser, percentile, scratch, show
from llm_service.config.schemas import PoliciesConfig
from llm_service.errors import BudgetExceeded
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger

__all__ = ["run"]

_ROOT: Final = Path(__file__).resolve().parents[1]
_PROCESSES: Final = 8
_TASKS: Final = 50
_LEASE: Final = 3.0
_HOLD: Final = 0.02
"""USD that a call may cost at most; what it costs is drawn between a tenth of it and all of it."""
_LIMITS: Final = {"everything": 4.0, "agents": 1.2, "tool": 1.4, "model": 1.6}
"""USD for each second that the fleet spends: about half of what it would like to."""
_SCOPES: Final[dict[str, dict[str, str]]] = {
    "everything": {"agent": "*"},
    "agents": {"agent": "backend-*"},
    "tool": {"tool": "claude-code"},
    "model": {"model": "claude-*"},
}
_WHERE: Final = {
    "everything": "1",
    "agents": "agent_name LIKE 'backend-%'",
    "tool": "tool_name = 'claude-code'",
    "model": "model_name LIKE 'claude-%'",
}
_NONE: Final = Bar("ours", "<=", 0.0)
_KILL_EVERY: Final = 1.5
"""Seconds between two kills."""


def _limits(seconds: float) -> dict[str, float]:
    return {name: round(a_second * seconds, 6) for name, a_second in _LIMITS.items()}


def _policies(limits: dict[str, float]) -> PoliciesConfig:
    policies = {
        name: {"scope": _SCOPES[name], "total_budget_usd": limit, "lease": _LEASE} for name, limit in limits.items()
    }
    return PoliciesConfig.model_validate({"policies": policies})


@dataclass(slots=True)
class Outcome:
    """What a fleet did: USD and counts."""

    spent: dict[str, float] = field(default_factory=dict[str, float])
    unknown: dict[str, float] = field(default_factory=dict[str, float])
    calls: int = 0
    kills: int = 0
    holds_left: int = 0


def run(options: Options) -> Report:
    """Budgets: overshoot of eight processes beside check-then-act, and the time of a reservation."""
    return measure(30.0 if not options.quick else 4.0, options)


def measure(seconds: float, options: Options) -> Report:
    """See `run`."""
    report = Report(
        "budgets",
        f"{_PROCESSES} processes x {_TASKS} tasks against four budgets for {seconds:g} s, killed at random moments",
    )
    found = {way: _fleet(way, seconds) for way in ("reserve", "check")}
    for name, limit in _limits(seconds).items():
        ours, naive = found["reserve"], found["check"]
        committed = ours.spent[name] + ours.unknown[name]
        over = max(0.0, round(committed - limit, 9))
        report.rows += [
            Row(f"{name} (${limit:g}): overshoot", over, "USD", max(0.0, naive.spent[name] - limit), "check-then-act",
                bar=_NONE),
            Row(f"{name}: used", committed / limit, "of the limit", naive.spent[name] / limit, "check-then-act",
                bar=Bar("ours", ">=", 0.95)),
            Row(f"{name}: of it unknown, left by kills", ours.unknown[name], "USD"),
        ]  # fmt: skip
    report.rows += [
        Row("holds left after their leases", found["reserve"].holds_left, "holds", bar=_NONE),
        Row("calls", found["reserve"].calls, "calls", found["check"].calls, "check-then-act"),
        Row("kills", found["reserve"].kills, "kills", found["check"].kills, "check-then-act"),
    ]
    with scratch() as folder:
        asyncio.run(_latency(report, folder, options))
    return report


# The fleet


def _fleet(way: str, seconds: float) -> Outcome:
    """Run it, and look what is in the file."""
    found, limits = Outcome(), _limits(seconds)
    with scratch() as folder:
        path = folder / "budgets.db"
        with TelemetryLogger(path, policies=_policies(limits)) as logger:
            logger.budgets.expire()  # the file and its counters are there before the clock runs
        draw, end = random.Random(1), time.monotonic() + seconds
        children = [_child(way, path, end - time.monotonic(), seconds, seed) for seed in range(_PROCESSES)]
        seed = _PROCESSES
        try:
            while (left := end - time.monotonic()) > _KILL_EVERY:
                time.sleep(draw.uniform(0.3, 1.0) * min(_KILL_EVERY, left))
                victim = draw.randrange(_PROCESSES)
                children[victim].send_signal(signal.SIGKILL)
                children[victim].wait()
                found.kills += 1
                seed += 1
                children[victim] = _child(way, path, end - time.monotonic(), seconds, seed)
        finally:
            for child in children:
                child.wait(timeout=seconds + 60)
        _look(path, limits, found)
    return found


def _child(way: str, path: Path, left: float, seconds: float, seed: int) -> "subprocess.Popen[bytes]":
    arguments = [way, str(path), str(max(0.5, left)), str(seconds), str(seed)]
    return subprocess.Popen([sys.executable, "-m", "benchmarks.budgets", "--child", *arguments], cwd=_ROOT)


def _look(path: Path, limits: dict[str, float], found: Outcome) -> None:
    """After the leases: what records and holds add up to, and whether the windows say the same."""
    time.sleep(_LEASE + 0.5)
    with TelemetryLogger(path, policies=_policies(limits)) as logger:
        logger.budgets.expire()
        status = {row["budget"]: row for row in logger.budgets.status()}
        found.holds_left = sum(hold["state"] == "held" for hold in logger.budgets.holds())
    with closing(sqlite3.connect(path)) as connection:
        check(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the file is sound")
        (found.calls,) = connection.execute("SELECT count(*) FROM invocations").fetchone()
        for name, where in _WHERE.items():
            sql = f"SELECT coalesce(sum(CAST(cost_usd * 1e9 + 0.5 AS INTEGER)), 0) FROM invocations WHERE {where}"
            (nanos,) = connection.execute(sql).fetchone()
            found.spent[name] = nanos / 1e9
            found.unknown[name] = float(status[name]["unknown"])
            check(status[name]["spent"] == nanos / 1e9, f"{name}: spent is the sum of its records")


def _child_main(way: str, path: str, left: str, seconds: str, seed: str) -> None:
    asyncio.run(_spend(way, Path(path), float(left), _limits(float(seconds)), random.Random(int(seed))))


async def _spend(way: str, path: Path, left: float, limits: dict[str, float], draw: random.Random) -> None:
    end = time.monotonic() + left
    async with AsyncTelemetryLogger(path, policies=_policies(limits), flush_interval=0.05) as telemetry:
        draws = [random.Random(draw.random()) for _ in range(_TASKS)]
        if way == "reserve":
            await asyncio.gather(*(_reserving(telemetry, end, one) for one in draws))
        else:
            await asyncio.gather(*(_checking(telemetry, end, limits, one) for one in draws))


def _names(draw: random.Random) -> dict[str, Any]:
    return {
        "agent_name": draw.choice(["backend-dev", "backend-ops", "tester", "writer"]),
        "tool_name": draw.choice(["claude-code", "aider"]),
        "model_name": draw.choice(["claude-sonnet-4-5", "gpt-4o"]),
    }


def _cost(draw: random.Random) -> float:
    return round(_HOLD * draw.uniform(0.1, 1.0), 9)


async def _reserving(telemetry: AsyncTelemetryLogger, end: float, draw: random.Random) -> None:
    while time.monotonic() < end:
        names = _names(draw)
        try:
            async with telemetry.budgets.reserve(usd=_HOLD, **names) as hold:
                await asyncio.sleep(draw.uniform(0.001, 0.03))  # the call
                await hold.settle(InvocationRecord(**names, cost_usd=_cost(draw)))
        except BudgetExceeded:
            await asyncio.sleep(draw.uniform(0.01, 0.1))


async def _checking(telemetry: AsyncTelemetryLogger, end: float, limits: dict[str, float], draw: random.Random) -> None:
    """What most programs do: compare what was spent until now, then call."""
    while time.monotonic() < end:
        names = _names(draw)
        rows = await telemetry.get_daily_costs(fresh=False)
        matching = [name for name in _LIMITS if _covers(name, names)]
        spent = {name: sum(row["total_cost_usd"] for row in rows if _covers(name, row)) for name in matching}
        if all(spent[name] + _HOLD <= limits[name] for name in matching):
            await asyncio.sleep(draw.uniform(0.001, 0.03))  # the call
            await telemetry.log_invocation(InvocationRecord(**names, cost_usd=_cost(draw)))
        else:
            await asyncio.sleep(draw.uniform(0.01, 0.1))


def _covers(name: str, row: Any) -> bool:
    if name == "agents":
        return str(row["agent_name"]).startswith("backend-")
    if name == "tool":
        return bool(row["tool_name"] == "claude-code")
    return name == "everything" or str(row["model_name"]).startswith("claude-")


# What it costs


async def _latency(report: Report, folder: Path, options: Options) -> None:
    rounds, calls = options.count(7, 1), options.count(300, 30)
    times: dict[str, list[float]] = {}
    names: dict[str, Any] = {"agent_name": "backend-dev", "tool_name": "claude-code", "model_name": "claude-sonnet-4-5"}
    policies = PoliciesConfig.model_validate(
        {"policies": {name: {"scope": _SCOPES[name], "monthly_budget_usd": 1000} for name in _LIMITS}}
    )
    async with AsyncTelemetryLogger(folder / "latency.db", policies=policies) as telemetry:

        async def hop() -> float:
            return await _timed(times, "hop", calls, lambda: asyncio.to_thread(int))

        async def least() -> float:
            with closing(_bare(folder / "bare.db")) as connection:
                return await _timed(times, "least", calls, lambda: asyncio.to_thread(_move_sums, connection))

        async def least_whole() -> float:
            with closing(_connected(folder / "whole.db")) as connection:
                return await _timed(times, "least whole", calls, lambda: asyncio.to_thread(_write_whole, connection))

        async def pair() -> float:
            for _ in range(calls):
                started = time.perf_counter()
                hold = await telemetry.budgets.reserve(usd=0.0001, **names)
                times.setdefault("reserve", []).append(time.perf_counter() - started)
                record = InvocationRecord(**names, total_tokens=300, cost_usd=0.0001, latency_ms=1500)
                started = time.perf_counter()
                check(await hold.settle(record), "it is settled")
                times.setdefault("settle", []).append(time.perf_counter() - started)
            return 0.0

        async def loaded() -> float:
            """The same while the writer is busy."""
            busy = asyncio.create_task(_flood(telemetry))
            for _ in range(calls // 3):
                started = time.perf_counter()
                hold = await telemetry.budgets.reserve(usd=0.0001, **names)
                times.setdefault("loaded", []).append(time.perf_counter() - started)
                await hold.release()
                await asyncio.sleep(0.001)
            busy.cancel()
            await asyncio.wait([busy])
            await telemetry.flush(60)
            return 0.0

        with TelemetryLogger(folder / "whole.db", policies=policies) as logger:
            logger.budgets.reserve(usd=0.0001, **names).release()  # the four windows are there
        await interleave(rounds, {"hop": hop, "least": least, "whole": least_whole, "pair": pair})
        await interleave(options.count(2, 1), {"loaded": loaded})
        check(telemetry.stats().ledger.balanced, "the ledger adds up")
    _check_least(folder, (rounds + 1) * calls)
    _report_latency(report, times)


def _check_least(folder: Path, made: int) -> None:
    """Plain `sqlite3` did what it was timed for."""
    with closing(_bare(folder / "bare.db")) as connection:
        moved = connection.execute("SELECT min(reserved), max(reserved), count(*) FROM sums").fetchone()
        kept = connection.execute("SELECT count(*) FROM kept").fetchone()
        check(moved == (made, made, 4) and kept == (made,), "the bare transactions were made")
    with closing(_connected(folder / "whole.db")) as connection:
        spent = connection.execute("SELECT min(spent_nanos), max(spent_nanos), count(*) FROM budget_windows").fetchone()
        stored = connection.execute("SELECT count(*), (SELECT sum(invocations) FROM daily_costs) FROM invocations")
        check(spent == (made, made, 4) and stored.fetchone() == (made, made), "the bare settlements were made")


def _report_latency(report: Report, times: dict[str, list[float]]) -> None:
    bare = percentile(times["hop"], 0.5) * 1000
    for name, what in (("least", "four sums and a row"), ("least whole", "four sums, a call's row and its totals")):
        report.rows.append(
            Row(f"plain sqlite3 in a thread: {what}, p50", percentile(times[name], 0.5) * 1000, "ms", bare,
                "bare thread hop")
        )  # fmt: skip
    for name in ("reserve", "settle"):
        report.rows.append(
            Row(f"{name} in four budgets, p50", percentile(times[name], 0.5) * 1000, "ms", bare, "bare thread hop",
                bar=Bar("ratio", "<=", 3.0))
        )  # fmt: skip
        report.rows.append(
            Row(f"{name} in four budgets, p99", percentile(times[name], 0.99) * 1000, "ms",
                percentile(times["hop"], 0.99) * 1000, "bare thread hop")
        )  # fmt: skip
    report.rows.append(Row("reserve beside 10,000 records/s, p50", percentile(times["loaded"], 0.5) * 1000, "ms"))
    report.rows.append(Row("reserve beside 10,000 records/s, p99", percentile(times["loaded"], 0.99) * 1000, "ms"))


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _bare(path: Path) -> sqlite3.Connection:
    connection = _connected(path)
    connection.execute("CREATE TABLE IF NOT EXISTS sums (id INTEGER PRIMARY KEY, spent INTEGER, reserved INTEGER)")
    connection.execute("CREATE TABLE IF NOT EXISTS kept (id INTEGER PRIMARY KEY, amount INTEGER)")
    connection.executemany("INSERT INTO sums VALUES (?, 0, 0) ON CONFLICT DO NOTHING", [(at,) for at in range(4)])
    return connection


def _move_sums(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for at in range(4):
        found = connection.execute(
            "UPDATE sums SET reserved = reserved + 1 WHERE id = ? AND spent + reserved + 1 <= 1000000000", (at,)
        )
        check(found.rowcount == 1, "it fits")
    connection.execute("INSERT INTO kept (amount) VALUES (1)")
    connection.execute("COMMIT")


def _write_whole(connection: sqlite3.Connection) -> None:
    names = ("backend-dev", "claude-code", "claude-sonnet-4-5")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO invocations (invocation_id, timestamp, agent_name, tool_name, model_name, total_tokens, cost_usd,"
        " latency_ms, status) VALUES (?, '2026-03-01 10:00:00.000000Z', ?, ?, ?, 300, 0.0001, 1500, 'success')",
        (str(uuid4()), *names),
    )
    connection.execute(
        "INSERT INTO daily_costs (date, agent_name, tool_name, model_name, invocations)"
        " VALUES ('2026-03-01', ?, ?, ?, 1)"
        " ON CONFLICT DO UPDATE SET invocations = invocations + 1, total_tokens = total_tokens + 300",
        names,
    )
    connection.execute("UPDATE daily_costs SET latency_buckets = x'01C80001' WHERE id = 1")
    connection.execute("UPDATE budget_windows SET spent_nanos = spent_nanos + 1, spent_calls = spent_calls + 1")
    connection.execute("COMMIT")


async def _timed(times: dict[str, list[float]], name: str, calls: int, call: Any) -> float:
    mine: list[float] = []
    for _ in range(calls):
        started = time.perf_counter()
        await call()
        mine.append(time.perf_counter() - started)
    times.setdefault(name, []).extend(mine)
    return median(mine)


async def _flood(telemetry: AsyncTelemetryLogger) -> None:
    """Ten thousand records a second, made before, so that the loop has turns to spare."""
    ready = [InvocationRecord(agent_name=f"agent-{number % 50}", total_tokens=number) for number in range(40_000)]
    for start in range(0, len(ready), 50):
        for record in ready[start : start + 50]:
            telemetry.log_invocation_nowait(record)
        await asyncio.sleep(0.005)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 1 where a bar is missed."""
    parsing = parser("Do limits hold across processes, and what do they cost?")
    parsing.add_argument("--seconds", type=float, default=30.0, help="how long each fleet spends (default 30)")
    parsing.add_argument("--child", nargs=5, help="(used by the benchmark itself)")
    given = parsing.parse_args(arguments)
    if given.child:
        _child_main(*given.child)
        return 0
    report = measure(4.0 if given.quick else given.seconds, Options(quick=given.quick))
    show([report], json_wanted=given.json)
    return int(any(row.verdict == "missed" for row in report.rows))


if __name__ == "__main__":
    sys.exit(main())
