"""The question for what a call was asked and answered, as `(sql, parameters)` and the shaping of its row."""

from collections.abc import Iterable
from typing import Any, TypedDict

from llm_service.errors import QueryError
from llm_service.redaction import ID_BYTES, stored_name
from llm_service.telemetry.privacy import unpack

__all__ = ["Content", "content", "to_content"]


class Content(TypedDict):
    """What a call at level `full` was asked and answered; None where unknown."""

    invocation_id: str
    prompt: str | None
    response: str | None


def content(invocation_id: str) -> tuple[str, list[Any]]:
    """Prompt and response of one call.

    Raises:
        QueryError: for an id of another type.
    """
    if not isinstance(invocation_id, str):
        raise QueryError("invocation_id", invocation_id, "give the id of a stored call, a str")
    sql = (
        "SELECT i.invocation_id, c.prompt, c.response "
        "FROM invocations AS i JOIN invocation_contents AS c ON c.id = i.id WHERE i.invocation_id = ?"
    )
    return sql, [stored_name(invocation_id, ID_BYTES)]


def to_content(rows: Iterable[tuple[Any, ...]]) -> Content | None:
    """The one row of `content`, or None where there is none."""
    for invocation_id, prompt, response in rows:
        return Content(
            invocation_id=invocation_id,
            prompt=None if prompt is None else unpack(prompt),
            response=None if response is None else unpack(response),
        )
    return None
