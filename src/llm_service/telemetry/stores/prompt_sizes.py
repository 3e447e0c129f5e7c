"""Prompt sizes for estimates: sums of bytes and reported tokens by agent and model, never the text.

A call whose model was asked by another name than it answered by is summed up under either.
"""

from collections.abc import Iterable
from typing import Final

from llm_service.estimates.tokens import utf8_length
from llm_service.telemetry.record.checks import MAX_TOKENS
from llm_service.telemetry.record.operations import is_span
from llm_service.telemetry.record.record import EXTENSION_FIELDS, InvocationRecord

__all__ = ["PromptSizes", "PromptSizesRow"]

PromptSizesRow = tuple[str | None, str, int, int, int]
"""`(agent_name, model_name, prompts, bytes, tokens)`."""

_OPERATION: Final = EXTENSION_FIELDS.index("operation")
_PROMPT: Final = len(EXTENSION_FIELDS)
_REQUEST_MODEL: Final = EXTENSION_FIELDS.index("request_model")
_USAGE_SOURCE: Final = EXTENSION_FIELDS.index("usage_source")
_NOT_COUNTED: Final = frozenset({"partial", "estimated", "missing"})


class PromptSizes:
    """Sums up the prompts of a transaction. A record without a prompt costs one test."""

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[tuple[str | None, str], tuple[int, int, int]] = {}

    def add(self, records: Iterable[InvocationRecord]) -> None:
        """Add calls with a prompt and model whose `prompt_tokens` the provider counted; damaged ones are skipped."""
        for record in records:
            extensions = record.extensions
            if extensions is None or len(extensions) <= _PROMPT or not extensions[_PROMPT]:
                continue
            if is_span(extensions[_OPERATION]):
                continue
            agent, model, tokens = record.agent_name, record.model_name, record.prompt_tokens
            prompt, asked = extensions[_PROMPT], extensions[_REQUEST_MODEL]
            if not isinstance(prompt, str) or not isinstance(model, str) or type(tokens) is not int:
                continue
            if 0 < tokens <= MAX_TOKENS and extensions[_USAGE_SOURCE] not in _NOT_COUNTED:
                length = utf8_length(prompt)
                for name in (model, asked) if isinstance(asked, str) and asked != model else (model,):
                    prompts, size, counted = self._sums.get((agent, name), (0, 0, 0))
                    self._sums[agent, name] = (prompts + 1, size + length, counted + tokens)

    def rows(self) -> list[PromptSizesRow]:
        """The sums, by agent and model."""
        return [(agent, model, *sums) for (agent, model), sums in self._sums.items()]
