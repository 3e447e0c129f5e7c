"""What notebooks want of an answer: a table as HTML, data frames of pandas and polars, plots of matplotlib.

These packages are extras, and are imported when they are asked for.
"""

from collections.abc import Callable, Iterable
from datetime import date, datetime
from importlib import import_module
from typing import Any, Final

from llm_service.config.time_zones import zone_named
from llm_service.errors import MissingPackageError, QueryError
from llm_service.telemetry.queries.field_names import no_such
from llm_service.telemetry.queries.group_keys import group_keys
from llm_service.telemetry.queries.measures import MEASURES, SETS

__all__ = ["NotebookAnswer"]

_MOST_ROWS: Final = 100
"""That are shown as HTML."""
_MOST_BARS: Final = 30
_ON_A_CALENDAR: Final[dict[str, Callable[[str], date]]] = {
    "hour": datetime.fromisoformat,
    "day": date.fromisoformat,
    "week": lambda week: date.fromisoformat(f"{week}-1"),
    "month": lambda month: date.fromisoformat(f"{month}-01"),
}
"""By period: when one begins."""


class NotebookAnswer:
    """An answer in a notebook."""

    __slots__ = ()
    rows: list[dict[str, Any]]
    totals: dict[str, Any]
    group_by: tuple[str, ...]
    measures: tuple[str, ...]
    since: str | None
    until: str | None
    time_zone: str
    deleted_invocations: int
    more: int

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`; without keys, one row of totals. What is unknown is missing.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        pandas = _imported("pandas", "to_pandas()", "pandas")
        return pandas.DataFrame(self._records(), columns=self._columns())

    def to_polars(self) -> Any:
        """The rows as a `polars.DataFrame`; without keys, one row of totals. What is unknown is null.

        Raises:
            MissingPackageError: polars is not installed.
        """
        polars = _imported("polars", "to_polars()", "polars")
        return polars.DataFrame(self._records(), schema=self._columns(), infer_schema_length=None)

    def plot(self, *measures: str, ax: Any = None) -> Any:
        """Lines over time where a key is a period, one for each value of the other keys; else bars, at most 30.

        Args:
            measures: of those of the answer; default the first, with all percentiles beside it if it is one.
            ax: the axes of matplotlib to draw on; None makes a figure.

        Returns:
            The axes.

        Raises:
            MissingPackageError: matplotlib is not installed.
            QueryError: the answer has no such measure, or no keys.
        """
        pyplot = _imported("matplotlib.pyplot", "plot()", "plot")
        names = self._plotted(measures)
        if not self.group_by:
            raise QueryError("by", "", "totals alone are no plot; ask by day, by model, ...")
        axes = pyplot.subplots()[1] if ax is None else ax
        period = next((key for key in self.group_by if key in _ON_A_CALENDAR), None)
        label = MEASURES[names[0]].unit if len(names) > 1 else f"{names[0]} ({MEASURES[names[0]].unit})"
        if period is None:
            self._bars(axes, names)
            axes.set_xlabel(label)
        else:
            self._lines(axes, names, period)
            axes.set_ylabel(label)
        return axes

    def _repr_html_(self) -> str:
        """The rows as a table, at most 100, and what is not in them."""
        columns = self._columns() if self.group_by else [*self.measures]
        rows = [self._html_row(row, columns) for row in self._records()[:_MOST_ROWS]]
        if self.group_by:
            rows.append(self._html_row({self.group_by[0]: "total", **self.totals}, columns, "th"))
        heads = "".join(f"<th>{_escaped(column)}</th>" for column in columns)
        hidden = max(0, len(self.rows) - _MOST_ROWS) + self.more
        notes = [
            f"from {self.since or 'the first'} to {self.until or 'the last'} call (days of {self.time_zone})",
            *([f"{hidden:,} more rows"] if hidden else []),
            *([f"{self.deleted_invocations:,} calls not counted: deleted"] if self.deleted_invocations else []),
        ]
        body = f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody>"
        return f"<table>{body}</table><p>{_escaped('; '.join(notes))}</p>"

    def _columns(self) -> list[str]:
        return [*self.group_by, *self.measures]

    def _records(self) -> list[dict[str, Any]]:
        return self.rows if self.group_by else [self.totals]

    def _html_row(self, row: dict[str, Any], columns: Iterable[str], tag: str = "td") -> str:
        cells = (_escaped(_shown(column, row.get(column, ""))) for column in columns)
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    def _plotted(self, given: tuple[str, ...]) -> list[str]:
        """The measures that are drawn, all of one unit."""
        if given:
            names = [SETS.get(name, (name,))[0] for name in given]
            for name, said in zip(names, given, strict=True):
                if name not in self.measures:
                    raise QueryError("measures", said, no_such("measure in the answer", said, self.measures))
            if len({MEASURES[name].unit for name in names}) > 1:
                raise QueryError("measures", ",".join(given), "give measures of one unit")
            return names
        first = self.measures[0]
        return [name for name in self.measures if name == first or (_percent_of(first) and _percent_of(name))]

    def _bars(self, axes: Any, names: list[str]) -> None:
        rows = self.rows[:_MOST_BARS]
        height = 0.8 / len(names)
        for place, name in enumerate(names):
            at = [number + place * height for number in range(len(rows))]
            axes.barh(at, [_number(row[name]) for row in rows], height, label=name)
        labels = [" / ".join(_text(row[key]) for key in self.group_by) for row in rows]
        axes.set_yticks([number + 0.4 - height / 2 for number in range(len(rows))], labels)
        axes.invert_yaxis()
        if len(names) > 1:
            axes.legend()

    def _lines(self, axes: Any, names: list[str], period: str) -> None:
        (key,) = group_keys([period])
        others = [one for one in self.group_by if one != period]
        lines: dict[str, list[tuple[Any, float]]] = {}
        for row in sorted((row for row in self.rows if row[period] is not None), key=lambda row: key.rank(row[period])):
            for name in names:
                label = " / ".join([*(_text(row[other]) for other in others), *([name] if len(names) > 1 else [])])
                lines.setdefault(label, []).append((_ON_A_CALENDAR[period](row[period]), _number(row[name])))
        for label, points in lines.items():
            axes.plot([at for at, _ in points], [value for _, value in points], marker=".", label=label)
        if period == "hour" and lines:
            axes.xaxis_date(zone_named(self.time_zone))
        if len(lines) > 1:
            axes.legend()
        axes.set_xlabel(f"{period} ({self.time_zone})")
        axes.tick_params(axis="x", labelrotation=45)


def _imported(module: str, what: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPackageError(what, module.partition(".")[0], extra) from error


def _escaped(text: str) -> str:
    from html import escape  # noqa: PLC0415 - loggers import this module, too

    return escape(text)


def _percent_of(name: str) -> str:
    """The time that a measure is a percentile of; nothing where it is none."""
    return name.partition("_")[2] if MEASURES[name].unit == "ms" and name.startswith("p") else ""


def _number(value: Any) -> float:
    """What is unknown is a gap."""
    return float("nan") if value is None else float(value)


def _text(value: Any) -> str:
    """A label: matplotlib takes what stands between two dollars for mathematics."""
    return "-" if value is None else str(value).replace("$", r"\$")


def _shown(column: str, value: Any) -> str:
    if value is None:
        return "unknown" if column in MEASURES else "-"
    if isinstance(value, float):
        return f"{value:,.4f}" if MEASURES[column].unit in {"USD", "share"} else f"{value:,.1f}"
    return f"{value:,}" if type(value) is int and column in MEASURES else str(value)
