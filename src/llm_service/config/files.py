"""Finds configuration files and reads their text: regular files only, at most 1 MiB, UTF-8."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from llm_service.errors import ConfigError

__all__ = ["FILE_VARIABLES", "PREFIX", "Kind", "example", "expanded", "find", "locate", "read_text", "user_file"]

Kind = Literal["telemetry", "models", "policies"]

PREFIX: Final = "LLM_TELEMETRY_"
FILE_VARIABLES: Final[Mapping[Kind, str]] = {
    "telemetry": f"{PREFIX}CONFIG",
    "models": f"{PREFIX}MODELS",
    "policies": f"{PREFIX}POLICIES",
}
"""The environment variable that names each file."""
_PROJECT: Final = Path("config")
_MOST_BYTES: Final = 1024 * 1024


def example(kind: Kind) -> str:
    """The example of a file, which documents each of its keys."""
    return (Path(__file__).parent / "examples" / f"{kind}.yaml.example").read_text("utf-8")


def locate(
    kind: Literal["models", "policies"], config: str | Path | None = None, *, environ: Mapping[str, str] | None = None
) -> Path | None:
    """Find models.yaml or policies.yaml: the first of these.

    1. the file named by `LLM_TELEMETRY_MODELS` or `LLM_TELEMETRY_POLICIES`; it must exist.
    2. the file of that name beside the telemetry.yaml that `load_config(config)` reads.
    3. `config/` in the current directory.
    4. the user's folder, as in `load_config`.

    Args:
        config: the given telemetry.yaml; None if it is searched for.

    Raises:
        ConfigError: (a `ValueError`) the variable names a file that does not exist.
    """
    environ = os.environ if environ is None else environ
    variable = FILE_VARIABLES[kind]
    named = environ.get(variable)
    if named:
        file = expanded(named)
        if not _stands(file):
            raise ConfigError("there is no such file; correct the path or create the file", file=file, key=variable)
        return file
    name = f"{kind}.yaml"
    beside = find("telemetry", config, environ)
    places = [] if beside is None else [beside.with_name(name)]
    return next(filter(_stands, [*places, _PROJECT / name, *_own(name, environ)]), None)


def find(kind: Kind, path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file named by an argument or a variable, even if missing; else the first that exists."""
    named = path if path is not None else environ.get(FILE_VARIABLES[kind]) or None
    if named is not None:
        return expanded(named)
    name = f"{kind}.yaml"
    return next(filter(_stands, [_PROJECT / name, *_own(name, environ)]), None)


def _own(name: str, environ: Mapping[str, str]) -> list[Path]:
    """A file of the user; empty if the folder is not accessible, as for a service with another user's home."""
    files = user_file(name, environ)
    try:
        for file in files:
            file.stat()
    except (OSError, ValueError) as error:
        return [] if isinstance(error, PermissionError) else files
    return files


def expanded(path: str | Path) -> Path:
    """The path with `~` expanded, if there is a home folder."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - leaves an unknown `~` alone, where Path raises


def user_file(name: str, environ: Mapping[str, str], *, windows: bool = os.name == "nt") -> list[Path]:
    """A file of the user; empty if there is no home folder, as for a container's arbitrary user id."""
    folder = Path(environ.get("APPDATA" if windows else "XDG_CONFIG_HOME", ""))
    if not folder.is_absolute() and not windows:  # the XDG specification ignores relative paths
        folder = expanded("~/.config")
    return [folder / "llm-service" / name] if folder.is_absolute() else []


def read_text(file: Path) -> str | None:
    """The text of a file, None if it does not exist; ConfigError unless it is regular, readable, UTF-8 and short."""
    try:
        data = _first_bytes(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte or a lone surrogate in the path
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot be read ({reason}); name a readable YAML file", file=file) from None
    if len(data) > _MOST_BYTES:
        raise ConfigError("is larger than 1 MiB; this is no settings file", file=file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8; save it as UTF-8", file=file, line=line) from None


def _stands(file: Path) -> bool:
    """Whether the path exists, also if unreadable or not a file: `read_text` refuses those."""
    try:
        file.stat()
    except (OSError, ValueError) as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return True


def _first_bytes(file: Path) -> bytes:
    if not stat.S_ISREG(file.stat().st_mode):  # reading a pipe or a device may never end
        raise OSError("it is a folder, a pipe or a device")
    with file.open("rb") as stream:
        return stream.read(_MOST_BYTES + 1)
