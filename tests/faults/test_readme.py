"""The tables of faults name tests that exist: the one for maintainers, and the guide's, which leaves none of its rows out."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = HERE.parent
TABLE = (HERE / "README.md").read_text("utf-8")
FOLDERS = {"T": "integration/telemetry", "U": "unit/telemetry"}
NAMED = sorted(set(re.findall(r"`((?:[TU]/)?(?:\w+/)*test_\w+\.py::test_\w+)`", TABLE)))
FAULTS = list(range(1, 41))

GUIDE = (TESTS.parent / "src" / "llm_service" / "telemetry" / "GUIDE.md").read_text("utf-8")
SURVIVES = GUIDE.partition("## What survives what\n")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in SURVIVES.splitlines()
    if line.startswith("| ") and not line.startswith("| # |")
]
NAMED_FOR_USERS = sorted(set(re.findall(r"`([^`]+::[^`]+)`", SURVIVES)))


def place(name: str) -> str:
    """Of a name in the table here, the one that pytest takes in `tests`."""
    folder, _, rest = name.partition("/") if name[:2] in {"T/", "U/"} else ("", "", name)
    return f"{FOLDERS.get(folder, 'faults')}/{rest}"


@pytest.mark.parametrize("name", sorted({*map(place, NAMED), *NAMED_FOR_USERS}))
def test_a_named_test_exists(name: str) -> None:
    """In the file that the table names."""
    file, test = name.split("::")
    assert re.search(rf"^(?:async )?def {test}\(", (TESTS / file).read_text("utf-8"), re.MULTILINE)


def test_every_fault_has_its_row_and_every_row_its_test() -> None:
    """The forty, and the bugs of peers."""
    rows = [
        line for line in TABLE.splitlines() if re.match(r"\| [\w#]", line) and not line.startswith(("| # ", "| rep"))
    ]
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", TABLE, re.MULTILINE)] == FAULTS
    assert all("::test_" in row for row in rows)


def test_what_survives_what_leaves_no_fault_out() -> None:
    """A user finds each of the forty by its number, with both guarantees and a test that proves them."""
    assert all(len(row) == 5 and all(row[1:]) and "::test_" in row[4] for row in ROWS)
    numbers = [int(number) for row in ROWS for number in re.findall(r"\d+", row[0])]
    assert sorted(set(numbers)) == FAULTS


def test_what_survives_what_names_a_test_of_each_numbered_fault() -> None:
    """A test beside a number is one that the table of that fault names, so that neither table drifts alone."""
    of_fault = {
        int(number): {place(name) for name in NAMED if f"`{name}`" in line}
        for line in TABLE.splitlines()
        for number in re.findall(r"^\| (\d+) \|", line)
    }
    for row in ROWS:
        proofs = set(re.findall(r"`([^`]+::[^`]+)`", row[4]))
        for number in map(int, re.findall(r"\d+", row[0])):
            assert proofs & of_fault[number], f"fault {number}: {row[1]}"


def test_every_test_of_this_folder_is_named() -> None:
    """A fault that is tested is one that readers can find."""
    written = {
        f"{path.name}::{name}"
        for path in HERE.glob("test_*.py")
        if path.name != "test_readme.py"
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE)
    }
    assert written - set(NAMED) == {"test_peers.py::test_a_drop_callback_that_logs_and_flushes_ends"}
