"""What an operation says of its record: a call of a model, or a span, which holds calls and is none itself.

A span is a row like any other. But it counts no call, failure, latency, token or cost in daily totals, statistics and
reports, and teaches estimates nothing: what it tells is that of the calls within it.
"""

from typing import Final

__all__ = ["SPANS", "is_span"]

SPANS: Final = frozenset({"agent", "chain", "create_agent", "execute_tool", "invoke_agent", "tool", "workflow"})
"""Operations of spans: OpenTelemetry's `create_agent`, `invoke_agent` and `execute_tool`, and the plain words."""


def is_span(operation: object) -> bool:
    """Whether a record of this operation is no call."""
    return isinstance(operation, str) and operation in SPANS
