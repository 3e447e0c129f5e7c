"""Loads the configuration from a settings file and the environment.

A settings file is a flat mapping of names to scalars. It is read as YAML *events*: anything else is refused at its
line, before anything is built from it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import yaml

from llm_service.config.documents import (
    is_empty,
    line_of,
    plain_value,
    refuse_second,
    root_event,
    skip,
    yaml_events,
)
from llm_service.config.files import FILE_VARIABLES, PREFIX, find, read_text
from llm_service.config.key_paths import no_such
from llm_service.config.settings import Settings, SettingsError, resolve_db_path
from llm_service.errors import ConfigError
from llm_service.redaction import shown

if TYPE_CHECKING:
    from llm_service.config.schemas import TelemetryConfig

__all__ = ["ConfigValue", "check_config", "describe_config", "load_config"]

MOST_PROBLEMS: Final = 100
TEXT_SETTINGS: Final = frozenset({"db_path", "privacy_level", "overflow"})


class ConfigValue(NamedTuple):
    """The effective value of one setting, and its source.

    Attributes:
        value: its value in `TelemetryConfig`.
        source: `default`, `FILE:LINE`, or the name of the environment variable.
    """

    name: str
    value: object
    source: str


class _Found(NamedTuple):
    """A value as read: `key` is the setting, or the environment variable if `file` is None."""

    value: object
    key: str
    file: Path | None = None
    line: int | None = None

    @property
    def source(self) -> str:
        return self.key if self.file is None else f"{self.file}:{self.line}"


def load_config(path: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> "TelemetryConfig":
    r"""Read the configuration: one file, then the environment over it.

    The file is the first of these that exists (files are never merged):

    1. `path`; it must exist.
    2. the file named by `LLM_TELEMETRY_CONFIG`; it must exist.
    3. `config/telemetry.yaml` in the current directory.
    4. `telemetry.yaml` in the user's folder: `$XDG_CONFIG_HOME/llm-service`, else `~/.config/llm-service`; on Windows
       `%APPDATA%\llm-service`.
    5. none: the defaults.

    Then each `LLM_TELEMETRY_<SETTING>` replaces one setting, for example `LLM_TELEMETRY_RETENTION_DAYS=none`. Text
    settings are taken verbatim, the others are read as YAML scalars. An empty variable counts as not set. A relative
    `db_path` from a file is resolved against that file's folder, one from the environment against the current folder.

    Args:
        path: the file to read instead of searching; `~` is expanded.
        environ: the environment to read; default `os.environ`.

    Raises:
        ConfigError: (a `ValueError`) with file, line and key of an unusable value.
    """
    _, config, problems = _collect(path, environ)
    if config is None:
        raise problems[0]
    return config


def describe_config(path: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> list[ConfigValue]:
    """The effective settings of `load_config` with these arguments, and their sources.

    Raises:
        ConfigError: as `load_config` does.
    """
    found, config, problems = _collect(path, environ)
    if config is None:
        raise problems[0]
    return [
        ConfigValue(name, getattr(config, name), found[name].source if name in found else "default")
        for name in Settings.names()
    ]


def check_config(
    path: str | Path | None = None, *, environ: Mapping[str, str] | None = None
) -> "tuple[TelemetryConfig | None, list[ConfigError]]":
    """The result of `load_config` (None if it would raise the first of them), and all errors in order of reading."""
    _, config, problems = _collect(path, environ)
    return config, problems


def _collect(
    path: str | Path | None, environ: Mapping[str, str] | None
) -> "tuple[dict[str, _Found], TelemetryConfig | None, list[ConfigError]]":
    """The values found, the configuration that they make, and all errors in the order of reading."""
    environ = os.environ if environ is None else environ
    problems: list[ConfigError] = []
    found = _from_file(path, environ, problems) | _from_environment(environ, problems)
    config, wrong = _build(found)
    problems += wrong
    return found, None if problems else config, problems


def _build(found: Mapping[str, _Found]) -> "tuple[TelemetryConfig | None, list[ConfigError]]":
    from pydantic import ValidationError  # noqa: PLC0415 - slow to import, and needed by nobody who loads nothing

    from llm_service.config.schemas import TelemetryConfig  # noqa: PLC0415 - imports pydantic

    values = {name: item.value for name, item in found.items()}
    wrong: dict[str, str] = {}
    config: TelemetryConfig | None = None
    try:
        db_path = found.get("db_path")
        if db_path is not None and db_path.file is not None:
            values["db_path"] = str(resolve_db_path(db_path.value, db_path.file.parent))
    except SettingsError as error:
        wrong[error.field] = error.remedy
    try:
        config = TelemetryConfig.model_validate(values)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            wrong.setdefault(str(item["loc"][0]), item["msg"])
    problems: list[ConfigError] = []
    for name, remedy in wrong.items():
        bad = found.get(name) or _Found(TelemetryConfig.model_fields[name].default, name)
        problem = f"{shown(bad.value)} is not usable; {remedy}"
        problems.append(ConfigError(problem, file=bad.file, line=bad.line, key=bad.key))
    return None if problems else config, problems


def _from_environment(environ: Mapping[str, str], problems: list[ConfigError]) -> dict[str, _Found]:
    variables = {PREFIX + name.upper(): name for name in Settings.names()}
    found: dict[str, _Found] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in FILE_VARIABLES.values():
            continue
        if variable not in variables:
            problems.append(ConfigError(no_such(variable, [*variables, *FILE_VARIABLES.values()]), key=variable))
            continue
        name, text = variables[variable], environ[variable]
        if text.strip():
            value = text if name in TEXT_SETTINGS else _plain_value(name, text.strip())
            found[name] = _Found(value, variable)
    return found


def _from_file(path: str | Path | None, environ: Mapping[str, str], problems: list[ConfigError]) -> dict[str, _Found]:
    """The settings of a file; unknown names are added to the problems."""
    found: dict[str, _Found] = {}
    file = find("telemetry", path, environ)
    if file is None:
        return found
    try:
        text = read_text(file)
        if text is not None:
            _parse(file, text, found, problems)
    except ConfigError as error:  # the rest cannot be read
        problems.append(error)
    else:
        if text is None:
            key = FILE_VARIABLES["telemetry"] if path is None else None
            problem = "there is no such file; correct the path or create the file"
            problems.append(ConfigError(problem, file=file, key=key))
    return found


def _parse(file: Path, text: str, found: dict[str, _Found], problems: list[ConfigError]) -> None:
    """Read a flat mapping of settings; an empty file is an empty mapping."""
    events = yaml_events(file, text)
    root = root_event(events)
    if isinstance(root, yaml.MappingStartEvent):
        while not isinstance(key := next(events), yaml.MappingEndEvent):
            name, line = _name(key, file), line_of(key)
            wrong = _wrong_name(name, found)
            if wrong is not None:
                problems.append(ConfigError(wrong, file=file, line=line, key=name))
            if len(problems) > MOST_PROBLEMS:
                raise ConfigError("has too many errors to go on; this is no settings file", file=file, line=line)
            value = next(events)
            try:
                item = _Found(_value(name, value, file, line), name, file, line)
            except ConfigError as error:
                if wrong is None:
                    problems.append(error)
                skip(value, events)
            else:
                if wrong is None:
                    found[name] = item
    elif not is_empty(root):
        raise ConfigError("is not a mapping; write one `setting: value` a line", file=file, line=line_of(root))
    refuse_second(file, events)


def _name(key: yaml.Event, file: Path) -> str:
    if isinstance(key, yaml.ScalarEvent):
        return key.value
    problem = "a list or a mapping cannot name a setting; write `setting: value`"
    raise ConfigError(problem, file=file, line=line_of(key))


def _wrong_name(name: str, found: Mapping[str, _Found]) -> str | None:
    if name not in Settings.names():
        return no_such(name, Settings.names())
    return f"is set in line {found[name].line} already; keep one" if name in found else None


def _value(name: str, event: yaml.Event, file: Path, line: int) -> object:
    if not isinstance(event, yaml.ScalarEvent):
        raise ConfigError("a list or a mapping is not usable; give a single value", file=file, line=line, key=name)
    if not event.implicit[0]:  # quoted, or a block of text
        return event.value
    if event.value == "":  # null in YAML, but a forgotten number of days must not keep records for ever
        raise ConfigError("has no value; give one or remove the line", file=file, line=line, key=name)
    return _plain_value(name, event.value)


def _plain_value(name: str, text: str) -> object:
    """The value of an unquoted YAML scalar; `none` is null, too, unless the setting is a text.

    Numbers are decimal, as in YAML 1.2: `010` is ten and `1:30` is text (in YAML 1.1 they are 8 and 90). Anything else
    stays text, which the type check refuses.
    """
    return None if text.lower() == "none" and name not in TEXT_SETTINGS else plain_value(text)
