"""Failures that tell that no model ran, so that the call cost nothing and its budget is free again.

Azure OpenAI says it in so many words: a 401 and a 429 are not charged, a 400 or 408 may be, because the prompt may have
been processed (https://learn.microsoft.com/azure/ai-services/openai/how-to/manage-costs). A 413 refuses to process the
request (RFC 9110, 15.5.14); Anthropic's comes before its servers (https://docs.claude.com/en/api/errors).

A 400 or a 422 tells nothing: Groq answers 400 where the model has written a call of a tool that cannot be read, and 422
after "semantic errors or model hallucinations" (https://console.groq.com/docs/errors); OpenRouter has a 400 for answers
that reach their limit. Google charges no tokens for a 400 (https://ai.google.dev/gemini-api/docs/billing), but what a
record has as its provider does not prove whose host answered. So these and all other failures leave the cost unknown.

Only what knows the one request that failed may ask here: the exception that ends a block may be that of something else
in it, after a call that was billed.
"""

from collections.abc import Mapping
from typing import Any, Final

from llm_service.telemetry.record.fields import FIELDS

__all__ = ["nothing_billed", "was_refused"]

_NOTHING_BILLED: Final[dict[str, Any]] = {"cost_usd": 0, "cost_source": "computed"}
_REFUSED: Final = frozenset({401, 402, 403, 404, 405, 413, 429})
"""HTTP: unauthorized, no credit, forbidden, no such model or path, wrong method, too large, over
a rate limit."""
_NOT_SENT: Final = frozenset(
    {
        "ConnectError", "ConnectTimeout", "PoolTimeout",  # httpx, requests
        "ConnectionRefusedError", "gaierror", "SSLCertVerificationError",  # Python
        "NewConnectionError", "ConnectTimeoutError", "NameResolutionError",  # urllib3
        "ClientConnectorError",  # aiohttp
        "EndpointConnectionError",  # botocore
    }
)  # fmt: skip
"""Names of exceptions that say that there was no connection, so nothing was sent."""
_ANSWERED: Final = (*(field for field in FIELDS if field.endswith("_tokens")), "cost_usd", "ttft_ms", "response_id")
_DEEPEST: Final = 8


def was_refused(http_status: object) -> bool:
    """Whether an HTTP status says that no model ran for the request."""
    return http_status in _REFUSED


def nothing_billed(error: BaseException, said: Mapping[str, Any]) -> dict[str, Any]:
    """The cost of a request that failed, where no model ran for it; else no fields.

    Args:
        error: what its caller was given.
        said: what is known of the call; with usage or a cost it was answered, and with an HTTP status that decides.
    """
    if any(said.get(field) is not None for field in _ANSWERED):
        return {}
    http_status = said.get("http_status")
    refused = _was_not_sent(error) if http_status is None else was_refused(http_status)
    return _NOTHING_BILLED if refused else {}


def _was_not_sent(error: BaseException) -> bool:
    cause: BaseException | None = error
    for _ in range(_DEEPEST):  # a chain may be a circle
        if cause is None:
            return False
        if any(kind.__name__ in _NOT_SENT for kind in type(cause).__mro__):
            return True
        cause = cause.__cause__
    return False
