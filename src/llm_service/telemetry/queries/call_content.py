"""The question for what a call was asked and answered, as `(sql, parameters)` and the shaping of its row."""

import logging
import zlib
from collections.abc import Iterable
from typing import Any, Final, TypedDict

from llm_service.redaction import ID_BYTES, stored_name
from llm_service.telemetry.privacy import unpack

__all__ = ["Content", "content", "to_content"]

_LOG: Final = logging.getLogger("llm_service.telemetry")


class Content(TypedDict):
    """What a call at level `full` was asked and answered; None where unknown."""

    invocation_id: str
    prompt: str | None
    response: str | None


def content(invocation_id: str) -> tuple[str, list[Any]]:
    """Prompt and response of one call."""
    sql = (
        "SELECT i.invocation_id, hex(c.prompt), hex(c.response) "  # hex: a reader takes bytes anywhere for text
        "FROM invocations AS i JOIN invocation_contents AS c ON c.id = i.id WHERE i.invocation_id = ?"
    )
    return sql, [stored_name(invocation_id, ID_BYTES)]


def to_content(rows: Iterable[tuple[Any, ...]]) -> Content | None:
    """The one row of `content`, or None where there is none."""
    for invocation_id, prompt, response in rows:
        return Content(invocation_id=invocation_id, prompt=_unpacked(prompt), response=_unpacked(response))
    return None


def _unpacked(packed: str) -> str | None:
    """A stored text; None where nothing was stored, or what is stored there cannot be unpacked any more."""
    try:
        return unpack(bytes.fromhex(packed)) if packed else None
    except (zlib.error, UnicodeDecodeError, MemoryError) as error:
        _LOG.warning("telemetry: a prompt or response is damaged and cannot be shown (%s)", error)
        return None
