"""Which clients are hooked, and which logger records their calls: of several, the one that came last."""

import logging
from types import ModuleType
from typing import Any, Final

from llm_service.errors import SettingsError
from llm_service.redaction import traceback_text
from llm_service.telemetry.instrumentation.fork_locks import fork_lock
from llm_service.telemetry.instrumentation.kept_calls import hand_over_at_exit
from llm_service.telemetry.instrumentation.sdk.bedrock_hooks import BedrockHooks
from llm_service.telemetry.instrumentation.sdk.client_hooks import ClientHooks
from llm_service.telemetry.instrumentation.sdk.gemini_hooks import GeminiHooks
from llm_service.telemetry.instrumentation.sdk.hooks import Hooks
from llm_service.telemetry.instrumentation.sdk.import_watch import when_imported
from llm_service.telemetry.instrumentation.sdk.mistral_hooks import MistralHooks
from llm_service.telemetry.instrumentation.sdk.ollama_hooks import OllamaHooks
from llm_service.telemetry.instrumentation.sink import Sink

__all__ = ["INSTRUMENTED", "SDKS", "checked_names", "instrument_sdks", "is_hooked", "uninstrument_sdks"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
SDKS: Final[dict[str, type[Hooks]]] = {
    "openai": ClientHooks,
    "anthropic": ClientHooks,
    "google-genai": GeminiHooks,
    "mistral": MistralHooks,
    "bedrock": BedrockHooks,
    "ollama": OllamaHooks,
}
"""What is hooked, by the name of the SDK."""
_LOCK: Final = fork_lock()


class _Sdk:
    """One SDK: who records it, and what is hooked of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sinks: tuple[Sink, ...] = ()
        self.hooks = SDKS[name](name, lambda: self.sinks[-1] if self.sinks else None)
        self._hooked: list[tuple[type, str, Any, Any]] = []
        self.watched = False
        self._said = False

    def add(self, sink: Sink) -> None:
        """Let a logger record it."""
        self.sinks = (*(other for other in self.sinks if other is not sink), sink)
        if not self.watched:
            self.watched, self._said = True, False
            for module in self.hooks.modules:
                when_imported(module, self._hook)

    def remove(self, sink: Sink) -> None:
        """Let a logger no longer record it; the last one takes the hooks with it."""
        self.sinks = tuple(other for other in self.sinks if other is not sink)
        if self.sinks or any(vars(kind).get(attribute) is not ours for kind, attribute, ours, _ in self._hooked):
            return  # another has put a hook of its own around ours, which does nothing now
        for kind, attribute, _, original in self._hooked:
            setattr(kind, attribute, original)
        if self._hooked:
            self._hooked, self.watched = [], False

    def _hook(self, module: ModuleType) -> None:
        if not self.sinks:
            self.watched = False
            return
        try:
            hooks = [(kind, name, ours, vars(kind)[name]) for kind, name, ours in self.hooks.hooks(module)]
            for kind, name, ours, _ in hooks:
                setattr(kind, name, ours)
            self._hooked += hooks
        except Exception as failure:  # noqa: BLE001 - another release: the program must go on
            if not self._said:
                self._said = True
                _LOG.warning(
                    "telemetry: %s is not as it was known here, so its calls are not recorded: %s",
                    self.name, traceback_text(failure),
                )  # fmt: skip


INSTRUMENTED: Final = {name: _Sdk(name) for name in SDKS}


def is_hooked() -> bool:
    """Whether calls of any SDK are recorded now."""
    return any(sdk.sinks for sdk in INSTRUMENTED.values())


def checked_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The SDKs that are meant: all, where none is named.

    Raises:
        SettingsError: (a `ValueError`) for a name that is none.
    """
    for name in names:
        if name not in SDKS:
            raise SettingsError("instrument", name, f"give some of {', '.join(map(repr, SDKS))}, or nothing for all")
    return names or tuple(SDKS)


def instrument_sdks(sink: Sink, names: tuple[str, ...]) -> None:
    """Record the calls of SDKs that the program has imported, or imports later.

    Raises:
        SettingsError: (a `ValueError`) for a name that is none.
    """
    checked = checked_names(names)
    hand_over_at_exit()
    with _LOCK:
        for name in checked:
            INSTRUMENTED[name].add(sink)


def uninstrument_sdks(sink: Sink, names: tuple[str, ...] = ()) -> None:
    """Record them no longer.

    Raises:
        SettingsError: as above.
    """
    with _LOCK:
        for name in checked_names(names):
            INSTRUMENTED[name].remove(sink)
