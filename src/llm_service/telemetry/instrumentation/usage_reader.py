"""What a `usage=` reader finds, as fields of a record: made by itself, or what the provider reported."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final

from llm_service.pricing.usage import REPORTED
from llm_service.pricing.usage.around import unwrapped
from llm_service.pricing.usage.leaves import is_container, is_mapping, snake
from llm_service.pricing.usage.report import Fields, Report, fields_by, report_in, report_of
from llm_service.pricing.usage.shapes import OPENAI
from llm_service.telemetry.instrumentation.failed_answers import failure_of
from llm_service.telemetry.instrumentation.field_aliases import field_named, with_doubt
from llm_service.telemetry.record.record import FIELDS

__all__ = ["ReadUsage", "read_fields", "read_parts"]

ReadUsage = Callable[[Any], "Mapping[str, Any] | None"]
"""Reads fields of a record out of a result, or out of one item of a stream; None where it holds none. It may as well
return the usage itself, as the provider or its client has it."""

_FIELDS: Final = frozenset(FIELDS)
_SAID: Final = _FIELDS - REPORTED
"""Fields that no report of a provider has."""
_OF_ANSWERS: Final = frozenset(
    {
        "error", "message", "messages", "metadata", "prompt", "provider", "response", "source", "status", "stream",
        "tags", "tool", "user",
    }
)  # fmt: skip
"""Names of fields that mean something else in an answer or an event."""
_MOST_NAMES: Final = 512
_PAIRS: Final[tuple[type, ...]] = (list, tuple)


def read_fields(usage: ReadUsage, result: Any) -> dict[str, Any]:
    """The fields that a reader finds; what it gives as None is left out.

    Raises:
        TypeError: it gives neither fields nor usage.
        Exception: what the reader raises.
    """
    report, own = read_parts(usage, result)
    if report is None:
        return own
    found = with_doubt(fields_by(report) | own)
    return {field: value for field, value in found.items() if value is not None}


def read_parts(usage: ReadUsage, result: Any) -> tuple[Report | None, dict[str, Any]]:
    """As `read_fields`: what the provider reported, and the fields that the reader made itself, which win over it."""
    found: Any = usage(result)
    if found is None:
        return None, {}
    report: Report | None = None
    own: dict[Any, Any]
    if isinstance(found, Fields):
        report, own = _of_fields(found)
        if found.given == id(result):  # it read the answer or event itself
            own = failure_of(result) | own
    elif is_mapping(found):
        found = _bounded(found)
        try:
            report, own = _of_mapping(found)
        except Exception:  # noqa: BLE001 - a value that raises when it is looked at: its own check names it
            own = dict(found)
    elif type(found) in _PAIRS or not is_container(found):
        own = dict(found)
    else:
        around = unwrapped(found)
        report, own = report_in(around, OPENAI), failure_of(found) if around.inside else {}
        if not around.inside and (report is None or not _is_usage(fields_by(report))):
            raise TypeError("the reader returned neither a mapping of fields nor usage of a known shape")
    return report, {field: value for field, value in with_doubt(own).items() if value is not None}


def _bounded(found: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The mapping, read once: one that is no dict may be long, or never end.

    Raises:
        TypeError: it has more names than any usage.
    """
    if isinstance(found, dict) and len(found) <= _MOST_NAMES:
        return found
    names = [*islice(found, _MOST_NAMES + 1)]
    if len(names) > _MOST_NAMES:
        raise TypeError(f"the reader returned more than {_MOST_NAMES} names")
    return {name: found[name] for name in names}


def _of_fields(found: Fields) -> tuple[Report | None, dict[str, Any]]:
    """What was reported, beside what was added to its fields; the fields alone where the reader altered some."""
    own = {name: value for name, value in found.items() if name not in found.made}
    made = {name: value for name, value in found.items() if name in found.made}
    return (found.report, own) if made == found.made else (None, dict(found))


def _of_mapping(found: Mapping[Any, Any]) -> tuple[Report | None, dict[Any, Any]]:
    """Fields as they are; with any other name beside them a provider's usage, beside what is a field already."""
    own = {name: value for name, value in found.items() if name in _SAID or _is_said(name)}
    if all(name in _FIELDS or name in own for name in found):
        return None, dict(found)
    around = unwrapped(found)
    if around.inside and around.answer:
        own = {name: value for name, value in own.items() if name not in _OF_ANSWERS}
        return report_in(around, OPENAI), failure_of(found) | own
    report = report_of({name: value for name, value in found.items() if name not in own}, OPENAI)
    if report is None or not _is_usage(fields_by(report)):
        return None, dict(found)
    return report, own


def _is_said(name: Any) -> bool:
    """Whether it is another name of a field, and none that a report of a provider has."""
    return type(name) is str and snake(name) not in REPORTED and field_named(name) is not None


def _is_usage(fields: Mapping[str, Any]) -> bool:
    """Whether a report told anything of a known name."""
    return any(value is not None for field, value in fields.items() if field != "unpriced_usage")
