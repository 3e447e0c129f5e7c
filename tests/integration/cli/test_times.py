"""Times on the command line: the same words mean the same in every command, and every report says its range."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click
import pytest
from click.testing import Result

from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.time_range import WORDS

from .every_command import command_lines, commands

Run = Callable[..., Result]
HOUR: Final = timedelta(hours=1)
FORMS: Final = (*WORDS, "24h", "7d", "1h30m", "1w", "2026-11-23", "2026-W48", "2026-11", "2026", "2026-11-23T18:00", "2026-11-23 18:00Z")  # fmt: skip


def line(words: str) -> list[str]:
    """How a command is called."""
    return [*words.split(), *(["broken"] if words == "search" else [])]


def having(option: str) -> list[str]:
    """The commands that have an option."""
    return [words for words, command in commands() if any(option in parameter.opts for parameter in command.params)]


RANGED: Final = having("--until")
COUNTED: Final[dict[str, Callable[[Any], int]]] = {
    "costs": lambda found: found["totals"]["invocations"],
    "stats": lambda found: found["total_invocations"],
    "invocations": len,
    "report units": lambda found: found["totals"]["invocations"],
    "export": len,
    "search": len,
    "query": lambda found: found["totals"]["invocations"],
    "top": lambda found: found["totals"]["invocations"],
    "errors": lambda found: found["invocations"],
}
"""How many calls an answer is of."""


@pytest.fixture
def hourly(tmp_path: Path) -> Path:
    """A call half an hour before now, and one each hour before that, for fifty hours."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as telemetry:
        now = datetime.now(UTC)
        for hours in range(50):
            telemetry.log_invocation_nowait(
                InvocationRecord(status="error", error_message="broken", timestamp=now - hours * HOUR - HOUR / 2)
            )
    return path


def answer(result: Result, words: str) -> Any:
    """What a command wrote as JSON."""
    assert result.exit_code == 0, result.output
    return [*map(json.loads, result.stdout.splitlines())] if words == "export" else json.loads(result.stdout)


def count(run: Run, words: str, path: Path, *arguments: object) -> int:
    """Of how many calls its answer is."""
    all_of_them = ["--limit", 100] if words in ("invocations", "search") else []
    return COUNTED[words](answer(run(*line(words), "--db", path, "--json", *all_of_them, *arguments), words))


def test_every_command_that_takes_a_range_is_counted_here() -> None:
    """A new one needs its line above, and `--since` and `--tz` beside its `--until`."""
    assert set(COUNTED) == set(RANGED) <= set(having("--since")) <= set(having("--tz"))


def test_every_command_that_takes_a_time_takes_a_zone() -> None:
    """An option whose value is shown as TIME."""
    takes_time = {
        words
        for words, command in commands()
        if any(parameter.make_metavar(click.Context(command)) == "TIME" for parameter in command.params)
    }
    assert takes_time <= set(having("--tz"))


@pytest.mark.parametrize("words", having("--since"))
@pytest.mark.parametrize("form", FORMS)
def test_every_command_takes_every_word(run: Run, database: Path, words: str, form: str) -> None:
    """As `--since`, and as `--until`."""
    for option in ("--since", "--until") if words in RANGED else ("--since",):
        result = run(*line(words), "--db", database, option, form, "--tz", "Asia/Kathmandu")
        assert result.exit_code == 0, result.output
        assert re.search(r"range:? +(from|up to) .*\(Asia/Kathmandu\)", result.output)


