"""The commands of `llm-telemetry`: what each takes, and where its answer comes from.

What a command needs beyond click is imported when it runs, so that `--help` answers at once.
"""

import asyncio
import math
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm_service import __version__
from llm_service.cli.options import DAY, DAY_OR_MOMENT, SPEED, common, filters, settings_for
from llm_service.cli.output import clean, json_document, progress
from llm_service.errors import QueryError, TelemetryError

if TYPE_CHECKING:
    from llm_service.cli.reports import Moment
    from llm_service.config.settings import Settings

__all__ = ["cli"]

EXIT_INTERRUPTED = 130
"""As a shell reports a process that SIGINT ended: 128 + 2."""


class _Failure(click.ClickException):
    """One line on stderr, where an operation failed."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(clean(" ".join(message.split())))


class _Misuse(_Failure):
    """One line on stderr, where the command line is at fault."""

    exit_code = 2


class _Commands(click.Group):
    """Where errors end: what a user can cause becomes one line; a fault of ours keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except QueryError as error:  # all arguments of queries come from the command line
            raise _Misuse(str(error)) from error
        except BrokenPipeError:
            raise  # click ends quietly: whoever reads us has seen enough
        except (TelemetryError, OSError, ValueError) as error:
            raise _Failure(str(error)) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  llm-telemetry demo
  llm-telemetry stats --days 30
  llm-telemetry COMMAND --help""",
)
@click.version_option(__version__, prog_name="llm-telemetry")
def cli() -> None:
    """The flight recorder for LLM calls.

    Without --db, the database is that of the configuration: --config PATH, else where the loggers look for one.

    Exit codes: 0 done, 1 failed, 2 used wrongly, 130 interrupted.
    """


@cli.command(
    epilog="""\b
Examples:
  llm-telemetry demo
  llm-telemetry demo --agents 50 --db ./demo.db
  llm-telemetry demo --json"""
)
@click.option("--agents", type=click.IntRange(1, 10_000), default=8, show_default=True, help="Concurrent agents.")
@common
def demo(*, agents: int, db: Path | None, config: Path | None, as_json: bool) -> None:
    """Replay the beginning of a real trace into a fresh file, and show what it cost.

    The database is a new temporary file, which is kept; with --db it is that file, which must not exist yet.
    """
    from llm_service.cli import views  # noqa: PLC0415
    from llm_service.cli.demo import ROWS, run_demo  # noqa: PLC0415

    if db is not None and db.exists():
        raise click.BadParameter(f"{db} exists; the demo writes only to a new file", param_hint="--db")
    if db is None:
        db = Path(tempfile.mkdtemp(prefix="llm-telemetry-demo-")) / "telemetry.db"
    with progress(ROWS, "replaying") as on_progress:
        report = run_demo(_recording(settings_for(db, config)), agents, on_progress)
    if as_json:
        json_document(views.demo_dict(report))
    else:
        views.show_demo(report)
    _check(report.replayed.complete, report.replayed.db_path)


@cli.command(
    epilog="""\b
Examples:
  llm-telemetry replay trace.csv --db ./telemetry.db
  llm-telemetry replay trace.csv --agents 50 --shift-to-now
  llm-telemetry replay trace.csv --speed 60 --limit 1000 --json"""
)
@click.argument("trace", metavar="FILE.csv", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--agents", type=click.IntRange(1, 10_000), default=8, show_default=True, help="Concurrent agents.")
@click.option(
    "--speed", type=SPEED, default="max", show_default=True, help="1 is the trace's own pace, 0 or max no waiting."
)
@click.option("--shift-to-now", is_flag=True, help="Move the calls' times so that the last one ends now.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Replay only the first N calls.")
@common
def replay(
    *,
    trace: Path,
    agents: int,
    speed: float,
    shift_to_now: bool,
    limit: int | None,
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Replay a trace of LLM calls through the logger, as concurrent agents.

    FILE.csv has the columns TIMESTAMP, ContextTokens and GeneratedTokens, as the Azure LLM Inference Trace 2023 has.
    Agents, models, prices, latency and failures are modelled.
    """
    from llm_service.cli import reports, views  # noqa: PLC0415
    from llm_service.cli.replay import Plan  # noqa: PLC0415
    from llm_service.cli.replay import replay as run  # noqa: PLC0415
    from llm_service.cli.trace import read_trace  # noqa: PLC0415

    settings = _recording(settings_for(db, config))
    rows = read_trace(trace, limit)
    pace = None if math.isinf(speed) else speed
    plan = Plan(rows=rows, agents=agents, speed=pace, shift_to_now=shift_to_now)
    with progress(len(rows), "replaying") as on_progress:
        report = asyncio.run(run(plan, settings, on_progress))
    records = reports.count_records(report.db_path)
    if as_json:
        json_document(views.replay_dict(report, records, shifted=shift_to_now))
    else:
        views.show_replay(report, records, source=trace.name, shifted=shift_to_now)
    _check(report.complete, report.db_path)


