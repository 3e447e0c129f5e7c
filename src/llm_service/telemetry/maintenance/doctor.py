"""Doctor: every check in order, each reported whatever the others saw, and not one byte of the file changed."""

import sqlite3
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from time import monotonic
from typing import Final

from llm_service.config.settings import Settings
from llm_service.errors import ForeignDatabaseError, PlantedFileError
from llm_service.redaction import shown
from llm_service.telemetry.maintenance import content_checks, file_checks
from llm_service.telemetry.maintenance.budget_checks import check_budgets, check_counters
from llm_service.telemetry.maintenance.cell_values import check_values
from llm_service.telemetry.maintenance.check_session import OutOfTimeError, look, status_of
from llm_service.telemetry.maintenance.findings import Finding, found, healthy
from llm_service.telemetry.maintenance.word_index import check_index
from llm_service.telemetry.stores.sqlite import migrations
from llm_service.telemetry.stores.sqlite.file_identity import Identity, identify_file

__all__ = ["SECONDS", "carry_out", "examine", "identify"]

SECONDS: Final = 10.0
"""What each check of the contents may take, unless it is told otherwise."""

Check = Callable[[sqlite3.Connection], Finding | list[Finding]]


def examine(
    path: Path,
    settings: Settings | None = None,
    *,
    full: bool = False,
    seconds: float = SECONDS,
    now: datetime | None = None,
) -> list[Finding]:
    """Check a database and its surroundings, read-only.

    Args:
        settings: the configuration in force; None where only a path is known, and retention cannot be judged.
        full: `integrity_check` instead of `quick_check`, every id, and no time limit. Each check of the contents then
            holds a snapshot while it runs, during which the WAL of a busy file grows.
        seconds: what each check of the contents may take without `full`; what does not end is reported as such.
        now: aware; default the current time.

    Returns:
        One finding at least for each check that could be made, in a fixed order.
    """
    moment = now or datetime.now(UTC)
    findings = [file_checks.check_sqlite(), file_checks.check_disk(path)]
    status = status_of(path)
    if status is None:
        return [*findings, found("missing_file", f"there is no {path}"), file_checks.check_leftovers(path)]
    kind = identify(path)
    findings += file_checks.check_permissions(path)
    if kind.name != "links":  # else what stands there is not SQLite's
        findings.append(file_checks.check_wal(path))
    findings += [file_checks.check_journals(path), file_checks.check_leftovers(path), kind]
    if kind.exit_code and kind.name != "older_schema":
        return findings
    limit = inf if full else seconds
    for name, check in _checks(settings, moment, limit, full=full):
        findings += carry_out(path, name, check)
    return findings


def identify(path: Path) -> Finding:
    """What kind of file this is."""
    try:
        identity = identify_file(path)
    except (PlantedFileError, ForeignDatabaseError) as error:
        is_file = stat.S_ISREG(path.lstat().st_mode)
        return found("links" if is_file else "unreadable", str(error), "file")
    except sqlite3.Error as error:
        is_foreign = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_NOTADB
        kind = "not_a_database" if is_foreign else "damaged" if _is_damage(error) else "unreadable"
        return found(kind, f"{path.name} cannot be read: {error}", "file")
    return _of_kind(path, identity)


def _of_kind(path: Path, identity: Identity) -> Finding:
    application, version, objects, *_ = identity
    if identity.is_foreign:
        return found("foreign_database", f"an SQLite database with application_id {application} and {objects} objects")
    if version > migrations.VERSION:
        return found("newer_schema", f"schema version {version}; this release knows {migrations.VERSION}")
    if identity.views:
        return found("schema", f"views stand in the place of {identity.views} of the tables", "file")
    if not objects:
        return found("empty_file", f"{path.lstat().st_size} bytes, no tables")
    if version < 1:
        return found("schema", f"user_version is {version}, which no release wrote", "file")
    return healthy("file", str(path))


def _checks(settings: Settings | None, now: datetime, limit: float, *, full: bool) -> Iterator[tuple[str, Check]]:
    yield "integrity", lambda at: content_checks.check_integrity(at, full=full, deadline=monotonic() + limit)
    yield "schema", content_checks.check_schema
    yield "ids", lambda at: content_checks.check_ids(at, full=full, deadline=monotonic() + limit)
    yield "values", lambda at: check_values(at, full=full, deadline=monotonic() + limit)
    yield "aggregates", lambda at: content_checks.check_aggregates(at, monotonic() + limit)
    yield "search", lambda at: check_index(at, monotonic() + limit)
    yield "budgets", lambda at: check_budgets(at, now, monotonic() + limit)
    yield "budget_counters", lambda at: check_counters(at, now)
    yield "dated_ahead", lambda at: content_checks.check_dated_ahead(at, now)
    if settings is None:
        yield "retention", lambda _: healthy("retention", "not judged: --db was given without --config")
    else:
        yield "retention", lambda at: content_checks.check_retention(at, settings.retention_days, now)
    yield "dead_letters", content_checks.check_dead_letters


def carry_out(path: Path, name: str, check: Check) -> list[Finding]:
    """Make one check; what keeps it from being made is a finding of its own."""
    try:
        made = look(path, check)
    except OutOfTimeError:
        return [found("not_checked", f"{name}: its time was up", name)]
    except sqlite3.Error as error:
        if _is_damage(error):
            return [found("damaged", f"{name}: stopped at: {error}", name)]
        return [found("not_checked", f"{name}: stopped at: {error}", name)]
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a cell that holds what nobody expects
        return [found("not_checked", f"{name}: stopped at what no writer wrote ({shown(error)})", name)]
    return made if isinstance(made, list) else [made]


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the bytes are at fault; a page that is missing at the end (a short read) is damage, too."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} or code == sqlite3.SQLITE_IOERR_SHORT_READ
