"""Making a record of what a call said and what was measured of it: one bad value after the other is given up."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_service.errors import RecordError
from llm_service.redaction import traceback_text
from llm_service.telemetry.instrumentation.call_fields import without_content
from llm_service.telemetry.record.fields import PRICED_BY
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.record.texts import forget_repairs, repairs_here

__all__ = ["INSTEAD", "built", "merged"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
INSTEAD: Final = {"status": "error", "privacy_level": "metadata"}
"""What a bad value of these is taken for: never a success, never more than was asked for."""
_PARTS: Final = frozenset({"prompt_tokens", "completion_tokens"})


def built(
    make: Callable[..., InvocationRecord],
    measured: dict[str, Any],
    said: dict[str, Any],
    note: Callable[[str, str], None],
    *,
    may_raise: bool,
) -> InvocationRecord | None:
    """The record of both, what was said first; None where none can be made. Both are altered.

    Args:
        make: the record's constructor.
        measured: what was measured.
        said: what was said.
        note: told of each value that is given up: the field, and what is wrong.
        may_raise: whether a bad value is raised instead.

    Raises:
        RecordError: as `may_raise` says.
    """
    repairs = repairs_here()
    while True:
        try:
            return make(**{**measured, **said})
        except RecordError as error:
            if may_raise:
                raise
            forget_repairs(repairs)
            field = error.field
            instead = INSTEAD.get(field)
            taken = "" if instead is None else f"; it is taken for {measured.setdefault(field, instead)}"
            note(field, f"{without_content(error)}{taken}")
            if field in said:
                del said[field]
                if field in PRICED_BY and said.get("cost_usd") is None:
                    said.setdefault("unpriced_usage", f"{field}: a value that is not usable")
            elif field in measured:
                del measured[field]
            elif field == "total_tokens" and not _PARTS.isdisjoint(said):
                # Their sum is beyond any call: neither can be trusted, and unknown is NULL.
                for part in _PARTS:
                    said.pop(part, None)
            else:
                return None
        except Exception as error:
            if may_raise:
                raise
            _LOG.error("telemetry: an invocation could not be recorded: %s", traceback_text(error))
            return None


def merged(found: Mapping[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """What a call's answer or an SDK told, as it stands beside what its block says, which wins.

    Args:
        found: what was told.
        said: what the block says; a model that it named, and that is not the one that answered, moves to
            `request_model` in it, or is left out where the request's own is known. Where none answered, and none is
            named, it is the one that was asked.
    """
    found = dict(found)
    answered = found.get("model_name")
    if answered is not None and said.get("model_name") not in {None, answered}:
        named = said.pop("model_name")
        if found.get("request_model") is None:
            said.setdefault("request_model", named)
    elif answered is None and said.get("model_name") is None and found.get("request_model") is not None:
        found["model_name"] = found["request_model"]
    if not _PARTS.isdisjoint(said):
        found.pop("total_tokens", None)  # of other counts
    return found
