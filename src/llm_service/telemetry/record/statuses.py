"""Maps the words of providers and tools for how a call ended to `success`, `error` or `timeout`; others are unknown.

Sources: OpenAI's Responses, Batches and Runs (https://platform.openai.com/docs/api-reference/responses/object), the
results of Anthropic's Message Batches (https://platform.claude.com/docs/en/api/retrieving-message-batch-results),
Gemini's and Vertex's job states (https://ai.google.dev/api/batch-api), LangSmith's and LiteLLM's runs, OpenTelemetry's
status codes (https://opentelemetry.io/docs/concepts/signals/traces/#span-status), gRPC's
(https://grpc.io/docs/guides/status-codes/) and HTTP's (RFC 9110, section 15).
"""

import re
from http import HTTPStatus
from typing import Final, Literal, NamedTuple

from llm_service.pricing.usage.leaves import snake

__all__ = ["Outcome", "flag_outcomes", "http_number", "outcome_of"]

_Status = Literal["success", "error", "timeout"]


class Outcome(NamedTuple):
    """How a call ended.

    Attributes:
        status: the stored value.
        error_type: more detail from the word, or None.
    """

    status: _Status
    error_type: str | None = None


_SUCCESS: Final = Outcome("success")
_WELL: Final = ("success", "succeeded", "succeed", "successful", "ok", "okay")
_SUCCESSES: Final = (*_WELL, "completed", "complete", "done", "finished")
_TIMEOUTS: Final = ("timeout", "timedout", "deadlineexceeded", "requesttimeout", "gatewaytimeout")
_ERRORS: Final = (
    "error",
    "errors",
    "errored",
    "err",
    "failure",
    "failed",
    "fail",
    "fatal",
    "exception",
    "unsuccessful",
)
_ERRORS_OF_A_KIND: Final = {
    "cancelled": ("cancelled", "canceled", "cancel", "cancelling", "canceling"),
    "aborted": ("aborted", "abort"),
    "interrupted": ("interrupted",),
    "terminated": ("terminated", "killed", "stopped"),
    "incomplete": ("incomplete",),
    "expired": ("expired",),
    "rejected": ("rejected", "refused", "denied"),
    "blocked": ("blocked",),
    "crashed": ("crashed",),
    "rate_limited": ("ratelimited", "ratelimit", "ratelimiterror", "throttled", "toomanyrequests"),
    "overloaded": ("overloaded", "overloadederror"),
    "resource_exhausted": ("resourceexhausted",),
    "invalid_argument": ("invalidargument",),
    "not_found": ("notfound",),
    "already_exists": ("alreadyexists",),
    "permission_denied": ("permissiondenied",),
    "failed_precondition": ("failedprecondition",),
    "out_of_range": ("outofrange",),
    "unimplemented": ("unimplemented",),
    "internal": ("internal",),
    "unavailable": ("unavailable", "serviceunavailable"),
    "data_loss": ("dataloss",),
    "unauthenticated": ("unauthenticated",),
}
_PREFIXES: Final = ("statuscode", "jobstate", "batchstate", "status")
_LONGEST: Final = 64
_HTTP: Final = re.compile(
    r"\s*(\[)?(?:https?(?:/[0-9.]{1,3})?[\s:]+)?([0-9]{3})(?:\.0+)?(?:[\s:(-](.*))?(?(1)\])",
    re.IGNORECASE | re.DOTALL,
)
"""`504`, `200.0`, `504 Gateway Timeout`, `HTTP/1.1 200 OK`, `[504]`."""
_WORD: Final = re.compile(r"\s*([A-Za-z]{2,}(?:[\s_./:-]{1,2}[A-Za-z]{2,})*)[.\s]*")
"""Words and separators; any other character may negate the meaning: `!ok`, `success?`."""
_NEGATED: Final = re.compile(r"\b(?:not|no|without)\b", re.IGNORECASE)
_HTTP_NUMBER: Final = re.compile(r"(?<![0-9.])[1-5][0-9]{2}(?![0-9]|\.[0-9])")
_HTTP_TIMEOUTS: Final = frozenset({408, 504})


def _table() -> dict[str, Outcome]:
    table = {word: Outcome("success") for word in _SUCCESSES}
    table |= {word: Outcome("timeout") for word in _TIMEOUTS}
    table |= {word: Outcome("error") for word in _ERRORS}
    return table | {word: Outcome("error", kind) for kind, words in _ERRORS_OF_A_KIND.items() for word in words}


OUTCOMES: Final = _table()
"""By word, in lower case without separators."""
_PHRASES: Final = {
    "".join(filter(str.isalnum, words.lower())): int(status)
    for status in HTTPStatus
    for words in (status.phrase, status.name)
}
"""HTTP's own words for its statuses (RFC 9110, section 15)."""
_VERBS: Final = frozenset({"is", "was", "has", "had", "did", "does"})
_FLAGS: Final = {
    **dict.fromkeys(_WELL, (Outcome("success"), Outcome("error"))),
    **dict.fromkeys(_ERRORS, (Outcome("error"), Outcome("success"))),
    **{word: (OUTCOMES[word], None) for word in (*_TIMEOUTS, "cancelled", "canceled", "aborted", "interrupted")},
    **{word: (OUTCOMES[word], None) for word in ("crashed", "ratelimited", "throttled", "overloaded")},
}
"""By name of a flag, what it says where it is true and where it is false: what was not cancelled may have failed."""


def flag_outcomes(name: str) -> tuple[Outcome, Outcome | None] | None:
    """What a flag of this name says where it is true, and where it is false; None for a name that is none."""
    words = snake(name).split("_")
    return _FLAGS.get("".join(words[1:] if words[0] in _VERBS else words))


def http_number(text: str) -> int | None:
    """The HTTP status in a text: its only number of such a size, or HTTP's own words for it; None where it has none."""
    numbers = {*_HTTP_NUMBER.findall(text[:_LONGEST])}
    if len(numbers) == 1:
        return int(numbers.pop())
    return _PHRASES.get("".join(filter(str.isalnum, text[:_LONGEST].lower())))


def outcome_of(word: str | int) -> Outcome | None:
    """The outcome for a word (any case, any separators) or an HTTP status; None if unknown."""
    if isinstance(word, int):
        return _of_http(word)
    if len(word) > _LONGEST:
        return None
    http = _HTTP.fullmatch(word)
    if http is not None:
        found, words = _of_http(int(http[2])), http[3] or ""
        contradicts = _NEGATED.search(words) is not None or outcome_of(words) not in {None, _SUCCESS}
        return None if found == _SUCCESS and contradicts else found  # `200 error`
    plain = _WORD.fullmatch(word)
    if plain is None:
        return None
    letters = "".join(character for character in plain[1].lower() if character.isalnum())
    for prefix in ("", *_PREFIXES):
        found = OUTCOMES.get(letters.removeprefix(prefix))
        if found is not None:
            return found
    return None


def _of_http(status: int) -> Outcome | None:
    if not 200 <= status <= 599:
        return None
    if status < 300:
        return Outcome("success")
    return Outcome("timeout" if status in _HTTP_TIMEOUTS else "error")
