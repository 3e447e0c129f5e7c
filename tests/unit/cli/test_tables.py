"""Fitting tables into a width."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.cli.output import clean
from llm_service.cli.tables import _NARROWEST, Column, _shared, bar, cell_width, fit, row_text, sparkline

NAMES = (Column("date", whole=True), Column("agent"), Column("tool", rank=2), Column("calls", "right", rank=1))
ROW = ("2026-11-23", "security-auditor", "claude-code", "1,250")


def shown(row: tuple[str, ...], width: int | None, columns: tuple[Column, ...] = NAMES) -> str:
    """One row, fitted by itself."""
    return "".join(row_text(columns, fit(columns, [row], width), row))


def test_without_a_width_everything_is_whole() -> None:
    """As a pipe wants it."""
    assert shown(ROW, None) == "2026-11-23  security-auditor  claude-code  1,250"


def test_one_long_text_does_not_pad_all_rows() -> None:
    """It is whole itself, and what is no longer than a name stays aligned."""
    columns, long = (Column("name"), Column("n", "right")), "x" * 100_000
    rows = [(long, "    1"), ("y" * 400, "    2"), *(("short", str(number)) for number in range(1000))]
    layout = fit(columns, rows, None)
    lines = ["".join(row_text(columns, layout, row)) for row in rows]
    assert lines[0].startswith(f"{long}  ")
    assert lines[2].index("0") == lines[1].index("2")
    assert sum(map(len, lines)) < 2 * len(long) + 450 * len(lines)


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (48, "2026-11-23  security-auditor  claude-code  1,250"),
        (44, "2026-11-23  security-au…  claude-code  1,250"),
        (41, "2026-11-23  security-…  claude-co…  1,250"),
    ],
)
def test_text_is_cut_from_the_widest(width: int, line: str) -> None:
    """Numbers and dates never are."""
    assert shown(ROW, width) == line
    assert cell_width(line) <= width


def test_columns_are_left_out_by_rank_before_text_becomes_unreadable() -> None:
    """The highest rank first; rank 0 stays."""
    assert shown(ROW, 36) == "2026-11-23  security-auditor  1,250"
    assert fit(NAMES, [ROW], 36).places == (0, 1, 3)
    assert fit(NAMES, [ROW], 25).places == (0, 1)
    assert shown(ROW, 17) == "2026-11-23  secu…"


def test_a_width_that_nothing_fits_keeps_what_must_be_whole() -> None:
    """The terminal breaks the line; no number is wrong."""
    assert shown(ROW, 5) == "2026-11-23  se…"


def test_wide_characters_count_twice() -> None:
    """A column of ideographs stays aligned."""
    columns = (Column("name"), Column("n", "right"))
    rows = [("模型", "1"), ("abcd", "2")]
    layout = fit(columns, rows, None)
    assert ["".join(row_text(columns, layout, row)) for row in rows] == ["模型  1", "abcd  2"]


def test_typical_widths_are_reserved_where_rows_are_not_known_yet() -> None:
    """A table that goes on does not jump."""
    columns = (Column("agent", typical=8), Column("n", "right", typical=4))
    layout = fit(columns, [], None)
    assert "".join(row_text(columns, layout, ("a", "1"))) == "a            1"
    assert "".join(row_text(columns, layout, ("a-long-name", "1"))) == "a-long-name     1"


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=4), st.integers(30, 140))
def test_no_text_makes_a_line_longer_than_the_width(rows: list[tuple[str, str, str]], width: int) -> None:
    """Hostile names, emoji and combining marks among them: each row is one line that fits."""
    columns = (Column("time", whole=True), Column("agent"), Column("tool", rank=1), Column("status"))
    cells = [("2026-11-23 18:00", *map(clean, row)) for row in rows]
    layout = fit(columns, cells, width)
    for row in cells:
        line = "".join(row_text(columns, layout, row))
        assert cell_width(line) <= width
        assert "\n" not in line


@given(st.lists(st.integers(1, 60), max_size=8), st.integers(-5, 200))
def test_widths_are_those_of_cutting_one_cell_after_the_other_from_the_widest(wanted: list[int], room: int) -> None:
    """Found without doing so: a cell may be millions wide."""
    cut = list(wanted)
    while sum(cut) > room and any(width > _NARROWEST for width in cut):
        cut[cut.index(max(cut))] -= 1
    assert _shared(wanted, room) == cut


def test_a_bar_is_as_long_as_its_value() -> None:
    """What is not nothing is seen; what is unknown has none."""
    assert bar(10, 10, 4) == "████"
    assert bar(5, 10, 4) == "██"
    assert bar(3, 10, 4) == "█▎"
    assert bar(0.0001, 10, 4) == "▏"
    assert [bar(None, 10), bar(0, 10), bar(1, 0)] == ["", "", ""]


def test_a_sparkline_has_a_cell_for_each_value() -> None:
    """The greatest is full; nothing is a dot, and what is not nothing never is."""
    assert sparkline([0, 1, 4, 8, 0.001]) == "·▂▅█▁"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "··"


def test_a_name_that_is_cut_keeps_both_ends() -> None:
    """Models differ at their ends as often as at their beginnings."""
    columns = [Column("model", both_ends=True), Column("ms", "right")]
    rows = [["claude-3.5-sonnet", "1"], ["claude-3.5-haiku", "2"], ["模型模型模型模型模型", "3"]]
    layout = fit(columns, rows, 18)
    shown = ["".join(row_text(columns, layout, row)) for row in rows]
    assert shown[:2] == ["claude-…sonnet   1", "claude-…-haiku   2"]
    assert {cell_width(line) for line in shown} == {18}


def test_a_column_keeps_what_it_needs_while_others_can_be_left_out() -> None:
    """A message of nine cells says nothing."""
    columns = [Column("id", whole=True), Column("last", whole=True, rank=1), Column("message", least=20)]
    rows = [["1", "2026-11-23 18:00:00", "the provider refused the request"]]
    assert fit(columns, rows, 40).places == (0, 2)
    assert fit(columns, rows, 60).places == (0, 1, 2)
    texts = [Column("a"), Column("b"), Column("message", least=30)]
    assert fit(texts, [["x" * 30, "y" * 30, "z" * 60]], 60).widths == (13, 13, 30)
    assert fit(texts, [["x" * 30, "y" * 30, "z" * 60]], 40).widths == (12, 12, 12)
