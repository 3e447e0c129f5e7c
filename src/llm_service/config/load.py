"""One configuration out of files and environment: the only module of this project that reads YAML or the environment.

A settings file is a flat mapping of names to single values, so it is read as YAML *events*: the first thing that is no
such mapping is refused where it stands, before anything is built from it.
"""

import difflib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from llm_service.config.settings import Settings, SettingsError, resolve_db_path
from llm_service.errors import ConfigError, shown

if TYPE_CHECKING:
    from llm_service.config.schemas import TelemetryConfig

__all__ = ["ConfigValue", "describe_config", "load_config"]

PROJECT_FILE: Final = Path("config", "telemetry.yaml")
PREFIX: Final = "LLM_TELEMETRY_"
FILE_VARIABLE: Final = "LLM_TELEMETRY_CONFIG"
MAX_FILE_BYTES: Final = 1024 * 1024
TEXT_SETTINGS: Final = frozenset({"db_path", "privacy_level", "overflow"})


class ConfigValue(NamedTuple):
    """One setting that is in force, and where it came from.

    Attributes:
        name: the setting.
        value: its value in `TelemetryConfig`.
        source: `default`, `FILE:LINE`, or the name of the environment variable.
    """

    name: str
    value: object
    source: str


class _Found(NamedTuple):
    """A value as it was read: `key` is the setting, or the environment variable when `file` is None."""

    value: object
    key: str
    file: Path | None = None
    line: int | None = None

    @property
    def source(self) -> str:
        return self.key if self.file is None else f"{self.file}:{self.line}"


def load_config(path: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> "TelemetryConfig":
    r"""Read the configuration: one file, then the environment over it.

    The file is the first of these that exists, and it counts whole (files are never merged):

    1. `path`; it must exist.
    2. the file named by `LLM_TELEMETRY_CONFIG`; it must exist.
    3. `config/telemetry.yaml` in the current directory.
    4. `telemetry.yaml` in the user's folder: `$XDG_CONFIG_HOME/llm-service`, else `~/.config/llm-service`; on Windows
       `%APPDATA%\llm-service`.
    5. none: the defaults.

    Then each `LLM_TELEMETRY_<SETTING>` replaces one setting, for example `LLM_TELEMETRY_RETENTION_DAYS=none`. Text
    settings are taken as they stand, the others are read as YAML scalars. A variable that is empty counts as not set.
    A relative `db_path` from a file is taken against that file's folder, from the environment against the current one.

    Args:
        path: the file to read instead of searching; `~` is expanded.
        environ: the environment to read; default `os.environ`.

    Raises:
        ConfigError: (a `ValueError`) naming file, line and key, for whatever cannot be used.
    """
    return _build(_collect(path, environ))


def describe_config(path: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> list[ConfigValue]:
    """Tell each setting that `load_config` with these arguments puts in force, and where it came from.

    Returns:
        All settings in documentation order.

    Raises:
        ConfigError: as `load_config` does.
    """
    found = _collect(path, environ)
    config = _build(found)
    return [
        ConfigValue(name, getattr(config, name), found[name].source if name in found else "default")
        for name in Settings.names()
    ]


def _collect(path: str | Path | None, environ: Mapping[str, str] | None) -> dict[str, _Found]:
    environ = os.environ if environ is None else environ
    return _from_file(path, environ) | _from_environment(environ)


def _build(found: Mapping[str, _Found]) -> "TelemetryConfig":
    from pydantic import ValidationError  # noqa: PLC0415 - slow to import, and needed by nobody who loads nothing

    from llm_service.config.schemas import TelemetryConfig  # noqa: PLC0415 - imports pydantic

    values = {name: item.value for name, item in found.items()}
    try:
        db_path = found.get("db_path")
        if db_path is not None and db_path.file is not None:
            values["db_path"] = str(resolve_db_path(db_path.value, db_path.file.parent))
        return TelemetryConfig.model_validate(values)
    except SettingsError as error:
        name, remedy = error.field, error.remedy
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name, remedy = str(first["loc"][0]), first["msg"]
    bad = found.get(name) or _Found(TelemetryConfig.model_fields[name].default, name)
    raise ConfigError(f"{shown(bad.value)} is not usable; {remedy}", file=bad.file, line=bad.line, key=bad.key)


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Found]:
    variables = {PREFIX + name.upper(): name for name in Settings.names()}
    found: dict[str, _Found] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
            continue
        if variable not in variables:
            raise ConfigError(_no_such(variable, [*variables, FILE_VARIABLE]), key=variable)
        name, text = variables[variable], environ[variable]
        if text.strip():
            value = text if name in TEXT_SETTINGS else _plain_value(name, text.strip())
            found[name] = _Found(value, variable)
    return found


def _from_file(path: str | Path | None, environ: Mapping[str, str]) -> dict[str, _Found]:
    named = path if path is not None else environ.get(FILE_VARIABLE) or None
    if named is not None:
        file = _expanded(named)
        text = _read(file)
        if text is None:
            key = FILE_VARIABLE if path is None else None
            raise ConfigError("there is no such file; correct the path or create the file", file=file, key=key)
        return _parse(file, text)
    for file in (PROJECT_FILE, *_user_files(environ)):
        text = _read(file)
        if text is not None:
            return _parse(file, text)
    return {}


def _expanded(path: str | Path) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - leaves an unknown `~` alone, where Path raises


def _user_files(environ: Mapping[str, str], *, windows: bool = os.name == "nt") -> list[Path]:
    """The settings file of the user; none where no folder is known, as under a container's arbitrary user id."""
    folder = Path(environ.get("APPDATA" if windows else "XDG_CONFIG_HOME", ""))
    if not folder.is_absolute() and not windows:  # the XDG specification: a relative path is to be ignored
        folder = _expanded("~/.config")
    return [folder / "llm-service" / "telemetry.yaml"] if folder.is_absolute() else []


def _read(file: Path) -> str | None:
    """The text of a file; None if there is none."""
    try:
        data = _first_bytes(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte or a lone surrogate in the path
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot be read ({reason}); name a readable YAML file", file=file) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError("is larger than 1 MiB; this is no settings file", file=file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8; save it as UTF-8", file=file, line=line) from None


def _first_bytes(file: Path) -> bytes:
    if not stat.S_ISREG(file.stat().st_mode):  # reading a pipe or a device may never end
        raise OSError("it is a folder, a pipe or a device")
    with file.open("rb") as stream:
        return stream.read(MAX_FILE_BYTES + 1)


def _parse(file: Path, text: str) -> dict[str, _Found]:
    """Read a flat mapping of settings; an empty file is an empty mapping."""
    events = _events(file, text)
    found: dict[str, _Found] = {}
    root = next(event for event in events if not isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent))
    if isinstance(root, yaml.MappingStartEvent):
        while not isinstance(key := next(events), yaml.MappingEndEvent):
            line = _line(key)
            name = _name(key, found, file, line)
            found[name] = _Found(_value(name, next(events), file, line), name, file, line)
    elif not isinstance(root, yaml.StreamEndEvent) and not (isinstance(root, yaml.ScalarEvent) and root.value == ""):
        raise ConfigError("is not a mapping; write one `setting: value` a line", file=file, line=_line(root))
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            raise ConfigError("has a second YAML document; keep one", file=file, line=_line(event))
    return found


