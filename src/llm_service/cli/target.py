"""Which database is meant, how it is read without ever being made, and how an answer is printed."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from llm_service.cli.output import clean, json_document
from llm_service.config.settings import Settings, resolve_db_path
from llm_service.config.time_zones import LOCAL, zone_named
from llm_service.errors import StoreError
from llm_service.redaction import shown

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from llm_service.pricing.book import PriceBook
    from llm_service.telemetry.queries.time_range import TimeRange
    from llm_service.telemetry.stores.base import Fetch

__all__ = ["Names", "Target", "existing", "percent_of", "read", "reading", "say_unknown"]

_T = TypeVar("_T")
Names = Mapping[str, Any]
"""The columns `agent_name`, `tool_name` and `model_name`, what each is equal to, and `filters`, what `--where` says."""


class Target(NamedTuple):
    """What `--db`, `--config`, `--json` and `--tz` say."""

    db: Path | None = None
    config: Path | None = None
    as_json: bool = False
    time_zone: str | None = None

    def settings(self) -> Settings:
        """The settings in force: `--db` counts over `--config`, and without both the configuration is searched for."""
        if self.db is not None and self.config is None:
            return Settings(db_path=self.db)
        from llm_service.config.load import load_config  # pydantic and YAML

        settings = load_config(self.config).to_settings()
        return settings if self.db is None else replace(settings, db_path=self.db)

    def zone(self) -> tzinfo:
        """Where times and days are: as `--tz` says, else the configuration, else the machine's clock."""
        if self.time_zone is not None:
            try:
                return zone_named(self.time_zone)
            except ValueError as error:
                raise click.BadParameter(
                    f"{shown(self.time_zone)} is no time zone; {error}", param_hint="--tz"
                ) from None
        try:
            return zone_named(self.settings().time_zone or LOCAL)
        except ValueError as error:
            raise ValueError(f"{error}; or give --tz") from None

    def range(self, since: str | None, until: str | None = None) -> "TimeRange":
        """The range of time that `--since` and `--until` say; QueryError where they say none."""
        from llm_service.telemetry.queries.time_range import time_range

        return time_range(since, until, time_zone=self.zone(), now=datetime.now(UTC))

    def say_range(
        self, covered: "TimeRange", asked: "TimeRange | None" = None, utc_days_before: str | None = None
    ) -> None:
        """Say which range an answer covers: on stdout below a table, on stderr beside JSON that has no place for it.

        Args:
            asked: which one was asked for, where that may be another.
            utc_days_before: days before this one are UTC days.
        """
        click.echo(f"range: {covered}", err=self.as_json)
        if utc_days_before is not None:
            click.echo(
                f"days before {utc_days_before} are UTC days, of which only daily totals are left", err=self.as_json
            )
        elif asked is not None and asked != covered:
            click.echo("it is widened to whole UTC days, of which only daily totals are left", err=self.as_json)

    def say_kept(self, records_since: str | None, asked: "TimeRange | None" = None) -> None:
        """Say where records of the range are deleted; None: of all times."""
        start = None if asked is None else asked.start
        if records_since is not None and (start is None or start.date().isoformat() < records_since):
            click.echo(f"calls before {records_since} (UTC) are deleted, but for their daily totals", err=self.as_json)

    def path(self) -> Path:
        """The database, whether it is there or not."""
        return self.settings().db_path

    def report_path(self) -> Path:
        """The database that a report reads. Without `--db` and `--json`, stderr says which one that is."""
        path = self.path()
        if self.db is None and not self.as_json:
            here = Path("telemetry.db")
            is_beside = here.exists() and resolve_db_path(here) != path  # the current directory may be gone
            beside = "; there is also ./telemetry.db, read it with --db telemetry.db" if is_beside else ""
            click.echo(f"database: {clean(str(path))}{beside}", err=True)
        return path

    def path_to_change(self) -> Path:
        """The database that a command changes, one of telemetry that is there; anything else is a StoreError."""
        from llm_service.telemetry.stores.sqlite.file_identity import require_telemetry

        path = self.path()
        require_telemetry(path)
        return path

    def prices(self, models: Path | None) -> "PriceBook":
        """The prices in force: those of `--models`, else of the models.yaml that loggers find, and the bundled ones."""
        from llm_service.config.files import locate
        from llm_service.config.models_schema import load_models
        from llm_service.pricing.book import PriceBook

        path = models or locate("models", self.config)
        return PriceBook() if path is None else PriceBook(load_models(path), source=str(path))

    def show(self, found: _T, view: Callable[[_T], object]) -> None:
        """Print what was found: as JSON where that was asked for, else as the view does."""
        (json_document if self.as_json else view)(found)


def existing(path: Path) -> Path:
    """The path, if there is something to read."""
    if not os.path.lexists(path):
        raise StoreError(f"{path} does not exist; give a telemetry database with --db PATH or --config PATH", path)
    return path


def read(path: Path, question: "Callable[[Fetch], _T]") -> _T:
    """Answer a question from one snapshot of a file that is there; see `reader.read`."""
    from llm_service.telemetry.stores.sqlite import reader

    return reader.read(existing(path), question)


def reading(path: Path, *, may_lack: bool = False) -> "AbstractContextManager[Fetch]":
    """Ask a file many questions, each in a snapshot of its own; one that `may_lack` is empty then: `reader.reading`."""
    from llm_service.telemetry.stores.sqlite import reader

    return reader.reading(path if may_lack else existing(path))


def say_unknown(path: Path, names: Names, *, fails: bool = True) -> None:
    """Say on stderr which of these names no stored call has: an empty report would look like an idle agent.

    Raises:
        ClickException: no call can be meant, and `fails`.
    """
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.unknown_names import find_unknown, named_in, nothing_is_left

    named = [*named_in(InvocationFilter(**names).conditions())]
    if named:
        unknown = read(path, lambda fetch: find_unknown(fetch, named))
        if fails and nothing_is_left(named, unknown):
            raise click.ClickException(clean("; ".join(map(str, unknown))))
        for one in unknown:
            click.echo(clean(str(one)), err=True)


def percent_of(on_progress: Callable[[int], None]) -> Callable[[Any, Any], None]:
    """Steps done and steps in all, as the percent that `progress(100, ...)` counts."""
    return lambda done, total: on_progress(100 * done // max(1, total))
