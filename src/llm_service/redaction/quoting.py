"""How a message quotes a value: short, on one line, without secrets."""

from typing import Final

from llm_service.redaction.scrubbing import clean
from llm_service.redaction.secret_names import holds_secret

__all__ = ["quoted", "shown"]

_MOST_SHOWN: Final = 80
_HIDDEN: Final = "[REDACTED:named-secret]"


def shown(value: object, most: int = _MOST_SHOWN) -> str:
    """`repr` of a value without secrets, cut to `most` characters: a message stays readable whatever was passed in."""
    try:
        # Bytes become text as repr shows them; of text, what no message will show is not looked at.
        text = repr(clean(value) if isinstance(value, str) else value[:65_536] if isinstance(value, bytes) else value)
    except Exception as error:  # noqa: BLE001 - repr of a foreign object, or of a huge int, may raise anything
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    text = clean(text)
    return text if len(text) <= most else text[: most - 3] + "..."


def quoted(field: str, value: object) -> str:
    """A field's value for a message: as `shown`, or hidden where the field's name says that it is a secret."""
    try:
        return _HIDDEN if holds_secret(field, value) else shown(value)
    except Exception as error:  # noqa: BLE001 - a foreign object may raise even when it is asked for its class
        return f"<{type(value).__name__} that raises {type(error).__name__}>"
