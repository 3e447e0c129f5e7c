"""Joins queue and crash journal; imported only where a journal is wanted, or one is found."""

from typing import Any

from llm_service.config.settings import Settings
from llm_service.telemetry.journal.journal import CrashJournal, Slot
from llm_service.telemetry.journal.segment import DATA_AT
from llm_service.telemetry.pipeline.journaled_queue import JournaledQueue
from llm_service.telemetry.privacy import Preparation
from llm_service.telemetry.stores.opening import make_private_folder

__all__ = ["journaled_queue"]


def journaled_queue(settings: Settings, options: dict[str, Any]) -> JournaledQueue:
    """The queue of a logger whose `journal` is on."""
    journal = CrashJournal(
        settings.db_path, settings.queue_max_bytes + DATA_AT, settings.privacy_level, make_private_folder
    )
    return JournaledQueue(journal=journal, make_slot=Slot, prepare=Preparation(settings.privacy_level), **options)
