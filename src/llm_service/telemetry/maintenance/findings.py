"""What doctor can find: each kind has a name, a gravity, an exit code of its own, and a remedy.

The codes rise with the gravity, so the code of a report is the highest of its findings. 0 is healthy; 1, 2 and 130 keep
the meaning they have for every command (failed, used wrongly, interrupted).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

__all__ = ["KINDS", "Finding", "Kind", "Severity", "exit_code", "found", "healthy"]


class Severity(Enum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    """Records are safe today; look at it."""
    ERROR = "error"
    """Records, totals or the next commit are at risk."""


class Kind(NamedTuple):
    """One thing that can be wrong; `doctor` ends with its exit code where nothing graver is found."""

    name: str
    check: str
    severity: Severity
    exit_code: int
    remedy: str


_W: Final = Severity.WARNING
_E: Final = Severity.ERROR

KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("wal_reset_bug", "sqlite", _W, 0, "use Python with SQLite 3.51.3, 3.50.7, 3.44.6 or newer of these"),
        Kind("not_checked", "integrity", _W, 11, "give it time: llm-telemetry doctor --full"),
        Kind("dead_letters", "dead_letters", _W, 12, "llm-telemetry dead-letters list, then retry or drop"),
        Kind("damaged_leftovers", "leftovers", _W, 13, "salvage them (--db FILE --salvage NEW.db), then delete them"),
        Kind("orphan_journals", "journals", _W, 14, "open a logger on the file: it commits what they hold"),
        Kind("retention_lag", "retention", _W, 15, "keep a logger with this configuration running: it deletes"),
        Kind("triggers", "schema", _W, 16, "drop them: they run inside each commit of the writer"),
        Kind("older_schema", "schema", _W, 17, "the next logger that opens the file migrates it"),
        Kind("wal_size", "wal", _W, 18, "let a writer run, or run: sqlite3 FILE 'PRAGMA wal_checkpoint(TRUNCATE)'"),
        Kind("wal_blocked", "wal", _W, 19, "end the reading transaction of that process"),
        Kind("permissions", "permissions", _W, 20, "llm-telemetry doctor --repair makes them 0600 and 0700"),
        Kind("disk_low", "disk", _W, 21, "make room, or lower retention_days"),
        Kind("hot_journal", "wal", _W, 22, "the next open plays it back; remove it if you do not know who left it"),
        Kind("budget_counters", "budgets", _W, 23, "install tzdata, or upgrade; then llm-telemetry doctor --repair"),
        Kind("dated_ahead", "dated_ahead", _W, 24, "correct the clock, or what gives the timestamps; see the manual"),
        Kind("search_incomplete", "search", _W, 25, "llm-telemetry search --index completes it, and so do loggers"),
        Kind("search_index", "search", _E, 27, "llm-telemetry doctor --repair makes it anew from the contents"),
        Kind("odd_values", "values", _E, 28, "doctor --repair makes sums right, --salvage NEW.db moves calls"),
        Kind("budgets", "budgets", _E, 29, "llm-telemetry doctor --repair recounts them from the records"),
        Kind("config_error", "config", _E, 30, "correct what the message names"),
        Kind("missing_index", "schema", _E, 31, "llm-telemetry doctor --repair makes it again"),
        Kind("aggregates", "aggregates", _E, 32, "llm-telemetry doctor --repair rebuilds them from the records"),
        Kind("duplicate_ids", "ids", _E, 33, "llm-telemetry doctor --salvage NEW.db keeps the first of each"),
        Kind("schema", "schema", _E, 34, "llm-telemetry doctor --salvage NEW.db moves the records into sound tables"),
        Kind("links", "permissions", _E, 35, "keep one name for each file; move away links, and what is not SQLite's"),
        Kind("foreign_owner", "permissions", _E, 36, "give the files to the user who writes them (chown)"),
        Kind("disk_full", "disk", _E, 37, "make room: the next commits will wait in memory and then be shed"),
        Kind("sqlite_too_old", "sqlite", _E, 38, "upgrade Python or SQLite"),
        Kind("newer_schema", "file", _E, 39, "upgrade llm-service-telemetry; this release leaves the file alone"),
        Kind("unreadable", "file", _E, 40, "check the permissions of the file and its folder, and the disk"),
        Kind("missing_file", "file", _E, 41, "give the right file with --db or --config; a logger makes a new one"),
        Kind("empty_file", "file", _E, 42, "a logger will make the tables; what was there is in a backup, if anywhere"),
        Kind("foreign_database", "file", _E, 43, "give another db_path: this one belongs to another program"),
        Kind("not_a_database", "file", _E, 44, "move it away, or try: llm-telemetry doctor --salvage NEW.db"),
        Kind("damaged", "integrity", _E, 45, "llm-telemetry doctor --salvage NEW.db, then put NEW.db in its place"),
    )
}
"""All kinds, by name, from the lightest to the gravest."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw.

    Attributes:
        name: the kind's name; the check's own where all is well.
        exit_code: the kind's; 0 where all is well.
        remedy: what to do about it; empty where all is well.
    """

    check: str
    name: str
    severity: Severity
    exit_code: int
    seen: str
    remedy: str


def healthy(check: str, seen: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding(check, check, Severity.OK, 0, seen, "")


def found(name: str, seen: str, check: str | None = None) -> Finding:
    """Something of a known kind; `check` where another than the kind's own came upon it."""
    kind = KINDS[name]
    return Finding(check or kind.check, name, kind.severity, kind.exit_code, seen, kind.remedy)


def exit_code(findings: Iterable[Finding]) -> int:
    """The code of the gravest finding; 0 where there is none."""
    return max((finding.exit_code for finding in findings), default=0)
