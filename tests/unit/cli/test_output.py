"""Text on its way to a terminal, a pipe, or a program that reads JSON."""

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.cli import output
from llm_service.cli.output import Column, clean

COLUMNS = (Column("name"), Column("number", "right"))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both streams are a terminal of 60 columns."""
    monkeypatch.setattr(output, "is_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@given(st.text())
def test_clean_text_holds_no_control_character(text: str) -> None:
    """Nothing of it moves a cursor, sets a title or turns the reading direction; its length stays."""
    cleaned = clean(text)
    assert len(cleaned) == len(text)
    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in cleaned)
    assert not set(cleaned) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def test_clean_text_is_unchanged_otherwise() -> None:
    """Names in any script, and symbols, pass."""
    assert clean("Zoë 🚀 模型 [bold]") == "Zoë 🚀 模型 [bold]"


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
    """Long text is folded, nothing of it is lost, and numbers stay on one line."""
    output.table(COLUMNS, [("x" * 100, "22,000")], ("total", "22,000"))
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines()) <= 60
    assert shown.count("x") == 100
    assert shown.count("22,000") == 2


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("total", [None, ("[bold]sum[/bold]", "2")])
def test_data_is_no_markup_and_no_escape_sequence(
    capsys: pytest.CaptureFixture[str], total: tuple[str, str] | None
) -> None:
    """A name that looks like rich markup or holds an escape is shown as text."""
    output.table(COLUMNS, [("[red]x[/red] \x1b]0;title\x07 :smile:", "1")], total)
    shown = capsys.readouterr().out
    assert "[red]x[/red] \ufffd]0;title\ufffd :smile:" in shown
    assert "\x1b]" not in shown
    assert ("[bold]sum[/bold]" in shown) is (total is not None)


def test_lines_are_aligned_and_clean(capsys: pytest.CaptureFixture[str]) -> None:
    """A path may hold anything."""
    output.lines([("a", "1"), ("long", "/data/\x1b[31m")])
    assert capsys.readouterr().out == "a     1\nlong  /data/\ufffd[31m\n"


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
