"""What a logger gives a store, for tests that make one by themselves."""

from pathlib import Path
from typing import Any

from llm_service.config.settings import Settings
from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.stores.base import StoreParts


def parts(db_path: Path, **given: Any) -> StoreParts:
    """The parts of a logger with this path."""
    settings = Settings(db_path=db_path, privacy_level="full")
    made: dict[str, Any] = {
        "settings": settings, "writer_id": "writer", "redactor": Redactor("full"), "prices": None, "policies": None,
        "on_threshold": lambda _event: None, "tell": lambda _event, _count, _message: None,
    }  # fmt: skip
    return StoreParts(**(made | given))
