"""Warnings for a policies.yaml that is valid but probably a mistake; like `models_sanity`."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Final

from llm_service.config.documents import Document
from llm_service.config.key_paths import KeyPath
from llm_service.config.models_sanity import RateBook, doubt, listed_prices, matches, names_of, nearest
from llm_service.config.models_schema import ModelsConfig
from llm_service.config.policies_schema import PoliciesConfig, PolicyConfig, rolling_seconds
from llm_service.config.window_names import BUDGET_KEYS
from llm_service.errors import ConfigError

__all__ = ["doubts_of_policies"]

_PROMPT: Final = 1000
_COMPLETION: Final = 500
"""Completion tokens of a small call."""


def doubts_of_policies(
    policies: PoliciesConfig,
    document: Document,
    models: ModelsConfig | None = None,
    models_file: str = "models.yaml",
    bundled: RateBook | None = None,
) -> Iterator[ConfigError]:
    """Warnings for a policies.yaml, also beside models.yaml and the bundled prices."""
    for name, policy in policies.policies.items():
        path: KeyPath = ("policies", name)
        yield from _useless(policy, path, document)
        yield from _twice(policy, path, document)
        yield from _never_reached(policy, path, document)
        if models is not None and models.models:
            yield from _unknown_models(policy, path, document, models, models_file, bundled)
            yield from _too_small(policy, path, document, models)


def _useless(policy: PolicyConfig, path: KeyPath, document: Document) -> Iterator[ConfigError]:
    rules = (policy.prefer_cheaper_models_under_tokens, policy.require_justification_over_usd)
    if not any(_dollars(policy)) and not policy.limits and rules == (None, None):
        yield doubt(document, path, "limits nothing; give it a budget such as daily_budget_usd, or remove it")
    if policy.unknown_price_usd is not None and policy.unknown_price != "estimate":
        text = f"has no effect with unknown_price: {policy.unknown_price}; use estimate, or remove it"
        yield doubt(document, (*path, "unknown_price_usd"), text)


def _dollars(policy: PolicyConfig) -> Iterator[tuple[str, Decimal, KeyPath]]:
    """Window, limit and place of each limit in US dollars."""
    for window, key in BUDGET_KEYS.items():
        usd: Decimal | None = getattr(policy, key)
        if usd is not None:
            yield window, usd, (key,)
    for place, limit in enumerate(policy.limits):
        if limit.usd is not None:
            yield limit.window, limit.usd, ("limits", place, "usd")


def _twice(policy: PolicyConfig, path: KeyPath, document: Document) -> Iterator[ConfigError]:
    """Two limits of one kind for one window: only the lower one has an effect."""
    first: dict[tuple[str | int, str], KeyPath] = {}
    found = [(window, "usd", place) for window, _, place in _dollars(policy)]
    for number, limit in enumerate(policy.limits):
        kinds = [kind for kind in ("tokens", "calls") if getattr(limit, kind) is not None]
        found += [(limit.window, kind, ("limits", number, kind)) for kind in kinds]
    for window, kind, place in found:
        same = rolling_seconds(window) or window
        if (same, kind) in first:
            line = document.line((*path, *first[same, kind]))
            text = f"is a second limit of {kind} for the window {window}, beside line {line}; the lower alone counts"
            yield doubt(document, (*path, *place), text)
        first.setdefault((same, kind), place)


def _never_reached(policy: PolicyConfig, path: KeyPath, document: Document) -> Iterator[ConfigError]:
    """A budget of a shorter window that is above that of a longer one."""
    own = [(window, getattr(policy, key)) for window, key in BUDGET_KEYS.items() if getattr(policy, key) is not None]
    for (window, usd), (longer, most) in pairwise(own):
        if usd > most:
            text = f"{usd} US dollars a {window} is above the {most} of {BUDGET_KEYS[longer]}; it is never reached"
            yield doubt(document, (*path, BUDGET_KEYS[window]), text)


def _unknown_models(
    policy: PolicyConfig,
    path: KeyPath,
    document: Document,
    models: ModelsConfig,
    models_file: str,
    bundled: RateBook | None,
) -> Iterator[ConfigError]:
    names = names_of(models.models)
    for place, pattern in enumerate(policy.scope.get("model", ())):
        if matches(pattern, names):
            continue
        if bundled is not None and models.bundled_prices and bundled.rates(pattern) is not None:
            continue
        text = f"matches no model or alias of {models_file}; {nearest(pattern, names)}"
        yield doubt(document, (*path, "scope", "model", place), text)


def _too_small(policy: PolicyConfig, path: KeyPath, document: Document, models: ModelsConfig) -> Iterator[ConfigError]:
    """A budget too small for one small call of the cheapest model that it covers."""
    patterns = policy.scope.get("model", ("*",))
    costs = {
        name: cost
        for name, model in models.models.items()
        if any(matches(pattern, (name, *model.aliases)) for pattern in patterns)
        for listed in [*listed_prices(name, model)][-1:]
        if (cost := (_PROMPT * listed.per_million.input + _COMPLETION * listed.per_million.output) / 10**6) > 0
    }
    if not costs:
        return
    name = min(costs, key=lambda name: costs[name])
    for window, usd, place in _dollars(policy):
        if 0 < usd < costs[name]:
            text = (
                f"{usd} US dollars ({window}) is less than one small call costs: {costs[name].normalize():f} for "
                f"{_PROMPT:,} tokens in and {_COMPLETION:,} out of {name}, the cheapest model; nothing will fit"
            )
            yield doubt(document, (*path, *place), text)
