"""Which queue a logger has: with a crash journal or without, or one that refuses every record from the start."""

from collections.abc import Callable
from typing import Any

from llm_service.config.settings import Settings
from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.writer.ledger import DropReason
from llm_service.telemetry.writer.queue import RecordQueue

__all__ = ["make_queue"]


def make_queue(
    settings: Settings,
    redactor: Redactor,
    on_wake: Callable[[], None],
    on_drop: Callable[[DropReason, int], None],
) -> RecordQueue:
    """The queue that these settings ask for."""
    stores_nothing = not settings.enabled or settings.privacy_level == "none"
    options: dict[str, Any] = {
        "max_records": settings.queue_max_records,
        "max_bytes": settings.queue_max_bytes,
        "overflow": settings.overflow,
        "on_wake": on_wake,
        "on_drop": on_drop,
    }
    if settings.journal and not stores_nothing:
        from llm_service.telemetry.journal.journal import CrashJournal, Slot  # noqa: PLC0415 - opt-in
        from llm_service.telemetry.journal.segment import DATA_AT  # noqa: PLC0415
        from llm_service.telemetry.writer.journaled_queue import JournaledQueue, Preparation  # noqa: PLC0415

        level = settings.privacy_level
        journal = CrashJournal(settings.db_path, settings.queue_max_bytes + DATA_AT, level)
        prepare = Preparation(level, redactor)
        return JournaledQueue(journal=journal, make_slot=Slot, is_clean=redactor.is_plain, prepare=prepare, **options)
    queue = RecordQueue(**options)
    if stores_nothing:
        queue.refuse(DropReason.PRIVACY if settings.enabled else DropReason.DISABLED)
    return queue
