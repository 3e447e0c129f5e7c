"""Rows as Parquet, by pyarrow: columns with types, row groups that are written as pages come, so that few are held."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from typing import IO, Any, Final, Self

from llm_service.cli.kinds import Kind, cell_of
from llm_service.errors import MissingPackageError

__all__ = ["require_pyarrow", "write"]

_GROUP_ROWS: Final = 50_000
_GROUP_BYTES: Final = 32 << 20
"""What a row group has at most, but for the page that fills it."""
_INT64: Final = range(-(2**63), 2**63)


def require_pyarrow() -> None:
    """Raises MissingPackageError: it is not installed."""
    if find_spec("pyarrow") is None:
        raise MissingPackageError("--format parquet", "pyarrow", "parquet")


def write(stream: IO[bytes], kinds: Mapping[str, Kind], pages: Iterable[Iterable[Mapping[str, Any]]]) -> int:
    """Write pages of rows, and say how many rows it were.

    Moments are UTC timestamps of microseconds, lists and objects JSON. What is no moment where one belongs is null.
    """
    arrow: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")
    written = 0
    with _Groups(arrow, parquet, stream) as groups:
        for page in pages:
            rows = [*page]
            columns = {name: [_value(cell_of(row, name), kind) for row in rows] for name, kind in kinds.items()}
            groups.add(columns, kinds)
            written += len(rows)
        if not written:
            groups.add({name: [] for name in kinds}, kinds)
    return written


class _Groups:
    """Pages, held until they fill a row group; the first one decides the schema."""

    def __init__(self, arrow: Any, parquet: Any, stream: IO[bytes]) -> None:
        self._arrow = arrow
        self._parquet = parquet
        self._stream = stream
        self._writer: Any = None
        self._held: list[Any] = []

    def add(self, columns: Mapping[str, Sequence[Any]], kinds: Mapping[str, Kind]) -> None:
        if self._writer is None:
            fields = [(name, self._type(kind, columns[name])) for name, kind in kinds.items()]
            self._writer = self._parquet.ParquetWriter(self._stream, self._arrow.schema(fields))
        self._held.append(self._arrow.RecordBatch.from_pydict(dict(columns), schema=self._writer.schema))
        held = self._held
        if sum(batch.num_rows for batch in held) >= _GROUP_ROWS or sum(batch.nbytes for batch in held) >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(self._arrow.Table.from_batches(self._held), row_group_size=_GROUP_ROWS)
            self._held = []

    def _type(self, kind: Kind, values: Sequence[Any]) -> Any:
        arrow = self._arrow
        if kind == "integer":
            fits = all(value is None or value in _INT64 for value in values)
            return arrow.int64() if fits else arrow.decimal128(38, 0)  # a sum may be larger
        types = {"number": arrow.float64(), "flag": arrow.bool_(), "moment": arrow.timestamp("us", tz="UTC")}
        return types.get(kind) or arrow.string()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._writer is not None:
            if kind is None:
                self._flush()
            self._writer.close()


def _value(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind == "number":
        return float(value)
    if kind == "moment":
        return _moment(value)
    if kind == "json":
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    return str(value).encode("utf-8", "replace").decode() if kind == "text" else value


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
