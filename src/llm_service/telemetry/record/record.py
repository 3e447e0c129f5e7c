"""The record of one LLM call: checked when it is made, immutable, and ready to be bound as a row.

The values are in two tuples: the columns that every call fills, and the extensions that few do. A plain record costs
one tuple, and a batch of plain records binds thirteen columns instead of forty.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from difflib import get_close_matches
from inspect import Parameter, Signature, signature
from time import time_ns
from typing import Any, Final, NoReturn, Self, Unpack, cast

from llm_service.config.settings import PrivacyLevel
from llm_service.errors import RecordError
from llm_service.redaction import shown
from llm_service.telemetry.record import checks
from llm_service.telemetry.record.checks import (
    KNOWN_NAMES,
    LEVELS,
    MAX_COST_USD,
    MAX_LATENCY_MS,
    MAX_NAME_CHARS,
    MAX_TOKENS,
)
from llm_service.telemetry.record.failures import status_told
from llm_service.telemetry.record.fields import (
    CARD_FIELDS,
    CONTENT_FIELDS,
    EXTENSION_FIELDS,
    EXTENSIONS,
    FIELDS,
    Amount,
    CardFields,
    ExtensionFields,
    Extensions,
    Status,
)
from llm_service.telemetry.record.ids import Uuid7Source

__all__ = [
    "CARD_FIELDS",
    "CONTENT_FIELDS",
    "EXTENSION_FIELDS",
    "FIELDS",
    "Amount",
    "InvocationRecord",
    "Status",
    "new_id",
    "plain_record",
    "rebuilt",
    "set_size",
    "set_values",
]

_SUCCESS: Final = "success"
_UNSAID: Final = cast("Status", str(b"success", "ascii"))
"""The default: equal to the status of a success, and another object than any that a caller gives."""
_NUMBERS: Final = frozenset({int, float})
_BASE_SIZE: Final = 700
"""Bytes of a plain record and its queue entry: objects, tuples, id and numbers [measured with tracemalloc]."""
_TEXT_SIZE: Final = 56
_NOTHING: Final = [None] * len(EXTENSIONS)
_CARD_SIZE: Final = len(CARD_FIELDS)
_COST: Final = CARD_FIELDS.index("cost_usd")
_COST_SOURCE: Final = EXTENSION_FIELDS.index("cost_source")
_BLANK: Final[dict[str, Any]] = {**dict.fromkeys(FIELDS), "status": _SUCCESS}

new_id = Uuid7Source()


class InvocationRecord(CardFields, ExtensionFields):
    """One LLM call.

    Every argument may be left out; None means unknown and is stored as NULL, never as 0. Prompt tokens include cached
    ones, completion tokens include reasoning ones. `total_tokens` is kept as reported, since some providers count more
    than the sum; if it is None and both parts are known, it is their sum. `cost_usd` None means "not known yet".

    Values are taken in any type that leaves no doubt: 12.0, Decimal(12), "12" and numpy's numbers as counts, a UUID or
    a whole number as an id, enumerations as their text. NUL and lone surrogates in a text become U+FFFD.

    Args:
        invocation_id: any non-empty text up to 200 characters, unique in the file; default a new UUIDv7.
        agent_name, tool_name, model_name: 1 to 200 characters; None if unknown.
        prompt_tokens, completion_tokens, total_tokens: 0 to 10**12.
        cost_usd: USD, 0 to 1,000,000.
        latency_ms: milliseconds from request to last byte, 0 to 10**10; or a timedelta.
        status: `success`, `error` or `timeout`; also words that others use for these (`failed`, `cancelled`, `ok`,
            `timed_out`; see `statuses`) in any case, and HTTP statuses; their detail becomes `error_type`. Where it is
            not given: `error` or `timeout` if `error_message`, `error_type`, an `http_status` of 400 or more, or
            `finish_reason` tells of a failure, else `success`. One that is given stays.
        error_message: cut to 65,536 characters here, and to 500 before it is stored at level `metadata`.
        privacy_level: may only lower the logger's level for this record; None takes the logger's.
        timestamp: datetime of the call's start or end, as the caller prefers; default now. Stored as UTC. A naive one
            is local time, as Python's own `timestamp()` takes it.
        extensions: all other fields, by name; see `Extensions` in `record/fields.py`.

    Raises:
        RecordError: a `ValueError` naming field, value and remedy, for NaN, negative or huge numbers, fractions of
            tokens, empty or over-long names, unknown words, a total below the sum of its parts, or a cost whose source
            is `unknown`.
        TypeError: for a name that is no field, or a second argument by position.

    Immutable, hashable, comparable and picklable. `size` is its estimated memory in bytes.
    """

    __slots__ = ("card", "extensions", "size")

    card: tuple[Any, ...]
    extensions: tuple[Any, ...] | None
    size: int

    def __init__(  # noqa: C901, PLR0912 - tests are inlined: calls would double the time
        self,
        invocation_id: str | None = None,
        _keywords_follow: None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        total_tokens: int | None = None,
        cost_usd: Amount | None = None,
        latency_ms: Amount | None = None,
        status: Status = _UNSAID,
        error_message: str | None = None,
        privacy_level: PrivacyLevel | None = None,
        timestamp: datetime | None = None,
        **extensions: Unpack[Extensions],
    ) -> None:
        # Each line tests the common case inline and calls the slow check only if that fails.
        if _keywords_follow is not None:
            raise TypeError("InvocationRecord takes one argument by position, invocation_id; give the others by name")
        if invocation_id is None:
            invocation_id = new_id()
        elif not (
            type(invocation_id) is str
            and 0 < len(invocation_id) <= MAX_NAME_CHARS
            and invocation_id.isascii()
            and "\0" not in invocation_id
        ):
            invocation_id = checks.required_id("invocation_id", invocation_id)
        seen, most = KNOWN_NAMES, MAX_TOKENS
        try:
            # By identity with the cached object: a value of another class may equal a name and be another text.
            known = seen[agent_name] is agent_name and seen[tool_name] is tool_name and seen[model_name] is model_name
        except Exception:  # noqa: BLE001 - a new name, or a value that raises when it is hashed
            known = False
        if not known:
            agent_name, tool_name, model_name = checks.names(agent_name, tool_name, model_name)
        if prompt_tokens is not None and (type(prompt_tokens) is not int or not 0 <= prompt_tokens <= most):
            prompt_tokens = checks.tokens("prompt_tokens", prompt_tokens)
        if completion_tokens is not None and (type(completion_tokens) is not int or not 0 <= completion_tokens <= most):
            completion_tokens = checks.tokens("completion_tokens", completion_tokens)
        if total_tokens is not None and (type(total_tokens) is not int or not 0 <= total_tokens <= most):
            total_tokens = checks.tokens("total_tokens", total_tokens)
        if total_tokens is None:
            if prompt_tokens is not None and completion_tokens is not None:
                total_tokens = prompt_tokens + completion_tokens
                if total_tokens > most:
                    total_tokens = checks.tokens("total_tokens", total_tokens)
        elif total_tokens < (prompt_tokens or 0) + (completion_tokens or 0):
            raise RecordError("total_tokens", total_tokens, "it is below prompt_tokens + completion_tokens")
        if cost_usd is not None and (type(cost_usd) is not float or not 0.0 <= cost_usd <= MAX_COST_USD):
            cost_usd = checks.amount("cost_usd", cost_usd, MAX_COST_USD, "USD")
        if latency_ms is not None and (type(latency_ms) not in _NUMBERS or not 0 <= latency_ms <= MAX_LATENCY_MS):
            latency_ms = checks.amount("latency_ms", latency_ms, MAX_LATENCY_MS, "milliseconds")
        if status is _UNSAID and error_message is None and not extensions:
            status = _SUCCESS  # the literal is interned: the same object in all modules
        if status is not _SUCCESS or error_message is not None or privacy_level is not None:
            status, error_message, privacy_level = _outcome(status, error_message, privacy_level, extensions)
        size = _BASE_SIZE if error_message is None else _BASE_SIZE + _text_bytes(error_message)
        microseconds = time_ns() // 1000 if timestamp is None else checks.moment("timestamp", timestamp)
        _set_card(self, (
            invocation_id, microseconds, agent_name, tool_name, model_name, prompt_tokens, completion_tokens,
            total_tokens, cost_usd, latency_ms, status, error_message, privacy_level,
        ))  # fmt: skip
        _set_extensions(self, None)
        set_size(self, size + self._extend(extensions) if extensions else size)

    def _extend(self, given: Extensions) -> int:
        """Check and set the optional fields; returns the bytes that they add to `size`."""
        values: list[Any] = _NOTHING.copy()
        size = 0
        for field, value in given.items():
            try:
                index, check = EXTENSIONS[field]
            except KeyError:
                near = get_close_matches(field, FIELDS, 1)
                meant = f"; did you mean {near[0]}?" if near else ""
                raise TypeError(f"InvocationRecord() got an unexpected keyword argument {field!r}{meant}") from None
            if value is not None:
                values[index] = stored = check(field, value)
                if isinstance(stored, str):
                    size += _text_bytes(stored)
        if values == _NOTHING:
            return 0
        if values[_COST_SOURCE] == "unknown" and self.card[_COST] is not None:
            raise RecordError("cost_source", "unknown", "cost_usd is given: leave one of them out, or say who said it")
        _set_extensions(self, tuple(values))
        return size + 8 * len(values)

    def replace(self, **changes: Any) -> "InvocationRecord":
        """A copy with some fields changed, checked anew. A total that was the sum of its parts follows them.

        A success of which the changes tell that it failed is none, unless they name the status as well.
        """
        kept = self.to_dict()
        if self.status == _SUCCESS and status_told(changes) != _SUCCESS:
            del kept["status"]
        if "prompt_tokens" in changes or "completion_tokens" in changes:
            prompt, completion = self.prompt_tokens, self.completion_tokens
            if prompt is not None and completion is not None and self.total_tokens == prompt + completion:
                del kept["total_tokens"]
        return InvocationRecord(**{**kept, **changes})

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, as the constructor takes them."""
        return {field: getattr(self, field) for field in FIELDS}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InvocationRecord):
            return NotImplemented
        return self.card == other.card and self.extensions == other.extensions

    def __hash__(self) -> int:
        return hash((self.card, self.extensions))

    def __repr__(self) -> str:
        # Messages, content and metadata are kept out of logs; secrets in names and ids are masked.
        fields_shown = (
            "invocation_id",
            "agent_name",
            "tool_name",
            "model_name",
            "status",
            "total_tokens",
            "cost_usd",
            "latency_ms",
        )
        parts = (f"{field}={shown(getattr(self, field), MAX_NAME_CHARS + 2)}" for field in fields_shown)
        return f"InvocationRecord({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.card, self.extensions, self.size)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"InvocationRecord is immutable; make another with record.replace({name}=...)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"InvocationRecord is immutable; {name} cannot be deleted")


