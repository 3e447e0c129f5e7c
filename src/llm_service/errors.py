"""Every error this project raises, in one tree.

TelemetryError
├── SettingsError (ValueError)                 a setting cannot be used
├── ConfigError (ValueError)                   a configuration file or environment variable cannot be used
│   └── ConfigErrors                           several of them, of one file
├── RecordError (ValueError)                   a field of a record cannot be stored
├── QueryError (ValueError)                    a query's argument cannot be used
├── UnknownRunError (LookupError)              no record belongs to this run
├── MissingPackageError (ImportError)          what was asked for needs a package that is not installed
├── UnsupportedLoopError (RuntimeError)        the caller does not run on asyncio
├── SignalError (RuntimeError)                 a signal handler cannot be installed here
├── BudgetError                                a call may not be made under its budgets
│   ├── BudgetExceeded                         it would not fit into a limit
│   ├── UnknownPriceError                      its price is unknown, and its policy blocks such calls
│   ├── UnknownTokensError                     its tokens are unknown, and a hard limit counts them
│   ├── BudgetUnreadableError                  what its window holds is damaged in the file
│   └── JustificationNeededError               it costs more than its policy allows without a justification
└── StoreError                                 a promised commit, or a file, could not be had
    ├── CommitTimeoutError (TimeoutError)      not committed in time; the record stays queued
    ├── RecordDroppedError                     the record was dropped, and why
    ├── RecordQuarantinedError (ValueError)    SQLite refused the record; it is in `dead_letters`
    ├── DuplicateInvocationError (sqlite3.IntegrityError)
    └── DatabaseUnusableError                  no retry will help
        ├── NewerSchemaError                   written by a newer release
        ├── ForeignDatabaseError               not a telemetry database
        ├── PlantedFileError                   a link, or a file of another user, stands in its place
        └── SQLiteTooOldError                  the linked SQLite library is too old
"""

import re
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from llm_service.extras import install
from llm_service.redaction import clean, quoted, shown

__all__ = [
    "BudgetError", "BudgetExceeded", "BudgetUnreadableError", "CommitTimeoutError", "ConfigError", "ConfigErrors",
    "DatabaseUnusableError", "DuplicateInvocationError", "ForeignDatabaseError", "JustificationNeededError",
    "MissingPackageError", "NewerSchemaError", "PlantedFileError", "QueryError", "RecordDroppedError", "RecordError",
    "RecordQuarantinedError", "SQLiteTooOldError", "SettingsError", "SignalError", "StoreError", "TelemetryError",
    "UnknownPriceError", "UnknownRunError", "UnknownTokensError", "UnsupportedLoopError",
]  # fmt: skip


_MOST_LISTED: Final = 50
_PLAIN_KEY: Final = re.compile(r"[\w.:/@\[\]+-]{1,160}")
"""A setting, or a path of keys such as `models.gpt-4o.aliases[1]`: it stands in a message as it is."""


class TelemetryError(Exception):
    """Base of all errors raised here; each can be pickled and copied as it is."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[TelemetryError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> TelemetryError:
    """Unpickles an error without its constructor, which takes what the message is made of."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


class _FieldError(TelemetryError, ValueError):
    """A named value cannot be used.

    Attributes:
        field: the name of the argument, setting or field.
        value: what was given, as it was given: the message quotes it without secrets, and nothing else does.
        remedy: what to give instead, with the bounds.
    """

    def __init__(self, field: str, value: object, remedy: str) -> None:
        text = quoted(field, value)
        super().__init__(f"{clean(field)}: {text} is not usable; {clean(remedy)}")
        self.field = field
        self.value = value
        self.remedy = remedy


class SettingsError(_FieldError):
    """A setting has a value that cannot be used."""


class ConfigError(TelemetryError, ValueError):
    """A configuration file or an environment variable cannot be used.

    The message reads `FILE:LINE: KEY: what is wrong; remedy`, without the parts that do not apply.

    Attributes:
        file: the YAML file, as it was named or found; None when the environment or a default is at fault.
        line: line in `file`, counted from 1; None when the whole file is at fault.
        key: the setting, the path of keys (`models.gpt-4o.aliases[1]`) or the name of the environment variable; None
            when no single one is at fault.
    """

    def __init__(
        self, problem: str, *, file: Path | None = None, line: int | None = None, key: str | None = None
    ) -> None:
        place = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        name = "" if key is None else f"{key if _PLAIN_KEY.fullmatch(key) else shown(key)}: "
        super().__init__(f"{clean(place)}{clean(name)}{clean(problem)}")
        self.file = file
        self.line = line
        self.key = key

    @property
    def errors(self) -> "tuple[ConfigError, ...]":
        """The single errors; of one error, itself."""
        return (self,)