def _events(file: Path, text: str) -> Iterator[yaml.Event]:
    """The YAML events of a text; tags, anchors and aliases are refused, since no setting needs them."""
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError("has a control character; remove it", file=file, line=line) from None
    while True:
        try:
            event = cast("yaml.Event | None", loader.get_event())  # type: ignore[no-untyped-call]
        except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML leaks the last two for odd numbers
            mark = getattr(error, "problem_mark", None)
            problem = str(getattr(error, "problem", None) or "a number in an escape or a directive is out of range")
            line = (mark.line if mark else loader.line) + 1
            raise ConfigError(f"is not YAML: {problem[:80]}; correct the syntax", file=file, line=line) from None
        if event is None:  # after the end of the stream
            return
        _refuse_extras(event, file)
        yield event


def _refuse_extras(event: yaml.Event, file: Path) -> None:
    extra = getattr(event, "tag", None) or getattr(event, "anchor", None)
    if extra is not None:
        raise ConfigError(f"YAML tag or anchor {shown(extra)} is refused; drop it", file=file, line=_line(event))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1  # type: ignore[union-attr]  # optional only for events made by hand


def _name(key: yaml.Event, found: Mapping[str, _Found], file: Path, line: int) -> str:
    if not isinstance(key, yaml.ScalarEvent):
        raise ConfigError("a list or a mapping cannot name a setting; write `setting: value`", file=file, line=line)
    name = key.value
    if name not in Settings.names():
        raise ConfigError(_no_such(name, Settings.names()), file=file, line=line, key=name)
    if name in found:
        raise ConfigError(f"is set in line {found[name].line} already; keep one", file=file, line=line, key=name)
    return name


def _no_such(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"the known ones are: {', '.join(known)}"
    return f"there is no such setting; {remedy}"


def _value(name: str, event: yaml.Event, file: Path, line: int) -> object:
    if not isinstance(event, yaml.ScalarEvent):
        raise ConfigError("a list or a mapping is not usable; give a single value", file=file, line=line, key=name)
    if not event.implicit[0]:  # quoted, or a block of text
        return event.value
    if event.value == "":  # YAML's null, but a forgotten number of days must not keep records for ever
        raise ConfigError("has no value; give one or remove the line", file=file, line=line, key=name)
    return _plain_value(name, event.value)


def _plain_value(name: str, text: str) -> object:
    """What an unquoted YAML scalar means; beside YAML's own words, `none` is null where the setting is no text.

    Numbers are decimal, as YAML 1.2 reads them: `010` is ten and `1:30` is text (in YAML 1.1 they are 8 and 90). What
    is no such number stays text, for the check of types to refuse.
    """
    tag = cast("str", Resolver().resolve(yaml.ScalarNode, text, (True, False)))  # type: ignore[no-untyped-call]
    kind = tag.rpartition(":")[2]
    if kind == "null" or (text.lower() == "none" and name not in TEXT_SETTINGS):
        return None
    if kind == "bool":
        return SafeConstructor.bool_values[text.lower()]
    try:
        return {"int": int, "float": float}.get(kind, str)(text)
    except ValueError:
        return text