def _outcome(
    status: Status, error_message: str | None, privacy_level: PrivacyLevel | None, extensions: Extensions
) -> tuple[Status, str | None, PrivacyLevel | None]:
    """Check what few records say; the detail of a status becomes the `error_type` where that is not given."""
    if status is _UNSAID:
        said = extensions if error_message is None else {**extensions, "error_message": error_message}
        status = status_told(said)
    elif status is not _SUCCESS:
        status, kind = checks.outcome("status", status)
        if kind is not None and extensions.get("error_type") is None:
            extensions["error_type"] = kind
    if error_message is not None:
        error_message = checks.message("error_message", error_message)
    if privacy_level is not None:
        privacy_level = cast("PrivacyLevel | None", checks.choice("privacy_level", privacy_level, LEVELS))
    return status, error_message, privacy_level


def _text_bytes(value: str) -> int:
    return _TEXT_SIZE + (len(value) if value.isascii() else 4 * len(value))


def _restore(card: tuple[Any, ...], extensions: tuple[Any, ...] | None, size: int) -> InvocationRecord:
    record = InvocationRecord.__new__(InvocationRecord)
    set_values(record, card, extensions)
    set_size(record, size)
    return record


def set_values(record: InvocationRecord, card: tuple[Any, ...], extensions: tuple[Any, ...] | None) -> None:
    """Set what a record that has just been made has to say."""
    _set_card(record, card)
    _set_extensions(record, extensions)


