"""One function writes numbers of things, so that one of them reads as one."""

import re
from pathlib import Path

import pytest

import llm_service.cli
from llm_service.cli.tables import plural

SOURCES = [*Path(llm_service.cli.__file__).parent.glob("*.py")]
COUNTED = re.compile(r"\{(?![A-Z_]+:)[^{}]*(?::,|count\([^{}]*\))\} (?:more |of )?[a-z]+s\b")
"""A number that is written before a noun in the plural; constants in capitals are more than one."""


def test_one_is_one() -> None:
    """Zero and thousands are several."""
    assert [plural(number, "more row") for number in (0, 1, 2, 1_000)] == [
        "0 more rows", "1 more row", "2 more rows", "1,000 more rows",
    ]  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_other_writes_a_plural(path: Path) -> None:
    """Neither `1 calls` nor a choice of its own."""
    text = path.read_text("utf-8")
    assert [found for found in COUNTED.findall(text) if path.name != "tables.py"] == []
    if path.name != "tables.py":
        assert not re.search(r"'' if \w+ == 1 else 's'|\"1 \w+\" if", text)
