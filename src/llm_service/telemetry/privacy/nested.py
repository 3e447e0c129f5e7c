"""Secrets in tags and metadata: by pattern in every text, key or value, and by the name that a value stands under."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, cast

from llm_service.redaction import holds_secret

__all__ = ["clean_json"]

_BY_NAME: Final = "named-secret"
_HIDDEN: Final = f"[REDACTED:{_BY_NAME}]"
_NAME_KEYS: Final = ("name", "key", "header")

_Clean = Callable[[str, Counter[str]], str]


def clean_json(encoded: str, mask: _Clean, counts: Counter[str]) -> str:
    """The JSON text with every text in it cleaned; what is no JSON, or nested too deep, is cleaned as a text."""
    try:
        decoded = json.loads(encoded)
        found: Counter[str] = Counter()
        cleaned = _clean(decoded, mask, found)
        same = cleaned == decoded
        written = encoded if same else json.dumps(cleaned, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return mask(encoded, counts)
    counts.update(found)
    return written


def _clean(value: object, mask: _Clean, counts: Counter[str]) -> Any:
    if isinstance(value, str):
        return mask(value, counts)
    if isinstance(value, list):
        parts = cast("list[Any]", value)  # type: ignore[redundant-cast]  # pyright does not know what is in it
        if len(parts) == 2 and isinstance(parts[0], str) and holds_secret(*parts) and not _is_hidden(parts[1]):
            counts[_BY_NAME] += 1  # a header as a pair
            return [mask(parts[0], counts), _HIDDEN]
        return [_clean(part, mask, counts) for part in parts]
    if isinstance(value, dict):
        return _clean_object(cast("dict[str, Any]", value), mask, counts)
    return value


def _clean_object(pairs: dict[str, Any], mask: _Clean, counts: Counter[str]) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    met: dict[str, int] = {}
    # {"name": "Authorization", "value": "..."}: the name of the value is a value too.
    named = next((pairs[key] for key in _NAME_KEYS if isinstance(pairs.get(key), str)), "") if "value" in pairs else ""
    for key, value in pairs.items():
        hides = holds_secret(key, value) or (key == "value" and holds_secret(named, value))
        if hides and not _is_hidden(value):
            counts[_BY_NAME] += 1
            value = _HIDDEN  # noqa: PLW2901 - nothing below shall see the secret
        elif not hides:
            value = _clean(value, mask, counts)  # noqa: PLW2901 - as above
        name = mask(key, counts)
        cleaned[_unlike(name, cleaned, met) if name in cleaned else name] = value
    return cleaned


def _is_hidden(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("[REDACTED:") and value.endswith("]") and len(value) < 48


def _unlike(name: str, taken: dict[str, Any], met: dict[str, int]) -> str:
    """Two keys that held secrets may become the same: neither value is lost.

    Args:
        name: the text that both became.
        taken: the keys that are there.
        met: the last number that was given to each such text; the search goes on behind it.
    """
    number = met.get(name, 1) + 1
    while f"{name}#{number}" in taken:
        number += 1
    met[name] = number
    return f"{name}#{number}"
