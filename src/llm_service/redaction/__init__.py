"""Secrets out of text: pure functions of strings that stand below everything else, so that error messages use them."""

from llm_service.redaction.name_digests import ID_BYTES, digest_of, stored_name, with_digest
from llm_service.redaction.patterns import PATTERNS
from llm_service.redaction.quoting import quoted, shown
from llm_service.redaction.scrubbing import (
    clean,
    may_hold_secret,
    scrub,
    traceback_text,
    without_cut_end,
    without_escapes,
)
from llm_service.redaction.secret_names import holds_secret

__all__ = [
    "ID_BYTES",
    "PATTERNS",
    "clean",
    "digest_of",
    "holds_secret",
    "may_hold_secret",
    "quoted",
    "scrub",
    "shown",
    "stored_name",
    "traceback_text",
    "with_digest",
    "without_cut_end",
    "without_escapes",
]
