"""Joins queue and crash journal, and keeps out of the journal what must not be in a file."""

from typing import Any, Final

from llm_service.config.settings import PrivacyLevel, Settings
from llm_service.telemetry.journal.journal import CrashJournal, Slot
from llm_service.telemetry.journal.segment import DATA_AT
from llm_service.telemetry.pipeline.journaled_queue import JournaledQueue
from llm_service.telemetry.privacy import MAX_STORED_ERROR_CHARS, effective_level, stored_error
from llm_service.telemetry.records import CARD_FIELDS, InvocationRecord
from llm_service.telemetry.stores.opening import make_private_folder

__all__ = ["Preparation", "journaled_queue"]

_ERROR: Final = CARD_FIELDS.index("error_message")
_LEVEL: Final = CARD_FIELDS.index("privacy_level")


def journaled_queue(settings: Settings, options: dict[str, Any]) -> JournaledQueue:
    """The queue of a logger whose `journal` is on."""
    journal = CrashJournal(
        settings.db_path, settings.queue_max_bytes + DATA_AT, settings.privacy_level, make_private_folder
    )
    return JournaledQueue(journal=journal, make_slot=Slot, prepare=Preparation(settings.privacy_level), **options)


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
