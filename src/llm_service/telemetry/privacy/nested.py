"""Finds secrets in tags and metadata: by pattern in every key and value, and by the key of a value."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, cast

from llm_service.redaction import holds_secret, scrub, without_escapes

__all__ = ["clean_json"]

_BY_NAME: Final = "named-secret"
_HIDDEN: Final = f"[REDACTED:{_BY_NAME}]"
_NAME_KEYS: Final = ("name", "key", "header")
_USER_KEYS: Final = ("user", "username", "login")
_PASS_KEYS: Final = ("pass", "pw")
_LONGEST_KEY: Final = 9
_WORD: Final = re.compile(r"[a-z]{1,64}+(?:[_-][a-z]{1,64}+){0,16}+")

_Clean = Callable[[str, Counter[str]], str]


def clean_json(encoded: str, mask: _Clean, counts: Counter[str]) -> str:
    """The JSON text with every string in it cleaned; invalid or too deeply nested JSON is cleaned as plain text."""
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
        return _clean_list(cast("list[Any]", value), mask, counts)  # type: ignore[redundant-cast]  # for pyright
    if isinstance(value, dict):
        return _clean_object(cast("dict[str, Any]", value), mask, counts)
    return value


def _clean_list(parts: list[Any], mask: _Clean, counts: Counter[str]) -> list[Any]:
    """Texts, pairs of a name and its value, or the arguments of a command."""
    # Two words alone may also be the names of two fields: ["api_key", "model"].
    if _is_pair(parts) and (not _WORD.fullmatch(parts[1]) or parts[0].startswith("-")) and _hides(*parts):
        return _hidden_pair(parts, mask, counts)
    parts = _clean_command(parts, counts)
    cleaned: list[Any] = []
    option = ""
    for part in parts:
        hides = bool(option) and _hides(option, part)
        if hides:
            counts[_BY_NAME] += 1
        if _is_pair(part) and _hides(*part):
            cleaned.append(_hidden_pair(part, mask, counts))
        elif hides:
            cleaned.append(_HIDDEN)
        else:
            cleaned.append(_clean_argument(_behind_option(option, part, counts), mask, counts))
        option = part if isinstance(part, str) and part.startswith("-") else ""
    return cleaned


def _clean_command(parts: list[Any], counts: Counter[str]) -> list[Any]:
    """The arguments of a command as the patterns leave them where the list is printed: `["mysql", "-pVALUE"]`."""
    if not any(isinstance(part, str) and part.startswith("-") for part in parts):
        return parts
    cleaned, found = scrub(json.dumps(parts, ensure_ascii=False))
    if not found:
        return parts
    try:
        again = json.loads(cleaned)
    except ValueError:  # what was taken out went beyond a text
        return parts
    if not isinstance(again, list) or len(cast("list[Any]", again)) != len(parts):  # type: ignore[redundant-cast]  # as below
        return parts
    counts.update(found)
    return cast("list[Any]", again)  # type: ignore[redundant-cast]  # as below


def _behind_option(option: str, part: Any, counts: Counter[str]) -> Any:
    """An option's value as the patterns leave it in a command: `bob:password` after `-u`, a key after `--my-key`."""
    if not option.startswith("-") or not isinstance(part, str) or part.startswith("-"):
        return part
    cleaned, found = scrub(f"{option} {part}")
    if not found or not cleaned.startswith(f"{option} "):
        return part
    counts.update(found)
    return cleaned[len(option) + 1 :]


def _clean_argument(part: object, mask: _Clean, counts: Counter[str]) -> Any:
    if isinstance(part, str) and part.startswith("-"):
        option, sign, value = part.partition("=")
        if sign and _hides(option, value):
            counts[_BY_NAME] += 1
            return f"{mask(option, counts)}={_HIDDEN}"
    return _clean(part, mask, counts)


def _is_pair(value: object) -> bool:
    if not isinstance(value, list):
        return False
    parts = cast("list[Any]", value)  # type: ignore[redundant-cast]  # pyright needs it
    return len(parts) == 2 and all(isinstance(part, str) for part in parts)


def _hidden_pair(pair: list[str], mask: _Clean, counts: Counter[str]) -> list[str]:
    counts[_BY_NAME] += 1
    return [mask(pair[0], counts), _HIDDEN]


def _hides(name: str, value: Any) -> bool:
    """Whether the name marks the value as a secret that is not hidden yet; the name of an option is not a secret."""
    if isinstance(value, str) and value.startswith("--"):
        return False
    return holds_secret(without_escapes(name), value) and not _is_hidden(value)


def _clean_object(pairs: dict[str, Any], mask: _Clean, counts: Counter[str]) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    met: dict[str, int] = {}
    # {"name": "Authorization", "value": "..."}: the name is itself a value.
    small = {key.lower(): value for key, value in pairs.items() if len(key) < _LONGEST_KEY}
    named = next((small[key] for key in _NAME_KEYS if isinstance(small.get(key), str)), "") if "value" in small else ""
    has_user = not small.keys().isdisjoint(_USER_KEYS)
    for key, value in pairs.items():
        name = without_escapes(key)
        hides = (
            holds_secret(name, value)
            or (name.lower() == "value" and holds_secret(without_escapes(named), value))
            or (name == "input" and holds_secret(_field_of(pairs.get("loc")), value))
            or (has_user and name.lower() in _PASS_KEYS and holds_secret("password", value))
        )
        if hides and not _is_hidden(value):
            counts[_BY_NAME] += 1
            value = _HIDDEN  # noqa: PLW2901 - nothing below shall see the secret
        elif not hides:
            value = _clean(value, mask, counts)  # noqa: PLW2901 - the cleaned value replaces it
        name = mask(key, counts)
        cleaned[_unlike(name, cleaned, met) if name in cleaned else name] = value
    return cleaned


def _field_of(place: object) -> str:
    """The name of the field that a validation error speaks of: `["body", "password", 0]`."""
    parts = cast("list[Any]", place) if isinstance(place, list) else []  # type: ignore[redundant-cast]  # for pyright
    return next((part for part in reversed(parts[-4:]) if isinstance(part, str)), "")


def _is_hidden(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("[REDACTED:") and value.endswith("]") and len(value) < 48


def _unlike(name: str, taken: dict[str, Any], met: dict[str, int]) -> str:
    """A free key: two keys with secrets may become the same text, and both values are kept.

    Args:
        name: the text that both became.
        taken: the existing keys.
        met: the last number used for each such text; the search continues after it.
    """
    number = met.get(name, 1) + 1
    while f"{name}#{number}" in taken:
        number += 1
    met[name] = number
    return f"{name}#{number}"
