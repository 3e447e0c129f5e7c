"""Cleans every free text of a record before it reaches disk or log.

It runs on the writer's thread; with a crash journal, on the thread that logs the record.

Most records are clean and are returned unchanged. Names are looked up in a bounded set of clean texts; hexadecimal ids
match no pattern; the rest costs a search for literals.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final, cast

from llm_service.config.settings import PrivacyLevel
from llm_service.redaction import ID_BYTES, digest_of, may_hold_secret, scrub, with_digest, without_cut_end
from llm_service.telemetry.privacy.levels import effective_level
from llm_service.telemetry.privacy.masking import Mask, Redact
from llm_service.telemetry.privacy.nested import clean_json
from llm_service.telemetry.record.checks import LEVELS, MAX_ERROR_CHARS, MAX_NAME_CHARS
from llm_service.telemetry.record.fields import fields_of_kind
from llm_service.telemetry.record.record import CARD_FIELDS, CONTENT_FIELDS, EXTENSION_FIELDS, InvocationRecord, rebuilt

__all__ = ["Redactor"]

_Pick = Callable[[tuple[Any, ...]], tuple[Any, ...]]

_KNOWN_BOUND: Final = 4096
_HEXADECIMAL: Final[dict[int, None]] = dict.fromkeys(map(ord, "0123456789abcdefABCDEF-"))
_PLAIN_ID: Final = re.compile(r"[0-9a-fA-F-]+")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ALL: Final = (*EXTENSION_FIELDS, *CONTENT_FIELDS)
_ID: Final = CARD_FIELDS.index("invocation_id")
_CARD_NAMES: Final = slice(CARD_FIELDS.index("agent_name"), CARD_FIELDS.index("model_name") + 1)
_ERROR: Final = CARD_FIELDS.index("error_message")
_LEVEL: Final = CARD_FIELDS.index("privacy_level")
_PARENT: Final = _ALL.index("parent_invocation_id")
_ERROR_TYPE: Final = _ALL.index("error_type")
_NAMES: Final = tuple(_ALL.index(name) for name in fields_of_kind("name") if name in _ALL)
_LABELS: Final = tuple(map(_ALL.index, fields_of_kind("id")))
_JSON: Final = tuple(map(_ALL.index, fields_of_kind("json")))
_NUMBERS_IN_TEXT: Final = tuple(_ALL.index(name) for name in ("trace_id", "span_id"))
"""Ids that OpenTelemetry makes in hexadecimal: tested together with the other such ids."""
_pick_names: Final = cast("_Pick", itemgetter(*_NAMES))
_pick_ids: Final = cast("_Pick", itemgetter(_PARENT, *_NUMBERS_IN_TEXT))
_pick_texts: Final = cast("_Pick", itemgetter(*(at for at in _LABELS if at not in _NUMBERS_IN_TEXT), *_JSON))
_CONTENT: Final = tuple(map(_ALL.index, CONTENT_FIELDS))


class Redactor:
    """Cleans records. Thread-safe; a record that is clean is returned unchanged.

    Args:
        ceiling: the logger's privacy level: content of records below `full` is removed.
        redact_content: False leaves prompt and response as they are.
        redact: the user's callable; it gets every free text after the patterns, except UUIDs; a name that it leaves
            unchanged only once.
    """

    def __init__(
        self, ceiling: PrivacyLevel = "metadata", *, redact_content: bool = True, redact: Redact | None = None
    ) -> None:
        self._ceiling: PrivacyLevel = ceiling
        self._redact_content = redact_content
        self._mask = Mask(redact)
        self._is_plain_id = (_PLAIN_ID if redact is None else _UUID).fullmatch
        self._known: set[str | None] = {None}

    def records(self, records: Sequence[InvocationRecord], counts: Counter[str]) -> Sequence[InvocationRecord]:
        """The records with clean fields; their content is not touched. Adds what was removed to `counts`, by name."""
        try:
            if self._are_plain(records):
                return records
        except TypeError:  # a damaged record holds other types than str: clean one by one
            pass
        if len(records) > 1:
            return [self.records([record], counts)[0] for record in records]
        return [self._with_clean_fields(record, counts) for record in records]

    def record(self, record: InvocationRecord, counts: Counter[str]) -> InvocationRecord:
        """The record with every field clean; content is removed below `full`, else redacted if configured."""
        (cleaned,) = self.records((record,), counts)
        values = cleaned.extensions
        if values is None or (values[_CONTENT[0]] is None and values[_CONTENT[1]] is None):
            return cleaned
        content = self.content(cleaned, counts)
        if content == values[_CONTENT[0] :]:
            return cleaned
        return rebuilt(cleaned, cleaned.card, values[: _CONTENT[0]] + content)

    def is_plain(self, record: InvocationRecord) -> bool:
        """Whether there are only a hexadecimal id and known clean names, so nothing to clean: takes 0.5 us."""
        card = record.card
        if record.extensions is not None or card[_ERROR] is not None:
            return False
        try:
            return self._known.issuperset(card[_CARD_NAMES]) and self._is_plain_id(card[_ID]) is not None
        except TypeError:  # a damaged record holds other types than str
            return False

    def content(self, record: InvocationRecord, counts: Counter[str]) -> tuple[str | None, str | None]:
        """Prompt and response as they may be stored: None where unknown, and both None below level `full`."""
        values = record.extensions
        if values is None or len(values) < len(_ALL) or not self.keeps_content(record):
            return None, None
        prompt, response = (values[at] for at in _CONTENT)
        if not self._redact_content:
            return prompt, response
        return self._text(prompt, counts), self._text(response, counts)

    def keeps_content(self, record: InvocationRecord) -> bool:
        """Whether the record is stored at level `full`; it may have asked for less than the logger's level."""
        if self._ceiling != "full":
            return False
        asked = record.card[_LEVEL]
        return asked is None or (asked in LEVELS and effective_level(self._ceiling, asked) == "full")

    def invocation_id(self, given: Any, counts: Counter[str] | None = None) -> Any:
        """The id as it is stored. An id with a secret becomes a text that is the same for the same id.

        That text ends with a digest, which keeps parents and children linked and does not let anyone test guesses of
        the secret; see `redaction.name_digests`.
        """
        if not isinstance(given, str) or self._is_no_secret(given):
            return given
        cleaned = self._text(given, Counter() if counts is None else counts)
        return given if cleaned == given else with_digest(cleaned, digest_of(given, ID_BYTES))

    def _are_plain(self, records: Sequence[InvocationRecord]) -> bool:
        """Whether no record needs cleaning; testing all at once takes a tenth of the time.

        A name of the maximum length may have been cut, so it is never in the set of known names.
        """
        names: list[Any] = []
        ids: list[str | None] = []
        texts: list[str | None] = []
        for record in records:
            card, extensions = record.card, record.extensions
            names += card[_CARD_NAMES]
            ids.append(card[_ID])
            if card[_ERROR] is not None:
                texts.append(card[_ERROR])
            if extensions is not None:
                names += _pick_names(extensions)
                ids += _pick_ids(extensions)
                texts += _pick_texts(extensions)
        return self._known.issuperset(names) and self._are_clean_ids(ids) and self._are_clean_texts(texts)

    def _are_clean_ids(self, ids: list[str | None]) -> bool:
        given = [one for one in ids if one is not None]
        if self._mask.redact is not None:
            return all(map(self._is_no_secret, given))
        return not "".join(given).translate(_HEXADECIMAL) or not may_hold_secret("\n".join(given))

    def _are_clean_texts(self, texts: list[str | None]) -> bool:
        given = [text for text in texts if text is not None]
        if not given:
            return True
        if self._mask.redact is not None or max(map(len, given)) >= MAX_ERROR_CHARS:
            return False
        return not may_hold_secret("\n".join(given))

    def _is_no_secret(self, text: str) -> bool:
        """Whether the text is a hexadecimal number; with a user's callable, only UUIDs count."""
        # The user may want to hide numbers: of telephones, of cards.
        if self._mask.redact is not None and not (
            len(text) == 36 and text[8] == text[13] == text[18] == text[23] == "-"
        ):
            return False
        return not text.translate(_HEXADECIMAL)

    def _with_clean_fields(self, record: InvocationRecord, counts: Counter[str]) -> InvocationRecord:
        card, extensions = self._card(record.card, counts), record.extensions
        if extensions is not None:
            extensions = self._extensions(extensions, counts)
        if card is record.card and extensions is record.extensions:
            return record
        return rebuilt(record, card, extensions)

    def _card(self, card: tuple[Any, ...], counts: Counter[str]) -> tuple[Any, ...]:
        values = list(card)
        values[_ID] = self.invocation_id(values[_ID], counts)
        values[_CARD_NAMES] = [self._name(name, counts) for name in values[_CARD_NAMES]]
        values[_ERROR] = self._text(values[_ERROR], counts, cut_at=MAX_ERROR_CHARS)
        return card if _same(values, card) else tuple(values)

    def _extensions(self, extensions: tuple[Any, ...], counts: Counter[str]) -> tuple[Any, ...]:
        values = list(extensions)
        if values[_ERROR_TYPE] is not None:
            values[_ERROR_TYPE] = _whole(values[_ERROR_TYPE], MAX_NAME_CHARS)
        for at in _NAMES:
            if values[at] is not None:
                values[at] = self._name(values[at], counts)
        for at in _LABELS:
            if values[at] is not None:
                values[at] = self._label(values[at], counts)
        values[_PARENT] = self.invocation_id(values[_PARENT], counts)
        for at in _JSON:
            values[at] = self._json(values[at], counts)
        return extensions if _same(values, extensions) else tuple(values)

    def _name(self, name: Any, counts: Counter[str]) -> Any:
        """A text with few distinct values; clean ones are cached."""
        try:
            if name in self._known:
                return name
        except TypeError:  # unhashable: a damaged record, which SQLite will refuse
            return name
        cleaned = self._label(name, counts)
        if cleaned == name and isinstance(name, str) and len(name) < MAX_NAME_CHARS:
            if len(self._known) >= _KNOWN_BOUND:
                self._known = {None}
            self._known.add(name)
        return cleaned

    def _label(self, label: Any, counts: Counter[str]) -> Any:
        """A text with many distinct values; an empty one becomes None, and a long one is cut.

        A text that the patterns changed ends with a digest, so that two agents stay distinct; a text that the user's
        callable changed does not.
        """
        if not isinstance(label, str) or self._is_no_secret(label):
            return label
        cleaned = self._mask(label, counts)
        if cleaned == label:
            return label
        if cleaned and scrub(label)[1]:
            return with_digest(cleaned, digest_of(label))
        return cleaned[:MAX_NAME_CHARS] or None

    def _text(self, text: Any, counts: Counter[str], cut_at: int | None = None) -> Any:
        if not isinstance(text, str) or not text:
            return text
        return self._mask(text if cut_at is None else _whole(text, cut_at), counts)

    def _json(self, encoded: Any, counts: Counter[str]) -> Any:
        # The JSON of a record escapes no character that occurs in a pattern's literal.
        if not isinstance(encoded, str) or (self._mask.redact is None and not may_hold_secret(encoded)):
            return encoded
        return clean_json(encoded, self._mask, counts)


def _same(values: list[Any], before: tuple[Any, ...]) -> bool:
    return all(value is other for value, other in zip(values, before, strict=True))


def _whole(text: Any, cut_at: int) -> Any:
    """The text; if it was cut to `cut_at`, without its last word, which may be half of a secret."""
    return without_cut_end(text) if isinstance(text, str) and len(text) >= cut_at else text
