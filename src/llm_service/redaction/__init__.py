"""Secrets out of text: pure functions of strings that stand below everything else, so that error messages use them."""

from llm_service.redaction.keys import holds_secret
from llm_service.redaction.patterns import PATTERNS
from llm_service.redaction.scrubbing import clean, may_hold_secret, scrub, traceback_text, without_cut_end

__all__ = ["PATTERNS", "clean", "holds_secret", "may_hold_secret", "scrub", "traceback_text", "without_cut_end"]
