"""Runs the user's own `redact` callable; neither raw text nor an exception gets out if it fails."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from llm_service.redaction import clean, scrub
from llm_service.telemetry.record.texts import plain_text

__all__ = ["MASKER_ERROR", "Mask", "Redact"]

Redact = Callable[[str], str]
"""Takes a text that the patterns have cleaned, and returns the text that may be stored."""

MASKER_ERROR: Final = "masker-error"
_FAILED: Final = f"[REDACTED:{MASKER_ERROR}]"
_LOG: Final = logging.getLogger("llm_service.telemetry")


class Mask:
    """The patterns, then the user's callable, if any."""

    __slots__ = ("_said", "redact")

    def __init__(self, redact: Redact | None) -> None:
        self.redact = redact
        self._said = False

    def __call__(self, text: str, counts: Counter[str]) -> str:
        """The text as it may be stored; what was removed is counted by name."""
        cleaned, found = scrub(text)
        if found:
            counts.update(found)
        if self.redact is None:
            return cleaned
        try:
            masked: object = self.redact(cleaned)
            if isinstance(masked, str) and "\0" not in masked:
                masked.encode()
                return plain_text(masked)  # the crash journal cannot encode a subclass of str
            problem = "returned no text that can be stored"
        except KeyboardInterrupt:  # from the user, not the callable
            raise
        except BaseException as error:  # noqa: BLE001 - a callable that ends the writer would lose every record
            problem = f"raised {type(error).__name__}"
        counts[MASKER_ERROR] += 1
        if not self._said:
            self._said = True
            _LOG.warning(
                "telemetry: the redact callable %s; %s is written in place of such a text (said once)",
                clean(problem),
                _FAILED,
            )
        return _FAILED