@pytest.mark.parametrize("words", RANGED)
def test_24h_are_24_hours_and_a_day_is_the_zones_in_every_command(run: Run, hourly: Path, words: str) -> None:
    """Not the UTC days that they touch."""
    assert count(run, words, hourly, "--since", "24h") == 24
    assert count(run, words, hourly, "--since", "1d", "--until", "2h") == 22
    with TelemetryLogger(hourly) as telemetry:
        moments = [datetime.fromisoformat(row["timestamp"]) for row in telemetry.get_invocations()]
    for zone in ("America/Los_Angeles", "Asia/Kathmandu", "Australia/Lord_Howe"):
        today = datetime.now(ZoneInfo(zone)).date()
        yesterday = today - timedelta(days=1)
        days = Counter(moment.astimezone(ZoneInfo(zone)).date() for moment in moments)
        assert count(run, words, hourly, "--since", "today", "--tz", zone) == days[today]
        assert (
            count(run, words, hourly, "--since", "yesterday", "--until", "yesterday", "--tz", zone) == days[yesterday]
        )
        assert count(run, words, hourly, "--until", yesterday, "--tz", zone) == 50 - days[today]


@pytest.mark.parametrize("words", RANGED)
def test_an_answer_says_its_range_and_zone(run: Run, hourly: Path, words: str) -> None:
    """Text as a last line; JSON in its keys, and on stderr where it is a list."""
    given = ("--since", "2026-11-22", "--until", "2026-11-22", "--tz", "America/Los_Angeles")
    text = run(*line(words), "--db", hourly, *given)
    said = "range: from 2026-11-22 00:00 to 2026-11-23 00:00 (America/Los_Angeles)"
    assert said in (text.stderr if words == "export" else text.stdout).splitlines()
    found = run(*line(words), "--db", hourly, *given, "--json")
    if words in ("export", "invocations", "search"):
        assert said in found.stderr.splitlines()
    else:
        shown = json.loads(found.stdout)
        ends = [datetime.fromisoformat(shown[end]) for end in ("since", "until")]
        assert ends == [datetime(2026, 11, day, 8, tzinfo=UTC) for day in (22, 23)]
        assert shown["time_zone"] == "America/Los_Angeles"


@pytest.mark.parametrize("words", having("--tz"))
def test_a_zone_that_there_is_not_is_one_line_with_a_guess(run: Run, database: Path, words: str) -> None:
    """Where the command needs one."""
    if words in having("--since"):
        result = run(*line(words), "--db", database, "--tz", "Europe/Berln")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "'Europe/Berln' is no time zone; did you mean Europe/Berlin?" in result.stderr


def evening_zone(now: datetime) -> str:
    """A zone in which it is another day than in UTC, and not near midnight."""
    zones = (f"Etc/GMT{offset:+d}" for offset in range(-14, 13))
    local = ((zone, now.astimezone(ZoneInfo(zone))) for zone in zones)
    return next(zone for zone, there in local if there.date() != now.date() and there.hour not in (0, 23))


COMMAND_LINES = """
import json, sys
from click.testing import CliRunner
from llm_service.cli.commands import cli

for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(cli, arguments)
    if result.exit_code:
        sys.exit(f"{arguments}: {result.output}")
    print(json.dumps(result.stdout))
"""
"""A process of its own, whose zone is that of its environment, and in it one command line after another."""


@pytest.mark.parametrize("zone", ["America/Los_Angeles", None], ids=["Los Angeles", "another day than in UTC"])
def test_a_call_of_this_moment_is_in_today(environment: dict[str, str], tmp_path: Path, zone: str | None) -> None:
    """On the machine's clock, on the command line, and in Python with `time_zone`."""
    zone = environment["TZ"] = zone or evening_zone(datetime.now(UTC))
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path) as telemetry:
        telemetry.log_invocation(InvocationRecord(status="error", error_message="broken"))

    def python(code: str, argument: str) -> list[str]:
        command = [sys.executable, "-c", code, argument]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    lines = [[*line(words), "--since", "today"] for words in RANGED] + [["costs", "--by", "day"], ["report", "month"]]
    outputs = [
        json.loads(said)
        for said in python(COMMAND_LINES, json.dumps([[*each, "--db", str(path), "--json"] for each in lines]))
    ]
    for words, output in zip(RANGED, outputs, strict=False):
        found = [*map(json.loads, output.splitlines())] if words == "export" else json.loads(output)
        assert COUNTED[words](found) == 1, words
    by_day, month = map(json.loads, outputs[len(RANGED) :])
    assert (by_day["rows"][0]["date"], by_day["time_zone"]) == (str(datetime.now(ZoneInfo(zone)).date()), zone)
    assert month["totals"]["to_date"]["invocations"] == 1
    code = (
        "from llm_service.telemetry import TelemetryLogger; import datetime, sys\n"
        "with TelemetryLogger(sys.argv[1], time_zone='local') as t:\n"
        "    midnight = datetime.datetime.combine(datetime.date.today(), datetime.time())\n"
        "    print(len(t.get_invocations(since='today')), t.get_statistics(since='today')['total_invocations'],\n"
        "          len(t.get_invocations(since=midnight)), len(t.get_invocations(since=datetime.date.today())))"
    )
    assert python(code, str(path)) == ["1 1 1 1"]


