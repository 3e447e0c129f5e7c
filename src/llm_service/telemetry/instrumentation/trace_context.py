"""Ids that link calls across processes and tools: W3C's `traceparent`, and the current span of OpenTelemetry.

Sources: https://www.w3.org/TR/trace-context/#traceparent-header and
https://opentelemetry.io/docs/specs/otel/trace/api/#spancontext.
"""

import re
import sys
from random import getrandbits
from typing import Any, Final, NamedTuple

__all__ = ["TraceParent", "parse_traceparent", "random_span_id", "span_id_of", "span_of_otel", "trace_id_of"]

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_TRACE: Final = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN: Final = re.compile(r"(?!0{16})[0-9a-f]{16}")


class TraceParent(NamedTuple):
    """Where a call belongs."""

    trace_id: str
    span_id: str

    def header(self) -> str | None:
        """The value of the header `traceparent`; None for ids that it cannot hold."""
        if _TRACE.fullmatch(self.trace_id) and _SPAN.fullmatch(self.span_id):
            return f"00-{self.trace_id}-{self.span_id}-01"
        return None


def parse_traceparent(text: str) -> TraceParent | None:
    """What a header says; None where it says nothing valid. A later version may have more parts at its end."""
    found = _TRACEPARENT.fullmatch(text.strip())
    if found is None:
        return None
    version, trace_id, span_id, more = found.groups()
    if version == "ff" or (version == "00" and more) or TraceParent(trace_id, span_id).header() is None:
        return None
    return TraceParent(trace_id, span_id)


def trace_id_of(invocation_id: str) -> str:
    """The trace of a call that is the first one in it: its UUID, as 32 hexadecimal digits."""
    return invocation_id.replace("-", "")


def span_id_of(invocation_id: str) -> str:
    """The span of a call: the last 16 hexadecimal digits of its UUID."""
    return invocation_id.replace("-", "")[16:]


def random_span_id() -> str:
    """A span of nothing that has a record."""
    return f"{getrandbits(63) + 1:016x}"


def span_of_otel() -> TraceParent | None:
    """The current span, where the program has imported OpenTelemetry's API; None where there is none."""
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    try:
        span = api.get_current_span().get_span_context()
        return TraceParent(f"{span.trace_id:032x}", f"{span.span_id:016x}") if span.is_valid else None
    except Exception:  # noqa: BLE001 - of another package: a call goes on without
        return None
