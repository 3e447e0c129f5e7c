"""The privacy level a record is stored at. The logger's level is a ceiling: a record may ask for less, never for more.

`none` < `metadata` < `full`.
"""

from typing import Final

from llm_service.config.settings import PrivacyLevel

__all__ = ["MAX_STORED_ERROR_CHARS", "effective_level", "stored_error"]

MAX_STORED_ERROR_CHARS: Final = 500
"""Characters of an error message that are stored at level `metadata`."""

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
