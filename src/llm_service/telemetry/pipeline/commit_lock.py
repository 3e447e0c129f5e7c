"""See `llm_service.telemetry.writer.commit_lock`."""

from llm_service.telemetry.writer.commit_lock import CommitLock

__all__ = ["CommitLock"]
