"""Fields as a caller gives them, by any of their names; and saying, once for each, which value is left out."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from llm_service.errors import RecordError
from llm_service.redaction import clean, shown
from llm_service.telemetry.instrumentation.call_fields import describe_error, settled
from llm_service.telemetry.instrumentation.field_aliases import known_fields, no_such_field, own_fields
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.record.checks import MAX_NAME_CHARS, required_id
from llm_service.telemetry.record.texts import forget_repairs, repairs_here

__all__ = ["by_field", "note", "told_late", "usable_id", "warn_of_no_usage"]

_LOG: Final = logging.getLogger("llm_service.telemetry")


def by_field(given: Mapping[str, Any], sink: Sink, *, strict: bool) -> Mapping[str, Any]:
    """What is given, by the names of fields; each other name is counted as a bad value and warned about once.

    Raises:
        RecordError: with `strict`, for a name that is no field.
    """
    try:
        for name in ("error", "exception"):
            if isinstance(error := given.get(name), BaseException):
                given = describe_error(error) | {other: value for other, value in given.items() if other != name}
        fields, unknown = known_fields(given)
        fields = settled(fields)
    except Exception:  # noqa: BLE001 - a value of the caller's raises when it is looked at: its own check names it
        fields, unknown = own_fields(given)
    for name in unknown:
        if strict:
            raise RecordError(name, "a value", no_such_field(name))
        printable = clean(name[:MAX_NAME_CHARS]) if name.isprintable() else shown(name)
        note(sink, name, f"{printable}: {no_such_field(name)}")
    return fields


def note(sink: Sink, field: str, message: str) -> None:
    """Count a bad value of a field; the first one of it is warned about."""
    if sink.count_bad_value(field):
        _LOG.warning("telemetry: a value is left out, this field is warned about once: %s", message)


def told_late(given: Mapping[str, Any], sink: Sink, *, strict: bool) -> None:
    """Say of what is told of a call after its end that it is in no record.

    Raises:
        TypeError: with `strict`.
    """
    names = ", ".join(sorted(given))[:MAX_NAME_CHARS]
    what = f"{names}: this call has ended and its record is made; tell it before"
    if strict:
        raise TypeError(what)
    note(sink, "told after the end", what)


def usable_id(given: object, own: str) -> str:
    """The id that a record will have: the given one, or its own where no record can have that."""
    repairs = repairs_here()
    try:
        return required_id("invocation_id", given)
    except RecordError:
        return own
    finally:
        forget_repairs(repairs)  # counted with the record


def warn_of_no_usage(sink: Sink) -> None:
    """A stream that is read has told no usage; said once for each logger."""
    if not sink.is_first("a stream without usage"):
        return
    _LOG.warning(
        "telemetry: a stream told no usage, so its tokens and cost are unknown (said once); "
        "OpenAI's chat completions tell it only with stream_options={'include_usage': True}"
    )
