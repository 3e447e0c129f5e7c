"""The settings of a logger: the only place of their names, units, defaults and bounds.

`TelemetryConfig` (YAML, environment) and the loggers' keyword arguments both become a `Settings`.
"""

import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, Self, TypedDict

from llm_service.errors import SettingsError
from llm_service.redaction import shown

__all__ = [
    "DEFAULT_DB_PATH",
    "Overflow",
    "PrivacyLevel",
    "Settings",
    "SettingsError",
    "SettingsOptions",
    "followed",
    "trusted_owner",
]

PrivacyLevel = Literal["none", "metadata", "full"]
Overflow = Literal["block", "drop_newest", "drop_oldest"]

DEFAULT_DB_PATH: Final = "~/.llm-service/telemetry.db"
PRIVACY_LEVELS: Final[tuple[PrivacyLevel, ...]] = ("none", "metadata", "full")
_MOST_LINKS: Final = 40
"""The kernel's own limit."""
OVERFLOWS: Final = ("block", "drop_newest", "drop_oldest")


class SettingsOptions(TypedDict, total=False):
    """The keyword arguments of every logger besides `db_path`; `Settings` documents each."""

    enabled: bool
    privacy_level: PrivacyLevel
    retention_days: int | None
    content_retention_days: int | None
    flush_interval: float
    batch_size: int
    queue_max_records: int
    queue_max_bytes: int
    overflow: Overflow
    block_timeout: float
    commit_timeout: float
    close_timeout: float
    strict: bool
    redact_content: bool
    journal: bool
    search: bool
    time_zone: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides how a logger behaves. Immutable, picklable, checked on construction.

    Attributes:
        db_path: absolute path of the SQLite file; `~` is expanded, a relative path is resolved once, against the
            current directory, and a symlink that this user or root made is followed once. Its folder is created (mode
            0700) when the file is.
        enabled: False turns every call into a counted no-op; nothing is created on disk.
        privacy_level: `metadata` (no prompt, no response), `full`, or `none` (nothing is written or created).
        retention_days: how many UTC days of records to keep beside today; older ones are deleted in the background,
            daily totals never. 0 and None keep them all.
        content_retention_days: the same for prompts and responses, which never outlive their record; 0 and None keep
            them as long as the record.
        flush_interval: seconds; a record is committed within this time of its own age.
        batch_size: this many queued records trigger a commit before `flush_interval` has passed.
        queue_max_records: maximum of records in the queue.
        queue_max_bytes: maximum of bytes in the queue, by `InvocationRecord.size`.
        overflow: the policy at these bounds: `block` (an awaited call waits up to `block_timeout`), `drop_newest`
            or `drop_oldest`.
        block_timeout: seconds an awaited call waits for room before its record is dropped and counted.
        commit_timeout: seconds that a durable call waits for its commit before `CommitTimeoutError`.
        close_timeout: default timeout of `close` and `aclose` in seconds.
        strict: True makes `invocation()` raise on a bad value instead of storing NULL and counting it.
        redact_content: False stores prompts and responses (level `full`) as they are; all else is always redacted.
        journal: True writes each record to a crash journal before it is accepted, so that SIGKILL, the OOM killer and
            `os._exit` lose none: a file beside the database, allocated in full, as large as `queue_max_bytes`.
        search: True makes an index of the words of prompts, responses and error messages (level `full`) where the file
            has none, and completes it in the background. Whoever writes to a file that has one keeps it, whatever this
            says; `llm-telemetry search --drop-index` removes it.
        time_zone: where the days of queries begin (`since="yesterday"`): a name of the IANA database, `UTC`, or `local`
            for the machine's. None is UTC for loggers, and the machine's for the command line.
    """

    db_path: Path = field(default_factory=lambda: Path(DEFAULT_DB_PATH))
    enabled: bool = True
    privacy_level: PrivacyLevel = "metadata"
    retention_days: int | None = 30
    content_retention_days: int | None = None
    flush_interval: float = 0.2
    batch_size: int = 256
    queue_max_records: int = 100_000
    queue_max_bytes: int = 64 * 1024 * 1024
    overflow: Overflow = "block"
    block_timeout: float = 1.0
    commit_timeout: float = 10.0
    close_timeout: float = 5.0
    strict: bool = False
    redact_content: bool = True
    journal: bool = False
    search: bool = False
    time_zone: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "db_path", resolve_db_path(self.db_path))
        for name in ("enabled", "strict", "redact_content", "journal", "search"):
            _one_of(name, getattr(self, name), (True, False), "use true or false")
        _one_of("privacy_level", self.privacy_level, PRIVACY_LEVELS, "use none, metadata or full")
        _one_of("overflow", self.overflow, OVERFLOWS, "use block, drop_newest or drop_oldest")
        for name in ("retention_days", "content_retention_days"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), 0, 36_500)
                if getattr(self, name) == 0:  # keep for ever, like None
                    object.__setattr__(self, name, None)
        _whole("batch_size", self.batch_size, 1, 100_000)
        _whole("queue_max_records", self.queue_max_records, 1, 100_000_000)
        _whole("queue_max_bytes", self.queue_max_bytes, 65_536, 2**40)
        _seconds("flush_interval", self.flush_interval, 0.001, 3600.0)
        for name in ("block_timeout", "commit_timeout", "close_timeout"):
            _seconds(name, getattr(self, name), 0.0, 86_400.0)
        if self.time_zone is not None:
            _zone("time_zone", self.time_zone)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all settings, in documentation order."""
        return tuple(f.name for f in fields(cls))

    @classmethod
    def of(cls, db_path: str | Path | None, options: Mapping[str, Any]) -> Self:
        """Build settings from a logger's arguments; an unknown option is an error that lists the known ones."""
        unknown = sorted(set(options) - set(cls.names()))
        if unknown:
            known = ", ".join(cls.names())
            raise TypeError(f"unknown option {shown(unknown[0])}; the options are: {known}")
        return cls(db_path=Path(DEFAULT_DB_PATH) if db_path is None else db_path, **options)  # type: ignore[arg-type]


