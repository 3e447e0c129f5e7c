"""Who lacks a package is told the extra that has it, in the versions that are taken."""

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

import llm_service
from llm_service.extras import install

PACKAGE: Final = Path(llm_service.__file__).parent
PROJECT: Final = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: Final = set(PROJECT["optional-dependencies"])
SOURCES: Final = [*PACKAGE.rglob("*.py")]


def test_the_command_names_the_project() -> None:
    """As pip takes it in a shell."""
    assert install("cli", "prices") == f"pip install '{PROJECT['name']}[cli,prices]'"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_message_installs_packages_by_their_own_names(path: Path) -> None:
    """But for tzdata, which is in no extra; whatever is named is an extra of the project."""
    text = path.read_text("utf-8")
    assert {*re.findall(r"pip install ([\w.-]+)", text)} <= {"tzdata"}
    named = re.findall(r"install\(['\"]([\w-]+)['\"]", text) + re.findall(r"llm-service-telemetry\[([\w,-]+)\]", text)
    assert {extra for names in named for extra in names.split(",")} <= EXTRAS