def plain_record(fields: Mapping[str, Any]) -> InvocationRecord | None:
    """The record that the constructor makes of these fields, without a look at each field.

    Args:
        fields: of a successful call, which has an answer: id, moment, model and both counts among them, no agent, tool
            or content. Numbers are such as are stored, in plain types, and the total is not below its parts.

    Returns:
        None where a text is not stored as it is, or the model is a new name: then the constructor has to look.
    """
    model, total = KNOWN_NAMES.get(fields["model_name"]), fields.get("total_tokens")
    if total is None:
        total = fields["prompt_tokens"] + fields["completion_tokens"]
    moment = int(fields["timestamp"])  # which may be a `Moment`
    values = tuple({**_BLANK, **fields, "timestamp": moment, "model_name": model, "total_tokens": total}.values())
    extensions = values[_CARD_SIZE:]
    texts = [value for value in extensions if type(value) is str]
    joined = "".join(texts)
    longest = max(map(len, texts), default=0)
    if model is None or "" in texts or longest > MAX_NAME_CHARS or not joined.isascii() or "\0" in joined:
        return None
    size = _BASE_SIZE + 8 * len(extensions) + _TEXT_SIZE * len(texts) + len(joined)
    return _restore(values[:_CARD_SIZE], extensions, size)


def rebuilt(record: InvocationRecord, card: tuple[Any, ...], extensions: tuple[Any, ...] | None) -> InvocationRecord:
    """A record with other values and the same `size`. Nothing is checked: the values must be storable."""
    return _restore(card, extensions, record.size)


# The slots' setters: `InvocationRecord.__setattr__` raises, and `object.__setattr__` takes twice as long.
_set_card: Final[Callable[[InvocationRecord, Any], None]] = InvocationRecord.__dict__["card"].__set__
_set_extensions: Final[Callable[[InvocationRecord, Any], None]] = InvocationRecord.__dict__["extensions"].__set__
set_size: Final[Callable[[InvocationRecord, Any], None]] = InvocationRecord.__dict__["size"].__set__


def _signature() -> Signature:
    """The arguments as they are meant: one by position, the others by name, each optional field with its type.

    Python's own marker for keywords costs 250 ns a record: it looks each default up in a dict.
    """
    this, first, _, *card, _ = signature(InvocationRecord.__init__).parameters.values()
    by_name = [argument.replace(kind=Parameter.KEYWORD_ONLY) for argument in card]
    optional = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in Extensions.__annotations__.items()
    ]
    return Signature([this, first, *by_name, *optional])


cast("Any", InvocationRecord.__init__).__signature__ = _signature()
