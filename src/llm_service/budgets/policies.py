"""Compiles policies into limits, and selects those that apply to a call."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final, cast

from llm_service.budgets.limits import NANOS, Limit, Metric, Policy
from llm_service.budgets.scopes import Call, Counter, CounterKey, Field, counter_key
from llm_service.config.window_names import BUDGET_KEYS
from llm_service.errors import SettingsError

if TYPE_CHECKING:
    from llm_service.config.policies_schema import PoliciesConfig, PolicyConfig

__all__ = ["DEFAULT_POLICY", "Policies", "compiled"]

DEFAULT_POLICY: Final = "default"
_MOST_CALLS: Final = 4096


class Policies:
    """The policies of one logger: those with a scope, and one without, chosen by name.

    Args:
        policies: all policies of the file.
        chosen: the name of the one without a scope; None for `default`, if it exists, or the only one there is.

    Raises:
        SettingsError: there is no policy with the chosen name, several without a scope and none is chosen, or a time
            zone is unknown here.
    """

    def __init__(self, policies: Mapping[str, Policy], chosen: str | None = None) -> None:
        if chosen is not None and chosen not in policies:
            known = ", ".join(sorted(policies)) or "none"
            raise SettingsError("policy", chosen, f"give the name of a policy of policies.yaml; there are: {known}")
        whole = chosen or _default_of(policies)
        self._all = tuple(policy for name, policy in policies.items() if policy.has_scope or name == whole)
        self._applying: dict[Call, list[Policy]] = {}
        self.counters: tuple[CounterKey, ...] = tuple(
            dict.fromkeys(limit.counter for policy in self._all for limit in policy.limits)
        )
        for counter in self.counters:
            _must_be_evaluable(counter)

    def __iter__(self) -> Iterator[Policy]:
        return iter(self._all)

    def __bool__(self) -> bool:
        return bool(self._all)

    def applying(self, call: Call) -> list[Policy]:
        """All policies that apply to a call."""
        known = self._applying.get(call)
        if known is None:
            if len(self._applying) >= _MOST_CALLS:
                self._applying.clear()
            known = self._applying[call] = [policy for policy in self._all if policy.applies(call)]
        return known

    def limits(self) -> Iterator[Limit]:
        """The limits of all policies."""
        for policy in self._all:
            yield from policy.limits


def _default_of(policies: Mapping[str, Policy]) -> str | None:
    """The policy without a scope that is in force where none is chosen: one that is not would limit nothing."""
    whole = [name for name, policy in policies.items() if not policy.has_scope]
    if DEFAULT_POLICY in policies or not whole:
        return DEFAULT_POLICY
    if len(whole) > 1:
        names = ", ".join(sorted(whole))
        remedy = f"{len(whole)} policies have no scope ({names}): name the one that is to be in force"
        raise SettingsError("policy", None, f"{remedy}, or call it {DEFAULT_POLICY}")
    return whole[0]


def _must_be_evaluable(key: CounterKey) -> None:
    try:
        Counter(0, key).span(0)
    except (LookupError, ValueError, OSError):
        remedy = "its windows cannot be told here; install the package tzdata, or use timezone: UTC"
        raise SettingsError("policies", f"{key.window} in {key.timezone}", remedy) from None


def compiled(config: "PoliciesConfig") -> dict[str, Policy]:
    """The policies of a file, by name, in their order."""
    return {name: _policy(name, policy) for name, policy in config.policies.items()}


def _policy(name: str, config: "PolicyConfig") -> Policy:
    scope = cast("Mapping[Field, tuple[str, ...]]", config.scope)
    whole = counter_key(scope, config.per, "total", config.timezone)
    return Policy(
        name=name,
        limits=tuple(_limits(name, config)),
        probe=Counter(0, whole),
        unknown_price=config.unknown_price,
        unknown_price_nanos=_nanos(config.unknown_price_usd),
        justification_over_nanos=_nanos(config.require_justification_over_usd),
        prefer_cheaper_under_tokens=config.prefer_cheaper_models_under_tokens,
        lease=config.lease,
    )


def _limits(name: str, config: "PolicyConfig") -> Iterator[Limit]:
    scope = cast("Mapping[Field, tuple[str, ...]]", config.scope)
    thresholds = config.limit.threshold_percent

    def limit(metric: Metric, amount: int, window: str) -> Limit:
        counter = counter_key(scope, config.per, window, config.timezone)
        return Limit(name, metric, amount, counter, config.limit.type == "hard", thresholds)

    for window, key in BUDGET_KEYS.items():
        usd = cast("Decimal | None", getattr(config, key))
        if usd is not None:
            yield limit("usd", int(usd * NANOS), window)
    for entry in config.limits:
        if entry.usd is not None:
            yield limit("usd", int(entry.usd * NANOS), entry.window)
        if entry.tokens is not None:
            yield limit("tokens", entry.tokens, entry.window)
        if entry.calls is not None:
            yield limit("calls", entry.calls, entry.window)


def _nanos(usd: Decimal | None) -> int | None:
    return None if usd is None else int(usd * NANOS)
