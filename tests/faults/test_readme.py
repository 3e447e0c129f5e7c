"""The table of faults and peers names tests that exist, and leaves no row of the forty out but the journal's."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TABLE = (HERE / "README.md").read_text("utf-8")
FOLDERS = {"T": HERE.parent / "integration" / "telemetry", "U": HERE.parent / "unit" / "telemetry"}
NAMED = sorted(set(re.findall(r"`((?:[TU]/)?test_\w+\.py::test_\w+)`", TABLE)))


@pytest.mark.parametrize("name", NAMED)
def test_a_named_test_exists(name: str) -> None:
    """In the file that the table names."""
    place, test = name.split("::")
    folder, _, file = place.rpartition("/")
    text = (FOLDERS.get(folder, HERE) / file).read_text("utf-8")
    assert re.search(rf"^(?:async )?def {test}\(", text, re.MULTILINE)


def test_every_fault_has_its_row_and_every_row_its_test() -> None:
    """1 to 39; the crash journal (40) has tests of its own."""
    rows = [
        line for line in TABLE.splitlines() if re.match(r"\| [\w#]", line) and not line.startswith(("| # ", "| rep"))
    ]
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", TABLE, re.MULTILINE)] == list(range(1, 40))
    assert all("::test_" in row for row in rows)


def test_every_test_of_this_folder_is_named() -> None:
    """A fault that is tested is one that readers can find."""
    written = {
        f"{path.name}::{name}"
        for path in HERE.glob("test_*.py")
        if path.name != "test_readme.py"
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE)
    }
    assert written - set(NAMED) == {"test_peers.py::test_a_drop_callback_that_logs_and_flushes_ends"}
