"""The configuration as a pydantic model: strict types; names, defaults and bounds come from `Settings`.

Only the schemas import pydantic: `import llm_service.telemetry` does not need it.
"""

from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from llm_service.config.models_schema import ModelsConfig
from llm_service.config.policies_schema import PoliciesConfig
from llm_service.config.settings import DEFAULT_DB_PATH, Overflow, PrivacyLevel, Settings, SettingsError

__all__ = ["ModelsConfig", "PoliciesConfig", "TelemetryConfig"]

# Absolute, because `~` may be undefined when this module is imported.
_ANY: Final = Path("/telemetry.db")
_DEFAULTS: Final = Settings(db_path=_ANY)


def _setting(name: str, description: str) -> Any:
    """A field with the default of `Settings`."""
    return Field(default=getattr(_DEFAULTS, name), description=description)


class TelemetryConfig(BaseModel):
    """A checked, frozen configuration, field for field that of `Settings`.

    Types are strict: a bool is no number, 1.5 is no number of days, `"30"` is no number at all. A whole number is taken
    for a number of seconds, and a `Path` for `db_path`. A model that exists makes usable settings.

    Raises:
        pydantic.ValidationError: (a `ValueError`) located at the field, for an unknown field, a wrong type, or a value
            that `Settings` refuses.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, hide_input_in_errors=True
    )

    db_path: str = Field(
        default=DEFAULT_DB_PATH,
        description="Path of the SQLite file; `~` is expanded. A relative path is taken against the current directory, "
        "one from a YAML file against the folder of that file.",
    )
    enabled: bool = _setting("enabled", "False turns every call into a counted no-op; nothing is created on disk.")
    privacy_level: PrivacyLevel = _setting(
        "privacy_level", "`metadata` (no prompt, no response), `full`, or `none` (nothing is written or created)."
    )
    retention_days: int | None = _setting(
        "retention_days", "Days of records to keep, up to 36,500; 0 or None keeps them all."
    )
    content_retention_days: int | None = _setting(
        "content_retention_days",
        "Days of prompts and responses to keep, up to 36,500; 0 or None: as long as the record.",
    )
    flush_interval: float = _setting(
        "flush_interval", "Seconds, from 0.001 to 3,600; a record is committed within this time of its own age."
    )
    batch_size: int = _setting(
        "batch_size", "Records waiting that trigger a commit before `flush_interval` has passed, from 1 to 100,000."
    )
    queue_max_records: int = _setting(
        "queue_max_records", "Most records that may wait in memory, from 1 to 100,000,000."
    )
    queue_max_bytes: int = _setting("queue_max_bytes", "Most bytes that may wait in memory, from 64 KiB to 1 TiB.")
    overflow: Overflow = _setting(
        "overflow", "What happens at these bounds: `block` (up to `block_timeout`), `drop_newest` or `drop_oldest`."
    )
    block_timeout: float = _setting(
        "block_timeout", "Seconds, from 0 to 86,400, that an awaited call waits for room before its record is dropped."
    )
    commit_timeout: float = _setting(
        "commit_timeout", "Seconds, from 0 to 86,400, that a caller who was promised a commit waits for it."
    )
    close_timeout: float = _setting(
        "close_timeout", "Seconds, from 0 to 86,400, that `close` and `aclose` take at most, unless told otherwise."
    )
    strict: bool = _setting("strict", "True makes `invocation()` raise on a bad value instead of storing NULL.")
    redact_content: bool = _setting(
        "redact_content", "False stores prompts and responses (level `full`) as they are; all else is redacted always."
    )
    journal: bool = _setting(
        "journal",
        "True writes each record to a crash journal, a file as large as `queue_max_bytes` beside the "
        "database, before it is accepted: the end of the process, SIGKILL included, loses none.",
    )
    search: bool = _setting(
        "search",
        "True makes an index of the words of prompts, responses and error messages (level `full`), for `search`; a "
        "file that has one keeps it until it is dropped.",
    )
    time_zone: str | None = _setting(
        "time_zone",
        "Where the days of queries begin: a name of the IANA database, `UTC`, or `local` for the machine's. None is UTC"
        " for loggers, and the machine's for the command line.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _usable(cls, value: object, info: ValidationInfo) -> object:
        """Check one value by `Settings`, before pydantic does: its remedy names the bounds, not only the type."""
        try:
            Settings(**{"db_path": _ANY, str(info.field_name): value})  # type: ignore[arg-type]
        except SettingsError as error:
            # A custom error's message is a template: pass the remedy as a value.
            raise PydanticCustomError("unusable_setting", "{remedy}", {"remedy": error.remedy}) from None
        return str(value) if isinstance(value, Path) else value

    def get_db_path(self) -> Path:
        """The absolute path of the SQLite file; a relative one is resolved against the present current directory."""
        return self.to_settings().db_path

    def to_settings(self) -> Settings:
        """The settings for a logger; its `db_path` is absolute."""
        return Settings.of(self.db_path, self.model_dump(exclude={"db_path"}))