_SERVERS: Final = "postgres(?:ql)?|mysql|mariadb|mssql|oracle|mongodb|redis|sqlite|https?"
_URL: Final = re.compile(rf"\s*(?:[A-Za-z][\w+.-]+://|(?:{_SERVERS})(?:\+\w+)?:/)", re.IGNORECASE)
"""`postgresql://`, also with one slash, as pathlib normalises it."""


def resolve_db_path(value: object, base: Path | None = None) -> Path:
    """The absolute path of a user's `db_path`.

    Args:
        value: str or Path; `~` is expanded.
        base: folder for relative paths; default: the current directory.

    Raises:
        SettingsError: for an empty path, `:memory:`, a URL, a character no path can hold, another type,
            or where the home folder or the current directory that the path needs does not exist.
    """
    if not isinstance(value, str | Path):
        raise SettingsError("db_path", value, "give a path, as a str or a pathlib.Path")
    text = str(value)
    if not text.strip() or text == ".":
        raise SettingsError("db_path", value, "give the path of a file, for example ~/.llm-service/telemetry.db")
    if "\0" in text or not _encodable(text):
        raise SettingsError("db_path", value, "a path cannot hold a NUL byte or a lone surrogate")
    if text.startswith(":memory:"):
        raise SettingsError(
            "db_path", value, "records must outlive the process and readers open the file by path: give a file"
        )
    if text.startswith("file:"):
        raise SettingsError("db_path", value, "give a plain path: URL options would change locking and durability")
    scheme = _URL.match(text)
    if scheme is not None:  # the rest may hold a password
        raise SettingsError(
            "db_path", f"{scheme[0]}...", "give the path of a file: records are stored in SQLite, not on a server"
        )
    try:
        path = followed(((base or Path()) / Path(text).expanduser()).absolute())
        if path.name:
            return path
        raise SettingsError("db_path", value, "it is the root folder: give the path of a file")
    except (RuntimeError, OSError) as error:  # `~` of an unknown user; a current directory that was deleted
        raise SettingsError("db_path", value, f"give an absolute path ({error})") from None


def trusted_owner(user: int) -> bool:
    """Whether a file of this user is trusted: this user's and root's; all, without user ids (Windows)."""
    return not hasattr(os, "geteuid") or user in {os.geteuid(), 0}


def followed(path: Path) -> Path:
    """The target of a symlink, if this user or root made it; another user's is returned, to be refused later.

    Resolved only once: SQLite keeps the -wal beside the target, and a later change of the link must have no effect.
    """
    with suppress(OSError):  # missing or not readable: opening will report it
        for _ in range(_MOST_LINKS):
            found = path.lstat()
            if not stat.S_ISLNK(found.st_mode) or not trusted_owner(found.st_uid):
                break
            path = Path(os.path.normpath(path.parent.resolve() / path.readlink()))
    return path


def _encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _one_of(name: str, value: object, allowed: tuple[object, ...], remedy: str) -> None:
    if not any(value is choice or (isinstance(choice, str) and value == choice) for choice in allowed):
        raise SettingsError(name, value, remedy)


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(name, value, f"use a whole number from {low:,} to {high:,}")


def _seconds(name: str, value: object, low: float, high: float) -> None:
    # The range refuses NaN, which fails every comparison, and infinity.
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise SettingsError(name, value, f"use a number of seconds from {low:g} to {high:g}")


def _zone(name: str, value: object) -> None:
    from llm_service.config.time_zones import zone_named  # noqa: PLC0415 - few need the time zone database

    try:
        zone_named(value)
    except ValueError as error:
        raise SettingsError(name, value, str(error)) from None
