"""The query for prompt and response of a call, and the decoding of its row."""

import logging
import zlib
from collections.abc import Iterable
from typing import Any, Final, TypedDict

from llm_service.redaction import ID_BYTES, stored_name
from llm_service.telemetry.privacy import unpack

__all__ = ["Content", "content", "to_content"]

_LOG: Final = logging.getLogger("llm_service.telemetry")


class Content(TypedDict):
    """Prompt and response of a call at level `full`; None if unknown."""

    invocation_id: str
    prompt: str | None
    response: str | None


def content(invocation_id: str) -> tuple[str, list[Any]]:
    """Prompt and response of one call."""
    sql = (
        "SELECT i.invocation_id, hex(c.prompt), hex(c.response) "  # hex: the reader decodes bytes as text
        "FROM invocations AS i JOIN invocation_contents AS c ON c.id = i.id WHERE i.invocation_id = ?"
    )
    return sql, [stored_name(invocation_id, ID_BYTES)]


def to_content(rows: Iterable[tuple[Any, ...]]) -> Content | None:
    """The row of `content`, or None if there is none."""
    for invocation_id, prompt, response in rows:
        return Content(invocation_id=invocation_id, prompt=_unpacked(prompt), response=_unpacked(response))
    return None


def _unpacked(packed: str) -> str | None:
    """A stored text; None if nothing is stored, or if it is damaged."""
    try:
        return unpack(bytes.fromhex(packed)) if packed else None
    except (zlib.error, UnicodeDecodeError, MemoryError) as error:
        _LOG.warning("telemetry: a prompt or response is damaged and cannot be shown (%s)", error)
        return None
