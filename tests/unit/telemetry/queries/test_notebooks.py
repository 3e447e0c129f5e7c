"""Answers in a notebook: HTML, data frames, plots; each package of these may be missing."""

import re
import sys
from datetime import date
from html.parser import HTMLParser
from typing import Any

import pytest

from llm_service.errors import MissingPackageError, QueryError
from llm_service.extras import install
from llm_service.telemetry.queries.ask import Answer

HOSTILE = "<script>alert(1)</script>&\"'"


def answer(*rows: tuple[Any, ...], by: str = "agent_name", measures: str = "total_cost_usd", **more: Any) -> Answer:
    """An answer of these rows; the last one is that of totals."""
    keys, names = tuple(by.split(",")) if by else (), tuple(measures.split(","))
    *found, totals = rows
    return Answer(
        rows=[dict(zip((*keys, *names), row, strict=True)) for row in found],
        totals=dict(zip(names, totals, strict=True)),
        group_by=keys,
        measures=names,
        since=None,
        until=None,
        time_zone="UTC",
        **more,
    )


class Texts(HTMLParser):
    """The tags and the texts of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        assert not attrs
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_table_is_escaped_and_says_what_it_lacks() -> None:
    """No tag comes from data; what is unknown is no number."""
    shown = answer((HOSTILE, 1.5), (None, None), (1.5,), more=3, deleted_invocations=1_000)
    found = Texts(shown._repr_html_())
    assert found.tags == {"table", "thead", "tbody", "tr", "th", "td", "p"}
    assert found.texts[:-1] == ["agent_name", "total_cost_usd", HOSTILE, "1.5000", "-", "unknown", "total", "1.5000"]
    assert found.texts[-1] == (
        "from the first to the last call (days of UTC); 3 more rows; 1,000 calls not counted: deleted"
    )


def test_a_long_table_is_cut() -> None:
    """At 100 rows, and says how many more there are."""
    found = Texts(answer(*[(f"a{number}", 1.0) for number in range(250)], (250.0,))._repr_html_())
    assert "a99" in found.texts
    assert "a100" not in found.texts
    assert "150 more rows" in found.texts[-1]


def test_totals_alone_are_one_row() -> None:
    """Without keys."""
    found = Texts(answer((1_234, 0.5), by="", measures="invocations,success_rate")._repr_html_())
    assert found.texts[:-1] == ["invocations", "success_rate", "1,234", "0.5000"]


@pytest.mark.parametrize(
    ("method", "module", "extra"),
    [("to_pandas", "pandas", "pandas"), ("to_polars", "polars", "polars"), ("plot", "matplotlib", "plot")],
)
def test_a_package_that_is_missing_is_named(
    method: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    with pytest.raises(MissingPackageError, match=re.escape(f"needs {module}: {install(extra)}")):
        getattr(answer((1.0,), by=""), method)()


def test_pandas_has_the_rows() -> None:
    """With the columns where there are none; unknown is missing."""
    pytest.importorskip("pandas")
    frame = answer(("a", 1.5), (None, None), (1.5,)).to_pandas()
    assert list(frame.columns) == ["agent_name", "total_cost_usd"]
    assert frame["total_cost_usd"].isna().tolist() == [False, True]
    assert list(answer((0.0,)).to_pandas().columns) == ["agent_name", "total_cost_usd"]
    assert answer((7,), by="", measures="invocations").to_pandas()["invocations"].tolist() == [7]


def test_polars_has_the_rows() -> None:
    """Numbers of either kind in one column; unknown is null."""
    pytest.importorskip("polars")
    rows = [("a", None), ("b", 1), ("c", 1.5)] + [("d", None)] * 200
    frame = answer(*rows, (1.5,)).to_polars()
    assert frame.columns == ["agent_name", "total_cost_usd"]
    assert frame["total_cost_usd"].to_list()[:3] == [None, 1.0, 1.5]
    assert answer((0.0,)).to_polars().columns == ["agent_name", "total_cost_usd"]
    assert answer((7,), by="", measures="invocations").to_polars()["invocations"].to_list() == [7]


@pytest.fixture
def axes() -> Any:
    """Axes of a figure that nothing shows."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    return Figure().subplots()


def test_costs_over_time_are_lines(axes: Any) -> None:
    """One for each value of the other keys, in the order of time; what is unknown is a gap."""
    dates = pytest.importorskip("matplotlib.dates")
    rows = [("2026-11-24", "a", 2.0), ("2026-11-23", "a", 1.0), ("2026-11-24", "$b$", None), (None, "a", 5.0)]
    assert answer(*rows, (8.0,), by="day,agent_name").plot(ax=axes) is axes
    first, second = axes.get_lines()
    assert list(first.get_xydata()[:, 0]) == [dates.date2num(date(2026, 11, day)) for day in (23, 24)]
    assert list(first.get_xydata()[:, 1]) == [1.0, 2.0]
    assert str(second.get_ydata()[0]) == "nan"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", r"\$b\$"]
    assert axes.get_ylabel() == "total_cost_usd (USD)"
    axes.figure.canvas.draw()


def test_the_unit_of_bars_stands_below_them(axes: Any) -> None:
    """Where their values are."""
    answer(("a", 2.0), (2.0,)).plot(ax=axes)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("total_cost_usd (USD)", "")


@pytest.mark.parametrize(
    ("period", "value"),
    [("hour", "2026-11-01T01:00-04:00"), ("day", "2026-11-01"), ("week", "2026-W44"), ("month", "2026-11")],
)
def test_every_period_of_a_calendar_is_drawn(axes: Any, period: str, value: str) -> None:
    """On an axis of time."""
    answer((value, 1.0), (1.0,), by=period).plot(ax=axes)
    assert len(axes.get_lines()) == 1
    axes.figure.canvas.draw()


def test_percentiles_stand_beside_each_other(axes: Any) -> None:
    """As bars where no key is a period."""
    names = "p50_latency_ms,p95_latency_ms,timed"
    shown = answer(("gpt", 1.0, 2.0, 9), ("o3", 3.0, None, 1), (1.0, 2.0, 10), by="model_name", measures=names)
    shown.plot(ax=axes)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["p50_latency_ms", "p95_latency_ms"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["gpt", "o3"]
    axes.figure.canvas.draw()


def test_what_cannot_be_drawn(axes: Any) -> None:
    """Totals, other measures, several units."""
    two = answer(("a", 1.0, 2), (1.0, 2), measures="total_cost_usd,invocations")
    assert two.plot("calls", ax=axes) is axes
    for shown, measures in ((answer((1.0,), by=""), ()), (two, ("p95",)), (two, ("cost", "calls"))):
        with pytest.raises(QueryError):
            shown.plot(*measures, ax=axes)


def test_a_figure_is_made_where_none_is_given() -> None:
    """It is of pyplot, which a notebook shows."""
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    made = answer(("a", 1.0), (1.0,)).plot()
    assert made.figure.number in plt.get_fignums()
    plt.close(made.figure)
