"""Joins queue and crash journal, and keeps out of the journal what must not be in a file."""

from collections import Counter
from typing import Any, Final

from llm_service.config.settings import PrivacyLevel, Settings
from llm_service.telemetry.journal.journal import CrashJournal, Slot
from llm_service.telemetry.journal.segment import DATA_AT
from llm_service.telemetry.privacy import MAX_STORED_ERROR_CHARS, Redactor, effective_level, stored_error
from llm_service.telemetry.record.record import CARD_FIELDS, InvocationRecord, rebuilt
from llm_service.telemetry.stores.private_files import make_private_folder
from llm_service.telemetry.writer.journaled_queue import JournaledQueue

__all__ = ["Preparation", "journaled_queue"]

_ERROR: Final = CARD_FIELDS.index("error_message")
_LEVEL: Final = CARD_FIELDS.index("privacy_level")


def journaled_queue(settings: Settings, redactor: Redactor, options: dict[str, Any]) -> JournaledQueue:
    """The queue of a logger whose `journal` is on."""
    journal = CrashJournal(
        settings.db_path, settings.queue_max_bytes + DATA_AT, settings.privacy_level, make_private_folder
    )
    prepare = Preparation(settings.privacy_level, redactor)
    return JournaledQueue(journal=journal, make_slot=Slot, is_clean=redactor.is_plain, prepare=prepare, **options)


class Preparation:
    """Makes of a record what may stand in a file at the logger's level: secrets, content and long messages go.

    Args:
        redactor: takes secrets out of every free text, on the thread that logs.
    """

    __slots__ = ("_ceiling", "_redacted")

    def __init__(self, ceiling: PrivacyLevel, redactor: Redactor) -> None:
        self._ceiling: PrivacyLevel = ceiling
        self._redacted = redactor.record

    def __call__(self, record: InvocationRecord) -> tuple[InvocationRecord, Counter[str]]:
        """The record as it may be stored, and what was taken out by the name of its pattern."""
        counts: Counter[str] = Counter()
        cleaned = self._redacted(record, counts)
        message = cleaned.card[_ERROR]
        if message is not None and len(message) > MAX_STORED_ERROR_CHARS:
            card = list(cleaned.card)
            card[_ERROR] = stored_error(message, effective_level(self._ceiling, card[_LEVEL]))
            cleaned = rebuilt(cleaned, tuple(card), cleaned.extensions)
        return cleaned, counts
