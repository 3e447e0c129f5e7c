"""Which level a record is stored at. The logger's level is a ceiling: a record may ask for less, never for more.

`none` < `metadata` < `full`.
"""

from typing import Any, Final

from llm_service.config.settings import PrivacyLevel
from llm_service.telemetry.records import CARD_FIELDS, InvocationRecord

__all__ = ["MAX_STORED_ERROR_CHARS", "Preparation", "effective_level", "stored_error"]

_ERROR: Final = CARD_FIELDS.index("error_message")
_LEVEL: Final = CARD_FIELDS.index("privacy_level")

MAX_STORED_ERROR_CHARS: Final = 500
"""What is kept of an error message at level `metadata`."""

_RANK: Final[dict[PrivacyLevel, int]] = {"none": 0, "metadata": 1, "full": 2}


def effective_level(ceiling: PrivacyLevel, asked: PrivacyLevel | None) -> PrivacyLevel:
    """The lower of the logger's level and what the record asks for."""
    if asked is None or _RANK[asked] >= _RANK[ceiling]:
        return ceiling
    return asked


def stored_error(message: str | None, level: PrivacyLevel) -> str | None:
    """The error message as it may be stored at this level."""
    if message is None or level == "full" or len(message) <= MAX_STORED_ERROR_CHARS:
        return message
    return message[: MAX_STORED_ERROR_CHARS - 3] + "..."


class Preparation:
    """Makes of a record what may stand in a file at the logger's level: content and long messages go.

    Args:
        ceiling: the logger's level.
    """

    __slots__ = ("_ceiling",)

    def __init__(self, ceiling: PrivacyLevel) -> None:
        self._ceiling: PrivacyLevel = ceiling

    def __call__(self, record: InvocationRecord) -> InvocationRecord:
        """The record itself where nothing has to go."""
        if record.extensions is None and record.card[_ERROR] is None:
            return record
        level = effective_level(self._ceiling, record.card[_LEVEL])
        if level == "full":
            return record
        changes: dict[str, Any] = {}
        if record.prompt is not None or record.response is not None:
            changes = {"prompt": None, "response": None}
        message = record.card[_ERROR]
        if message is not None and len(message) > MAX_STORED_ERROR_CHARS:
            changes["error_message"] = stored_error(message, level)
        return record.replace(**changes) if changes else record
