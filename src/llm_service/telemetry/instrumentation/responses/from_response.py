"""A record of a provider's answer, for programs that log by hand."""

import logging
from typing import Any, Final

from llm_service.errors import RecordError
from llm_service.telemetry.instrumentation.inherited_fields import inherit
from llm_service.telemetry.instrumentation.open_blocks import current, still_open
from llm_service.telemetry.instrumentation.record_building import is_part_of
from llm_service.telemetry.instrumentation.responses.answers import read_answer
from llm_service.telemetry.record.fields import PRICED_BY
from llm_service.telemetry.record.record import InvocationRecord

__all__ = ["record_from_response"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_said: Final = set[str]()


def record_from_response(response: object, /, **fields: Any) -> InvocationRecord:
    """The record of an answer: its usage, model, ids, how it ended, and its service tier, as `call.record` takes them.

    Args:
        response: a whole answer of OpenAI's protocols, Anthropic, Gemini, Bedrock, Ollama, LiteLLM or OpenRouter, as an
            object of a client or as a mapping. Of any other a record of `fields` alone is made, and a warning is logged
            once.
        **fields: what else the record holds; they win over the answer, but for the model: `model_name` is the one that
            answered, and another that is named here becomes `request_model`. What neither says is taken from the
            scope or block that is open here.

    Raises:
        RecordError: (a `ValueError`) for a bad value among `fields`.
        TypeError: for a name among `fields` that is no field.
    """
    found = dict(read_answer(response))
    if not found:
        _say_once(type(response).__name__)
    given = {field: value for field, value in fields.items() if value is not None}
    here = still_open(current.get())
    if here is not None:
        inherit(here._names_within(), given, found)  # noqa: SLF001 - of the protocol
    answered, named = found.get("model_name"), given.get("model_name")
    if answered is not None and named not in {None, answered}:
        del given["model_name"]
        given.setdefault("request_model", named)
    if is_part_of(found.get("provider"), given.get("provider")):
        del given["provider"]
    while True:
        try:
            return InvocationRecord(**{**found, **given})
        except RecordError as error:
            if error.field in fields or error.field not in found:
                raise
            del found[error.field]  # a bad value of the answer costs that value
            if error.field in PRICED_BY and "cost_usd" not in given:
                found.setdefault("unpriced_usage", f"{error.field}: a value that is not usable")


def _say_once(kind: str) -> None:
    if kind not in _said:
        _said.add(kind)
        _LOG.warning("telemetry: record_from_response was given %s, which is no answer of a known shape", kind[:80])
