"""One configuration out of a settings file and the environment.

A settings file is a flat mapping of names to single values, so it is read as YAML *events*: the first thing that is no
such mapping is refused where it stands, before anything is built from it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import yaml

from llm_service.config.documents import (
    is_empty,
    line_of,
    no_such,
    plain_value,
    refuse_second,
    root_event,
    yaml_events,
)
from llm_service.config.files import FILE_VARIABLES, PREFIX, find, read_text
from llm_service.config.settings import Settings, SettingsError, resolve_db_path
from llm_service.errors import ConfigError, shown

if TYPE_CHECKING:
    from llm_service.config.schemas import TelemetryConfig

__all__ = ["ConfigValue", "describe_config", "load_config"]

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
        if not variable.startswith(PREFIX) or variable in FILE_VARIABLES.values():
            continue
        if variable not in variables:
            raise ConfigError(no_such(variable, [*variables, *FILE_VARIABLES.values()]), key=variable)
        name, text = variables[variable], environ[variable]
        if text.strip():
            value = text if name in TEXT_SETTINGS else _plain_value(name, text.strip())
            found[name] = _Found(value, variable)
    return found


def _from_file(path: str | Path | None, environ: Mapping[str, str]) -> dict[str, _Found]:
    file = find("telemetry", path, environ)
    if file is None:
        return {}
    text = read_text(file)
    if text is None:
        key = FILE_VARIABLES["telemetry"] if path is None else None
        raise ConfigError("there is no such file; correct the path or create the file", file=file, key=key)
    return _parse(file, text)


def _parse(file: Path, text: str) -> dict[str, _Found]:
    """Read a flat mapping of settings; an empty file is an empty mapping."""
    events = yaml_events(file, text)
    found: dict[str, _Found] = {}
    root = root_event(events)
    if isinstance(root, yaml.MappingStartEvent):
        while not isinstance(key := next(events), yaml.MappingEndEvent):
            line = line_of(key)
            name = _name(key, found, file, line)
            found[name] = _Found(_value(name, next(events), file, line), name, file, line)
    elif not is_empty(root):
        raise ConfigError("is not a mapping; write one `setting: value` a line", file=file, line=line_of(root))
    refuse_second(file, events)
    return found


def _name(key: yaml.Event, found: Mapping[str, _Found], file: Path, line: int) -> str:
    if not isinstance(key, yaml.ScalarEvent):
        raise ConfigError("a list or a mapping cannot name a setting; write `setting: value`", file=file, line=line)
    name = key.value
    if name not in Settings.names():
        raise ConfigError(no_such(name, Settings.names()), file=file, line=line, key=name)
    if name in found:
        raise ConfigError(f"is set in line {found[name].line} already; keep one", file=file, line=line, key=name)
    return name


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
    return None if text.lower() == "none" and name not in TEXT_SETTINGS else plain_value(text)
