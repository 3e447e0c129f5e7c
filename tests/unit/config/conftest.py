"""What the tests of configuration share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty current directory, an empty home folder, and none of our variables; gives the directory above both."""
    for name in [*filter(lambda name: name.startswith("LLM_TELEMETRY_"), os.environ), "XDG_CONFIG_HOME"]:
        monkeypatch.delenv(name, raising=False)
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def yaml_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a YAML file."""

    def write(content: str | bytes, name: str = "given.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
