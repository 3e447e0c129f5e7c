"""Policies as they are written become limits, and the right ones apply to a call."""

from decimal import Decimal
from typing import Any

import pytest

from llm_service.budgets.policies import Policies, compiled
from llm_service.budgets.scopes import Call
from llm_service.budgets.windows import window_named
from llm_service.config.schemas import PoliciesConfig
from llm_service.errors import SettingsError


def policies(chosen: str | None = None, **given: dict[str, Any]) -> Policies:
    """Those of a file."""
    return Policies(compiled(PoliciesConfig.model_validate({"policies": given})), chosen)


def test_every_budget_of_a_policy_becomes_a_limit() -> None:
    """In nano-dollars, by window; further limits may count several things."""
    found = compiled(
        PoliciesConfig.model_validate(
            {
                "policies": {
                    "p": {
                        "hourly_budget_usd": 1, "daily_budget_usd": Decimal("0.000000001"), "weekly_budget_usd": 3,
                        "monthly_budget_usd": 4, "total_budget_usd": 0,
                        "limits": [{"window": "24h", "usd": 6, "tokens": 7, "calls": 8}, {"window": "5m", "calls": 0}],
                        "limit": {"type": "soft", "threshold_percent": [90, 50]}, "timezone": "Europe/Berlin",
                        "per": ["agent"], "scope": {"tool": "t*"}, "lease": 5, "unknown_price": "block",
                        "unknown_price_usd": Decimal("0.25"), "require_justification_over_usd": 2,
                        "prefer_cheaper_models_under_tokens": 100,
                    }
                }
            }
        )
    )["p"]  # fmt: skip
    assert [(limit.metric, limit.amount, limit.counter.window) for limit in found.limits] == [
        ("usd", 10**9, "hour"), ("usd", 1, "day"), ("usd", 3 * 10**9, "week"), ("usd", 4 * 10**9, "month"),
        ("usd", 0, "total"), ("usd", 6 * 10**9, "24h"), ("tokens", 7, "24h"), ("calls", 8, "24h"), ("calls", 0, "5m"),
    ]  # fmt: skip
    for limit in found.limits:
        assert (limit.policy, limit.hard, limit.thresholds) == ("p", False, (50, 90))
        assert limit.counter[:2] == ('{"tool":["t*"]}', '["agent"]')
        assert limit.counter.timezone == ("UTC" if window_named(limit.counter.window).is_zoneless else "Europe/Berlin")
    assert (found.lease, found.unknown_price, found.unknown_price_nanos) == (5, "block", 250_000_000)
    assert (found.justification_over_nanos, found.prefer_cheaper_under_tokens) == (2 * 10**9, 100)
    assert found.has_scope


def test_every_policy_with_a_scope_applies_and_of_the_others_one() -> None:
    """`default`, unless another is chosen."""
    given: dict[str, dict[str, Any]] = {
        "default": {"daily_budget_usd": 1},
        "production": {"daily_budget_usd": 2},
        "backend": {"scope": {"agent": "backend-*"}, "daily_budget_usd": 3},
        "claude": {"scope": {"model": "claude-*"}, "daily_budget_usd": 4},
    }
    call = Call(agent="backend-dev", model="claude-sonnet-4-5")
    assert [one.name for one in policies(**given).applying(call)] == ["default", "backend", "claude"]
    assert [one.name for one in policies("production", **given).applying(call)] == ["production", "backend", "claude"]
    assert [one.name for one in policies("backend", **given).applying(call)] == ["backend", "claude"]
    assert [one.name for one in policies(**given).applying(Call())] == ["default"]
    assert [one.name for one in policies("production", **given)] == ["production", "backend", "claude"]


def test_without_a_default_the_only_policy_without_a_scope_is_in_force() -> None:
    """One that is not would limit nothing; of several one has to be named. A file may consist of scopes."""
    scoped = {"scope": {"agent": "x"}, "daily_budget_usd": 3}
    found = policies(production={"daily_budget_usd": 2}, x=scoped)
    assert [one.name for one in found] == ["production", "x"]
    assert [one.name for one in policies(x=scoped)] == ["x"]
    assert policies(x=scoped).applying(Call(agent="y")) == []
    several = {"one": {"daily_budget_usd": 2}, "two": {"daily_budget_usd": 2}}
    with pytest.raises(SettingsError, match=r"policy.*2 policies have no scope \(one, two\): name the one"):
        policies(**several)
    assert [one.name for one in policies("two", **several)] == ["two"]
    assert [one.name for one in policies(**several, default={"daily_budget_usd": 2})] == ["default"]


def test_a_policy_that_is_not_there_is_refused_with_those_that_are() -> None:
    """A mistyped name would be no limit at all."""
    with pytest.raises(SettingsError, match=r"policy.*'prod'.*there are: default, production"):
        policies("prod", production={"daily_budget_usd": 2}, default={"daily_budget_usd": 2})
    with pytest.raises(SettingsError, match="there are: none"):
        policies("prod")


def test_limits_of_one_window_share_a_counter() -> None:
    """It is counted once, whatever is limited of it."""
    found = policies(
        default={"daily_budget_usd": 1, "limits": [{"window": "day", "calls": 5}, {"window": "week", "tokens": 5}]},
        everybody={"scope": {"agent": "*"}, "daily_budget_usd": 2},
    )
    assert [(key.scope, key.window) for key in found.counters] == [
        ("{}", "day"), ("{}", "week"), ('{"agent":["*"]}', "day")
    ]  # fmt: skip
    assert len(list(found.limits())) == 4


def test_what_applies_is_remembered_for_a_bounded_number_of_calls() -> None:
    """Ten thousand users take no ten thousand entries for ever; the answer stays right."""
    found = policies(x={"scope": {"user": "u*"}, "daily_budget_usd": 3})
    for number in range(5000):
        assert len(found.applying(Call(user=f"{'u' if number % 2 else 'v'}{number}"))) == number % 2
    assert len(found._applying) <= 4096