@cli.command(
    epilog="""\b
Examples:
  llm-telemetry stats
  llm-telemetry stats --agent backend-dev --days 30
  llm-telemetry stats --db ./telemetry.db --json"""
)
@filters
@click.option("--days", type=float, default=7, show_default=True, help="The last so many days.")
@common
def stats(
    *,
    agent_name: str | None,
    tool_name: str | None,
    model_name: str | None,
    days: float,
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Counts, tokens, costs and latency of the last days."""
    from llm_service.cli import reports, views  # noqa: PLC0415

    found = reports.statistics(settings_for(db, config).db_path, days, agent_name, tool_name, model_name)
    if as_json:
        json_document(found)
    else:
        views.show_statistics(found)


@cli.command(
    epilog="""\b
Examples:
  llm-telemetry costs --since 2026-11-01
  llm-telemetry costs --since 2026-11-01 --until 2026-11-30 --agent backend-dev
  llm-telemetry costs --model gpt-4o --json"""
)
@click.option("--since", type=DAY, metavar="YYYY-MM-DD", help="From this UTC day on.")
@click.option("--until", type=DAY, metavar="YYYY-MM-DD", help="Up to this UTC day, inclusive.")
@filters
@common
def costs(
    *,
    since: date | None,
    until: date | None,
    agent_name: str | None,
    tool_name: str | None,
    model_name: str | None,
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Daily totals by agent, tool and model, newest day first."""
    from llm_service.cli import reports, views  # noqa: PLC0415

    path = settings_for(db, config).db_path
    found = reports.daily_costs(path, since, until, agent_name, tool_name, model_name)
    if as_json:
        json_document(found)
    else:
        views.show_costs(found)


@cli.command(
    epilog="""\b
Examples:
  llm-telemetry invocations --status error --limit 50
  llm-telemetry invocations --since 2026-11-23T18:00:00Z --agent backend-dev
  llm-telemetry invocations --session 4711 --json"""
)
@filters
@click.option("--status", type=click.Choice(["success", "error", "timeout"]), help="Only calls that ended so.")
@click.option("--session", "session_id", metavar="ID", help="Only this session.")
@click.option("--since", type=DAY_OR_MOMENT, metavar="TIME", help="From this UTC day, or this moment, on.")
@click.option(
    "--until", type=DAY_OR_MOMENT, metavar="TIME", help="Up to this UTC day (inclusive), or before this moment."
)
@click.option("--limit", type=int, default=20, show_default=True, help="At most so many.")
@common
def invocations(
    *,
    agent_name: str | None,
    tool_name: str | None,
    model_name: str | None,
    status: str | None,
    session_id: str | None,
    since: "Moment | None",
    until: "Moment | None",
    limit: int,
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Stored calls, newest first."""
    from llm_service.cli import reports, views  # noqa: PLC0415

    path = settings_for(db, config).db_path
    found = reports.invocations(path, since, until, agent_name, tool_name, model_name, status, session_id, limit)
    if as_json:
        json_document(found)
    else:
        views.show_invocations(found)


def _recording(settings: "Settings") -> "Settings":
    """Settings to replay with: an old trace would be past its retention at once."""
    if not settings.enabled or settings.privacy_level == "none":
        setting = "enabled: false" if not settings.enabled else "privacy_level: none"
        raise _Failure(f"the configuration says {setting}, so nothing would be stored; change it or give --db alone")
    return replace(settings, retention_days=None)


def _check(complete: bool, path: Path) -> None:  # noqa: FBT001 - the one thing it is about
    if not complete:
        raise _Failure(f"not every call reached {path}: see the ledger")
