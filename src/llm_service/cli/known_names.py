"""A name that no call has is said: an empty report would look like an agent that did nothing."""

from difflib import get_close_matches
from pathlib import Path
from typing import Final

import click

from llm_service.cli.output import clean
from llm_service.errors import shown
from llm_service.telemetry.queries.filters import Where
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.sqlite.reader import read

__all__ = ["say_unknown"]

_MOST: Final = 10_000
"""Names that are compared with what was given."""


def say_unknown(path: Path, **names: str | None) -> None:
    """Say on stderr which of these names (columns and values; None is not looked at) no stored call has.

    Raises:
        QueryError: no record can have such a name.
        StoreError: the file cannot be read.
    """
    given = {column: name for column, name in names.items() if name is not None}
    if not given:
        return
    for column, name, known in read(path, lambda fetch: [(c, n, _known(fetch, c, n)) for c, n in given.items()]):
        if known is not None:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            click.echo(clean(f"there is no {column.removesuffix('_name')} {shown(name)}{hint}"), err=True)


def _known(fetch: Fetch, column: str, name: str) -> list[str] | None:
    """The names that there are, where this one is none of them; None where it is."""
    where = Where()
    where.names(**{column: name})
    for table in ("daily_costs", "invocations"):
        if fetch((f"SELECT 1 FROM {table}{where} LIMIT 1", where.parameters)):  # noqa: S608 - names of our own
            return None
    sql = f"SELECT DISTINCT {column} FROM daily_costs WHERE {column} IS NOT NULL LIMIT ?"  # noqa: S608 - as above
    return [str(row[0]) for row in fetch((sql, [_MOST]))]