def test_tables_show_times_on_the_clock_of_the_zone(run: Run, tmp_path: Path) -> None:
    """Under its name; JSON stays UTC."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as telemetry:
        moment = datetime(2026, 11, 23, 3, 0, 5, tzinfo=UTC)
        telemetry.log_invocation(InvocationRecord(agent_name="a", run="nightly@1", timestamp=moment))
    zone = ("--db", path, "--tz", "America/Los_Angeles")
    for words in (("invocations",), ("runs",), ("costs", "--coverage")):
        shown = run(*words, *zone).stdout
        assert "(Los_Angeles)" in shown
        assert "2026-11-22 19:00:05" in shown
    assert "2026-11-22 19:00:05 to 2026-11-22 19:00:05 (America/Los_Angeles)" in run("info", *zone).stdout
    assert json.loads(run("invocations", *zone, "--json").stdout)[0]["timestamp"] == "2026-11-23 03:00:05.000000Z"
    assert run("costs", "--by", "day", *zone).stdout.splitlines()[1].split()[0] == "2026-11-22"
    assert run("costs", "--by", "day", "--db", path, "--tz", "UTC").stdout.splitlines()[1].split()[0] == "2026-11-23"


def test_the_zone_is_that_of_the_configuration_unless_the_command_says_one(run: Run, tmp_path: Path) -> None:
    """And without both that of the machine."""
    path, config = tmp_path / "telemetry.db", tmp_path / "telemetry.yaml"
    TelemetryLogger(path).close()
    config.write_text("time_zone: Asia/Kathmandu\n", "utf-8")
    last = [
        run("stats", "--db", path, *more).stdout.splitlines()[-1].rpartition("(")[2]
        for more in (("--config", config), ("--config", config, "--tz", "Asia/Tokyo"), ())
    ]
    assert last[:2] == ["Asia/Kathmandu)", "Asia/Tokyo)"]
    machine = run("stats", "--db", path, "--tz", "local").stdout.splitlines()[-1].rpartition("(")[2]
    assert last[2] == machine


def test_a_machine_whose_zone_is_unreadable_says_what_to_do(
    process: Callable[..., subprocess.CompletedProcess[str]], environment: dict[str, str], database: Path
) -> None:
    """One line; with `--tz` it is not asked for."""
    environment["TZ"] = "nonsense"
    found = process("stats", "--db", database)
    assert (found.returncode, found.stdout) == (1, "")
    assert "the environment variable TZ is 'nonsense'; " in found.stderr
    assert "give --tz" in found.stderr
    assert process("stats", "--db", database, "--tz", "UTC").returncode == 0


def test_days_whose_records_are_deleted_are_utc_days_and_a_report_says_so(run: Run, tmp_path: Path) -> None:
    """Every call counts once all the same."""
    path, now = tmp_path / "telemetry.db", datetime.now(UTC)
    with TelemetryLogger(path, retention_days=None) as telemetry:
        for days in range(6):
            telemetry.log_invocation_nowait(InvocationRecord(agent_name="a", timestamp=now - timedelta(days=days)))
        telemetry.purge(2)
    kept = (now - timedelta(days=2)).date()
    given = ("--db", path, "--tz", "America/Los_Angeles")
    shown = run("costs", "--by", "day", *given).stdout
    assert f"days before {kept} are UTC days, of which only daily totals are left" in shown.splitlines()
    assert json.loads(run("costs", "--by", "day", *given, "--json").stdout)["totals"]["invocations"] == 6
    widened = run("costs", "--by", "agent", "--since", kept - timedelta(days=2), *given).stdout.splitlines()
    assert widened[-1] == "it is widened to whole UTC days, of which only daily totals are left"
    assert json.loads(run("stats", "--since", "100h", *given, "--json").stdout)["since"].endswith(" 00:00:00.000000Z")


MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?Z")


def moments(found: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of an answer that is a moment, with its key; `hour` is a key of the zone's own clock."""
    if isinstance(found, dict):
        for name, value in found.items():
            yield from moments(value, str(name))
    elif isinstance(found, list):
        for value in found:
            yield from moments(value, key)
    elif isinstance(found, str) and key != "hour" and re.match(r"\d{4}-\d\d-\d\d.\d\d:\d\d", found):
        yield key, found


