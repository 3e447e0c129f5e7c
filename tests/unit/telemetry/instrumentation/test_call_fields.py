"""What an exception says of the call: also an SDK's, by the attributes that it has."""

from typing import Any

import httpx2
import openai
import pytest

from llm_service.telemetry.instrumentation.call_fields import describe_error


def _response(status: int) -> Any:
    """As OpenAI's client had it from its transport."""
    request = httpx2.Request("POST", "http://127.0.0.1")
    return httpx2.Response(status, headers={"x-request-id": "req_1"}, request=request)


@pytest.mark.parametrize(
    ("kind", "status"), [("RateLimitError", 429), ("AuthenticationError", 401), ("InternalServerError", 500)]
)
def test_a_refused_request_keeps_its_http_status_and_id(kind: str, status: int) -> None:
    """Nobody has to parse a message for them."""
    said = describe_error(getattr(openai, kind)("no", response=_response(status), body=None))
    assert (said["status"], said["error_type"], said["http_status"], said["request_id"]) == (
        "error", kind, status, "req_1",
    )  # fmt: skip


def test_a_time_out_of_an_sdk_is_one() -> None:
    """Though it is no TimeoutError."""
    error = openai.APITimeoutError(request=_response(200).request)
    assert not isinstance(error, TimeoutError)
    assert describe_error(error)["status"] == "timeout"


class _Hostile(Exception):  # noqa: N818 - its name is of no matter
    """It raises where it is looked at."""

    @property
    def response(self) -> Any:
        raise RuntimeError("closed")


@pytest.mark.parametrize("status", [True, 7, "429", 1000, None])
def test_what_is_no_http_status_is_left_out(status: Any) -> None:
    """An attribute of that name may be anything."""
    error = ValueError("no")
    error.status_code = status  # type: ignore[attr-defined]
    error.request_id = 7  # type: ignore[attr-defined]
    assert describe_error(error) == {"status": "error", "error_type": "ValueError", "error_message": "no"}
    assert describe_error(_Hostile("no"))["error_message"] == "no"