class ConfigErrors(ConfigError):  # noqa: N818 - it is several
    """Several things in one configuration file cannot be used: the message has one line for each.

    Attributes:
        errors: each of them, in the order of lines; `file`, `line` and `key` are those of the first.
    """

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self._errors = tuple(errors)
        first = self._errors[0]
        super().__init__("", file=first.file, line=first.line, key=first.key)
        listed = [str(error) for error in self._errors[:_MOST_LISTED]]
        if len(self._errors) > _MOST_LISTED:
            listed.append(f"and {len(self._errors) - _MOST_LISTED:,} more")
        self.args = ("\n".join(listed),)

    @property
    def errors(self) -> tuple[ConfigError, ...]:
        """Each of them, in the order of lines."""
        return self._errors


class RecordError(_FieldError):
    """A field of an `InvocationRecord` has a value that cannot be stored."""


class QueryError(_FieldError):
    """An argument of a query cannot be used."""


class UnknownRunError(TelemetryError, LookupError):
    """No record belongs to the run that was named.

    Attributes:
        run: what was given.
        hint: what was perhaps meant; None where nothing is near.
    """

    def __init__(self, run: str, hint: str | None = None) -> None:
        more = "get_runs, or `llm-telemetry runs`, shows them" if hint is None else hint
        super().__init__(clean(f"there is no run {shown(run)}; {more}"))
        self.run = run
        self.hint = hint


class MissingPackageError(TelemetryError, ImportError):
    """What was asked for needs a package that is not installed.

    Attributes:
        package: its name.
    """

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs {package}: {install(extra)}")
        self.package = package


class UnsupportedLoopError(TelemetryError, RuntimeError):
    """The async logger was used outside asyncio (for example under trio)."""


class SignalError(TelemetryError, RuntimeError):
    """A signal handler cannot be installed here."""


class BudgetError(TelemetryError):
    """A call may not be made under its budgets; nothing was reserved for it.

    Attributes:
        budget: the name of the policy that is in the way.
        problem: the message without `remedy`, which is what a program can do about it.
    """

    def __init__(self, problem: str, budget: str, remedy: str = "") -> None:
        super().__init__(clean(f"{problem}; {remedy}" if remedy else problem))
        self.budget, self.problem, self.remedy = budget, clean(problem), remedy


class BudgetExceeded(BudgetError):  # noqa: N818 - the name that users of such limits look for
    """The call would not fit into a hard limit.

    Attributes:
        budget: the policy's name.
        window: `hour`, `day`, `week`, `month`, `total`, or a rolling one such as `24h`.
        metric: `usd`, `tokens` or `calls`; the amounts are Decimal USD or whole numbers.
        limit: what may be spent in the window.
        spent: what the records of the window add up to.
        reserved: what calls under way hold.
        unknown: what calls whose outcome is unknown may have spent.
        asked: what this call would add.
        subject: the values of the policy's `per`, where each has a budget of its own.
        resets_at: aware UTC moment at which the window ends; None for `total` and rolling windows.
    """

    def __init__(
        self,
        budget: str,
        *,
        window: str,
        metric: str,
        limit: Decimal | int,
        spent: Decimal | int,
        reserved: Decimal | int,
        unknown: Decimal | int,
        asked: Decimal | int,
        subject: tuple[str, ...] = (),
        resets_at: datetime | None = None,
    ) -> None:
        unit = "$" if metric == "usd" else ""
        of = f" of {', '.join(subject)}" if subject else ""
        until = "" if resets_at is None else f"; it resets at {resets_at:%Y-%m-%d %H:%M} UTC"
        super().__init__(
            f"budget {budget}{of}: {unit}{asked:,f} more does not fit into {unit}{limit:,f} a {window}: "
            f"{unit}{spent:,f} spent, {unit}{reserved:,f} reserved, {unit}{unknown:,f} unknown{until}"
            if metric == "usd"
            else f"budget {budget}{of}: {asked:,} {metric} more do not fit into {limit:,} a {window}: "
            f"{spent:,} spent, {reserved:,} reserved, {unknown:,} unknown{until}",
            budget,
            "calls of unknown outcome hold a part: llm-telemetry budgets holds shows them, budgets release or "
            "budgets reconcile settles them"
            if unknown
            else "",
        )
        self.window = window
        self.metric = metric
        self.limit = limit
        self.spent = spent
        self.reserved = reserved
        self.unknown = unknown
        self.asked = asked
        self.subject = subject
        self.resets_at = resets_at


