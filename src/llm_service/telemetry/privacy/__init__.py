"""Decides what of a record may reach the disk: every record passes here between queue and store."""

from llm_service.telemetry.privacy.contents import pack, unpack, unpack_for_sql
from llm_service.telemetry.privacy.levels import MAX_STORED_ERROR_CHARS, effective_level, stored_error
from llm_service.telemetry.privacy.masking import MASKER_ERROR, Redact
from llm_service.telemetry.privacy.redactor import Redactor

__all__ = [
    "MASKER_ERROR",
    "MAX_STORED_ERROR_CHARS",
    "Redact",
    "Redactor",
    "effective_level",
    "pack",
    "stored_error",
    "unpack",
    "unpack_for_sql",
]
