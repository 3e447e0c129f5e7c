"""Text on its way to a terminal, a pipe, or a program that reads JSON."""

import json
import sys
import unicodedata

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.cli import output
from llm_service.cli.output import clean
from llm_service.cli.tables import Column

COLUMNS = (Column("name"), Column("number", "right"))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both streams are a terminal of 60 columns."""
    monkeypatch.setattr(output, "is_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def harmless(text: str) -> bool:
    """Whether nothing of a text moves a cursor, sets a title, hides, or turns the reading direction."""
    turning = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\ufeff\u200b")
    return not set(text) & turning and not any(
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text
    )


@given(st.text())
def test_clean_text_holds_no_control_character(text: str) -> None:
    """Whatever it was; and cleaning it twice changes nothing more."""
    assert harmless(clean(text))
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x07\x7f\x9b", "\\x07\\x7f\\x9b"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("\ud800\ufeff\U000e0041", "\\ud800\\ufeff\\U000e0041"),
    ],
)
def test_what_is_removed_stands_as_an_escape(text: str, shown: str) -> None:
    """A reader sees that it was there, and what it was."""
    assert clean(text) == shown


def test_clean_text_is_unchanged_otherwise() -> None:
    """Names in any script, and symbols, pass."""
    for text in ("Zoë 🚀 模型 [bold]", "C:\\names", "می\u200cخواهم", "👩\u200d💻"):  # noqa: RUF001
        assert clean(text) == text


def test_a_piped_table_is_plain_aligned_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """No colour, no box, no cut: what awk and grep expect."""
    output.table(COLUMNS, [("a" * 300, "1"), ("b", "22,000")], ("total", "22,001"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "number"]
    assert lines[1] == "a" * 300 + "       1"
    assert lines[3] == "total" + " " * 297 + "22,001"


def test_a_piped_table_without_rows_is_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    """Totals are optional."""
    output.table(COLUMNS, [])
    assert capsys.readouterr().out == "name  number\n"


@pytest.mark.usefixtures("terminal")
def test_a_table_on_a_terminal_fits_its_width(capsys: pytest.CaptureFixture[str]) -> None:
    """Long text is cut, each row is one line, and numbers are whole."""
    output.table(COLUMNS, [("x" * 100, "22,000"), ("模" * 40, "1")], ("total", "22,000"))
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert len(lines) == 4
    assert lines[1] == "x" * 51 + "…  22,000"
    assert lines[2] == "模" * 25 + " …       1"  # half an ideograph is a blank
    assert lines[3] == "total" + " " * 49 + "22,000"


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("total", [None, ("[bold]sum[/bold]", "2")])
def test_data_is_no_markup_and_no_escape_sequence(
    capsys: pytest.CaptureFixture[str], total: tuple[str, str] | None
) -> None:
    """A name that looks like rich markup or holds an escape is shown as text."""
    output.table(COLUMNS, [("[red]x[/red] \x1b]0;title\x07 :smile:", "1")], total)
    shown = capsys.readouterr().out
    assert "[red]x[/red] \\x1b]0;title\\x07 :smile:" in shown
    assert "\x1b]" not in shown
    assert ("[bold]sum[/bold]" in shown) is (total is not None)


def test_lines_are_aligned_and_clean(capsys: pytest.CaptureFixture[str]) -> None:
    """A path may hold anything."""
    output.lines([("a", "1"), ("long", "/data/\x1b[31m")])
    assert capsys.readouterr().out == "a     1\nlong  /data/\\x1b[31m\n"


@pytest.mark.usefixtures("terminal")
def test_long_values_go_on_below_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Broken between words, under the value's beginning; a word that is too long stays whole."""
    output.lines([("name", "word " * 15), ("path", "/" + "x" * 80), ("none", "")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["name  " + ("word " * 11)[:-1], "      " + ("word " * 4)[:-1]]
    assert [line.rstrip() for line in lines[2:]] == ["path  /" + "x" * 80, "none"]


def test_a_block_of_text_stands_behind_a_margin(capsys: pytest.CaptureFixture[str]) -> None:
    """No line of it passes for one of ours."""
    output.block("one\n\x1b[2J\r\ntotal  0")
    assert capsys.readouterr().out == "  | one\n  | \\x1b[2J\\r\n  | total  0\n"


@pytest.mark.parametrize(
    ("no_color", "force_color", "tty", "expected"),
    [
        (None, None, True, True),
        (None, None, False, False),
        ("1", None, True, False),
        ("", None, True, True),
        (None, "1", False, True),
        (None, "", False, False),
        ("1", "1", True, False),
    ],
)
def test_colours_heed_the_environment(
    monkeypatch: pytest.MonkeyPatch, no_color: str | None, force_color: str | None, tty: bool, expected: bool
) -> None:
    """NO_COLOR counts most, then FORCE_COLOR, then whether it is a terminal; an empty variable is not set."""
    monkeypatch.setattr(output, "is_terminal", lambda _: tty)
    for name, value in (("NO_COLOR", no_color), ("FORCE_COLOR", force_color)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert output.is_colored(sys.stdout) is expected


@pytest.mark.usefixtures("terminal")
def test_a_row_that_is_marked_has_a_colour(capsys: pytest.CaptureFixture[str]) -> None:
    """And the row below it has none."""
    output.table(COLUMNS, [("bad", "1"), ("good", "2")], marked=lambda row: "red" if row[0] == "bad" else None)
    _, bad, good = capsys.readouterr().out.splitlines()
    assert bad == click.style("bad        1", fg="red")
    assert good == "good       2"


@pytest.mark.usefixtures("terminal")
def test_what_does_not_fit_is_named_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody takes a column for missing in the data."""
    output.table([*COLUMNS, Column("extra", whole=True, rank=1)], [("x", "1", "y" * 60)])
    assert "not shown for lack of width: extra" in capsys.readouterr().out


def test_json_is_ascii_and_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters of data stand escaped in it."""
    value = {"name": "\x1b[31m\x7f\x9b\u202e模"}
    output.json_document(value)
    shown = capsys.readouterr().out
    assert json.loads(shown) == value
    assert all(" " <= character <= "~" or character == "\n" for character in shown)


@pytest.mark.parametrize(
    ("tty", "term", "expected"), [(True, "xterm", True), (False, "xterm", False), (True, "dumb", False)]
)
def test_a_terminal_is_one_that_can_more_than_print_lines(
    monkeypatch: pytest.MonkeyPatch, tty: bool, term: str, expected: bool
) -> None:
    """A pipe is none, an editor's shell window is none."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
    assert output.is_terminal(sys.stdout) is expected


def test_piped_progress_is_a_line_for_each_quarter_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout stays clean for the result."""
    with output.progress(8, "working") as on_progress:
        for done in range(1, 9):
            on_progress(done)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [f"working: {done} of 8" for done in (2, 4, 6, 8)]


@pytest.mark.usefixtures("terminal")
def test_progress_on_a_terminal_is_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """It ends full, and draws on stderr alone."""
    with output.progress(1_000, "working") as on_progress:
        on_progress(1_000)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "working" in shown.err
    assert "1000/1000" in shown.err


@pytest.mark.usefixtures("terminal")
def test_no_color_turns_the_bar_into_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody who asks for no colour gets no cursor movements either."""
    monkeypatch.setenv("NO_COLOR", "1")
    with output.progress(4, "working") as on_progress:
        on_progress(4)
    assert capsys.readouterr().err == "working: 4 of 4\n"