class UnknownPriceError(BudgetError):
    """Nobody knows what the call would cost at most, and its policy blocks such calls.

    Attributes:
        model_name: the model whose price is unknown.
        missing: what nobody said, so that nothing could be estimated; empty where nothing was asked for.
    """

    def __init__(self, budget: str, model_name: str | None, missing: tuple[str, ...] = ()) -> None:
        lacks = f"it lacks {', and '.join(missing)}; give that, or" if missing else "give"
        super().__init__(
            f"budget {budget}: what a call of {shown(model_name)} costs at most is unknown",
            budget,
            f"{lacks} an amount: budget=0.10 (USD) to invocation(), usd= to reserve(); or set unknown_price_usd or "
            "unknown_price in policies.yaml",
        )
        self.model_name = model_name
        self.missing = missing


class UnknownTokensError(BudgetError):
    """Nobody knows how many tokens the call would take at most, and a hard limit counts tokens.

    Attributes:
        model_name: of the call.
    """

    def __init__(self, budget: str, model_name: str | None) -> None:
        super().__init__(
            f"budget {budget}: how many tokens a call of {shown(model_name)} takes at most is unknown",
            budget,
            "give max_tokens= and prompt= or prompt_tokens=, or tokens= to budgets.reserve, or max_output_tokens in "
            "models.yaml",
        )
        self.model_name = model_name


class BudgetUnreadableError(BudgetError):
    """What a limit's window holds cannot be read: the file is damaged there, and nobody knows whether the call fits.

    Records are stored all the same. `llm-telemetry doctor --repair` recounts the window from them.
    """

    def __init__(self, budget: str, window: str) -> None:
        super().__init__(
            f"budget {budget}: what is counted for the window {window} is damaged in the file, so nobody knows whether "
            "the call fits",
            budget,
            "recount it: llm-telemetry doctor --repair",
        )
        self.window = window


class JustificationNeededError(BudgetError):
    """The call costs more than its policy allows without a justification.

    Attributes:
        asked, allowed: USD.
    """

    def __init__(self, budget: str, asked: Decimal, allowed: Decimal) -> None:
        why = f"budget {budget}: ${asked:,f} is above ${allowed:,f}, which needs a reason"
        super().__init__(why, budget, "give justification=")
        self.asked = asked
        self.allowed = allowed


class StoreError(TelemetryError):
    """A commit that was promised, or the database file, could not be had.

    Attributes:
        path: the database file, where known.
    """

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(clean(message))
        self.path = path


class CommitTimeoutError(StoreError, TimeoutError):
    """The record was not committed within `commit_timeout`. It stays queued and is written when the file allows."""


class RecordDroppedError(StoreError):
    """The record was dropped instead of committed.

    Attributes:
        reason: the ledger's reason, for example `closed` or `queue_full`.
    """

    def __init__(self, reason: str, path: Path | None = None) -> None:
        super().__init__(f"the record was not stored: {reason}", path)
        self.reason = reason


class RecordQuarantinedError(StoreError, ValueError):
    """SQLite refused this record; it was put into `dead_letters` and its neighbours were committed."""


class DuplicateInvocationError(StoreError, sqlite3.IntegrityError):
    """A record with this `invocation_id` is already stored.

    Attributes:
        invocation_id: the id that stands twice.
    """

    def __init__(self, invocation_id: str, path: Path | None = None) -> None:
        super().__init__(f"invocation_id {shown(invocation_id)} is already stored; ids are unique", path)
        self.invocation_id = invocation_id


class DatabaseUnusableError(StoreError):
    """The file cannot hold telemetry, and trying again will not help."""


class NewerSchemaError(DatabaseUnusableError):
    """The file was written by a newer release; it was left untouched."""


class ForeignDatabaseError(DatabaseUnusableError):
    """The file is not a telemetry database, or one beside it not SQLite's, whose name it has; it was left untouched."""


class PlantedFileError(DatabaseUnusableError):
    """A link, or a file of another user, stands in the place of the database or a side file (-journal, -wal, -shm)."""


class SQLiteTooOldError(DatabaseUnusableError):
    """The SQLite library that Python links is older than the oldest supported one."""
