"""The query for prompt and response of a call, and the decoding of its row."""

import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypedDict

from llm_service.redaction import ID_BYTES, stored_name
from llm_service.telemetry.privacy import unpack
from llm_service.telemetry.stores.base import Fetch

__all__ = ["Content", "content", "read_contents", "to_content"]

_AT_ONCE: Final = 16
"""Calls whose contents are held at once: each may have megabytes."""
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


def read_contents(fetch: Fetch, ids: Sequence[int]) -> Iterator[tuple[str | None, str | None]]:
    """Prompt and response of each of these calls, by `id`, in their order; some megabytes are held at once."""
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(part))
        sql = f"SELECT id, hex(prompt), hex(response) FROM invocation_contents WHERE id IN ({marks})"  # noqa: S608
        texts = {number: cells for number, *cells in fetch((sql, part))}
        for number in ids[start : start + _AT_ONCE]:
            prompt, response = texts.get(number, ("", ""))
            yield _unpacked(prompt), _unpacked(response)


def _unpacked(packed: str) -> str | None:
    """A stored text; None if nothing is stored, or if it is damaged."""
    try:
        return unpack(bytes.fromhex(packed)) if packed else None
    except (zlib.error, UnicodeDecodeError, MemoryError) as error:
        _LOG.warning("telemetry: a prompt or response is damaged and cannot be shown (%s)", error)
        return None
