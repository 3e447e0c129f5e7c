"""What says of itself that it failed is never counted as a success because nobody said its status."""

import inspect
from http import HTTPStatus
from typing import Any

import pytest

from llm_service.telemetry import InvocationRecord
from llm_service.telemetry.record.failures import CANCELLED, FAILURES, ORDINARY, TELL_FAILURE
from llm_service.telemetry.record.statuses import http_number

TELLING: dict[str, tuple[Any, ...]] = {
    "error_message": ("connection reset", ValueError("no")),
    "error_type": ("ConnectionError", "rate_limited"),
    "finish_reason": tuple(word for word, status in FAILURES.items() if status == "error" and word != CANCELLED),
    "http_status": (400, 503, "500 Internal Server Error", HTTPStatus.NOT_FOUND),
}
TIMEOUTS: dict[str, tuple[str, ...]] = {
    "error_type": ("Timeout", "APITimeoutError", "ReadTimeout", "timed_out", "DeadlineExceeded"),
    "finish_reason": tuple(word for word, status in FAILURES.items() if status == "timeout"),
}
INNOCENT: dict[str, tuple[Any, ...]] = {
    "error_message": (None, ""),
    "error_type": (None,),
    "finish_reason": (None, CANCELLED, *ORDINARY),
    "http_status": (None, 200, 302, "200 OK"),
}


def test_every_field_that_may_tell_of_a_failure_is_tried() -> None:
    """Here, in both directions."""
    assert set(TELLING) == set(INNOCENT) == TELL_FAILURE


@pytest.mark.parametrize("field", sorted(TELL_FAILURE))
def test_a_record_that_tells_of_a_failure_is_none_by_default(field: str) -> None:
    """One that names its status keeps it."""
    for value in TELLING[field]:
        assert InvocationRecord(**{field: value}).status == "error", value
        assert InvocationRecord(**{field: value}, status="success").status == "success", value
        assert InvocationRecord(**{field: value}, status=str(b"success", "ascii")).status == "success"
        assert InvocationRecord().replace(**{field: value}).status == "error"
        assert InvocationRecord().replace(**{field: value}, status="success").status == "success"
        assert InvocationRecord(**{field: value}, status="success").replace(agent_name="a").status == "success"
    for value in TIMEOUTS.get(field, ()):
        assert InvocationRecord(**{field: value}).status == "timeout", value
    for value in INNOCENT[field]:
        assert InvocationRecord(**{field: value}).status == "success", value


def test_the_default_reads_as_the_status_that_it_is() -> None:
    """In `help`, for whoever copies it, and as stored."""
    default = inspect.signature(InvocationRecord).parameters["status"].default
    assert repr(default) == "'success'"
    assert InvocationRecord(status=default).status == InvocationRecord().status == "success"


@pytest.mark.parametrize("status", list(HTTPStatus))
def test_the_status_in_a_text_of_http_is_read(status: HTTPStatus) -> None:
    """By its only number, or by HTTP's own words."""
    phrase = status.phrase
    texts = (
        f"{status.value} {phrase}",
        f"HTTP/1.1 {status.value} {phrase}",
        f"[{status.value}]",
        f"Error code: {status}",
    )
    for text in (*texts, f"HTTP Error {status.value}: {phrase}", f"{status.value}.0", phrase, status.name):
        assert InvocationRecord(http_status=text).http_status == status, text  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "fine", "200 after 503", "1000", "99", "4.5", "12.500", "600", "5000 failed"])
def test_a_text_without_one_status_is_not_guessed(text: str) -> None:
    """It is refused like any other bad value."""
    assert http_number(text) is None