def test_every_moment_in_json_has_one_form_and_every_range_its_zone(run: Run, hourly: Path, tmp_path: Path) -> None:
    """UTC with a `Z`, as it is stored, in every command; the zone is named beside `since`."""
    folder = tmp_path / "made"
    folder.mkdir()
    told = Counter[str]()
    for line in command_lines(folder):
        if "--json" not in line or line[0] in ("demo", "backup", "doctor", "dead-letters", "compare"):
            continue
        words = next((w for w in having("--tz") if line[: len(w.split())] == w.split()), None)
        zone = ["--tz", "Asia/Kathmandu"] if words is not None else []
        since = ["--since", "7d"] if words in RANGED and "--days" not in line and "--index" not in line else []
        result = run(*line, "--db", hourly, *zone, *since)
        documents = [
            json.loads(text)
            for text in ([result.stdout] if result.stdout[:2] in ("{\n", "[\n") else result.stdout.splitlines())
        ]
        for found in documents:
            for key, text in moments(found):
                assert MOMENT.fullmatch(text), (line, key, text)
                told[line[0]] += 1
            if isinstance(found, dict) and "since" in found and line[0] != "prices":
                assert found["time_zone"] == "Asia/Kathmandu", line
    assert {"query", "top", "stats", "errors", "watch", "invocations", "info"} <= set(told)


def test_the_range_of_an_answer_is_that_of_the_command(run: Run, hourly: Path) -> None:
    """In Python, too."""
    with TelemetryLogger(hourly) as telemetry:
        answer = telemetry.query(by="hour", since="2026-11-22", until="2026-11-22", time_zone="Asia/Kathmandu")
    given = ("--since", "2026-11-22", "--until", "2026-11-22", "--tz", "Asia/Kathmandu", "--json", "--db", hourly)
    for words in ("query", "stats", "errors", "top calls", "top", "costs", "report units"):
        found = json.loads(run(*words.split(), *given).stdout)
        assert (found["since"], found["until"], found["time_zone"]) == (answer.since, answer.until, answer.time_zone)
    assert answer.since == "2026-11-21 18:15:00.000000Z"


def test_help_says_that_a_period_as_since_goes_on_to_now_and_how_it_is_alone(run: Run, hourly: Path) -> None:
    """`--since yesterday` has today's calls; of each command that has both options."""
    for words, command in commands():
        helps = {max(one.opts, key=len): one.help for one in command.params if isinstance(one, click.Option)}
        if {"--since", "--until"} <= helps.keys():
            assert "to now" in (helps["--since"] or ""), words
            assert "--since yesterday --until yesterday" in (helps["--until"] or ""), words
    alone = ("query", "--since", "yesterday", "--until", "yesterday", "--tz", "UTC", "--json", "--db", hourly)
    found = json.loads(run(*alone).stdout)
    start, end = (datetime.fromisoformat(found[name]) for name in ("since", "until"))
    assert end - start == timedelta(days=1)
    assert json.loads(run(*alone[:3], *alone[5:]).stdout)["until"] is None
