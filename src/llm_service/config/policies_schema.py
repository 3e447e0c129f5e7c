"""The schema of `config/policies.yaml`: which calls a budget covers, its limits by window, and what it does."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast, get_args

from pydantic import BeforeValidator, WrapValidator, field_validator
from pydantic import Field as Described

from llm_service.config.key_paths import no_such
from llm_service.config.schema_values import (
    Name,
    Problem,
    Strict,
    Usd,
    decimal_number,
    gathered,
    one_or_more,
    problem,
    text,
    unset,
    whole,
)
from llm_service.config.time_zones import LOCAL, zone_named
from llm_service.config.window_names import CALENDAR_WINDOWS, rolling_seconds

__all__ = [
    "CALENDAR_WINDOWS",
    "EnforcementConfig",
    "Field",
    "LimitConfig",
    "PoliciesConfig",
    "PolicyConfig",
    "load_policies",
    "rolling_seconds",
]

Field = Literal["agent", "tool", "model", "user", "session", "run"]
"""The fields of a call: `agent_name`, `tool_name`, `model_name`, `user_id`, `session_id`; `run`, or `trace_id` where no
run was told."""

FIELDS: Final[tuple[str, ...]] = get_args(Field)
_LONGEST: Final = 366 * 86_400
_MOST: Final = 10**15
"""Tokens or calls of a limit: their sums stay far below SQLite's 2**63."""


def _window(value: object) -> object:
    length = rolling_seconds(value) if isinstance(value, str) else None
    if value not in CALENDAR_WINDOWS and (length is None or length > _LONGEST):
        raise problem(f"use {', '.join(CALENDAR_WINDOWS)}, or a rolling window from 1m to 366d, such as 90m, 24h or 7d")
    return value


def _zone(value: object) -> object:
    try:
        zone_named(value)
    except ValueError as error:
        raise problem(str(error)) from None
    if value == LOCAL:  # every process that counts must count the same days
        raise problem("give the name of a zone, such as UTC or Europe/Berlin: local differs from machine to machine")
    return value


def _scope(value: object, handler: Callable[[object], dict[Field, tuple[str, ...]]]) -> dict[Field, tuple[str, ...]]:
    """Patterns by field; the error for an unknown field has a guess."""
    if not isinstance(value, Mapping):
        raise problem(f"write a mapping of {', '.join(FIELDS)} to patterns")
    given = cast("Mapping[object, object]", value)
    unknown = [((str(key),), no_such(str(key), FIELDS, "field"), key) for key in given if key not in FIELDS]
    known = {key: given[key] for key in given if key in FIELDS}
    return gathered("scope", lambda: handler(known), unknown)


def _of(allowed: tuple[str, ...]) -> Any:
    def check(value: object) -> object:
        if value not in allowed:
            raise problem(f"use {', '.join(allowed)}")
        return value

    return check


def _percent(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100:
        raise problem("give a whole number from 1 to 100")
    return value


Patterns = Annotated[tuple[str, ...], one_or_more(text("a pattern"), "a pattern")]
"""Shell patterns as in `fnmatch`: `*`, `?`, `[abc]`; a call matches if one of them does."""
Count = Annotated[int, whole(0, _MOST, "tokens or calls")]


class LimitConfig(Strict):
    """How much fits into a window; all that is given must hold."""

    window: Annotated[str, BeforeValidator(_window)] = Described(
        description="`hour`, `day`, `week`, `month`, `total`, or a rolling one from `1m` to `366d`."
    )
    usd: Usd | None = unset("US dollars.")
    tokens: Count | None = unset("Tokens, of prompts and completions.")
    calls: Count | None = unset("Calls.")

    @classmethod
    def clashes(cls, given: Mapping[str, object]) -> Iterable[Problem]:
        """A limit must limit something."""
        if all(given.get(name) is None for name in ("usd", "tokens", "calls")):
            yield (), "is no limit; give usd, tokens or calls", dict(given)


class EnforcementConfig(Strict):
    """What happens at the limits of a policy."""

    type: Literal["soft", "hard"] = Described(
        default="hard", description="`hard` refuses what does not fit, `soft` lets it pass and tells."
    )
    threshold_percent: Annotated[tuple[int, ...], one_or_more(_percent, "a percentage")] = Described(
        default=(80, 100), description="Percent of a limit at which `on_budget` is called, once a window."
    )

    @field_validator("threshold_percent")
    @classmethod
    def _ascending(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(given))


class PolicyConfig(Strict):
    """A budget: the calls it covers, its limits, and what it does."""

    scope: Annotated[dict[Field, Patterns], WrapValidator(_scope)] = Described(
        default={},
        description="Patterns of the calls it applies to, all of which must match. Without one, the policy is chosen "
        "by name: `default` unless the logger names another.",
    )
    per: Annotated[tuple[Field, ...], one_or_more(_of(FIELDS), "a field")] = Described(
        default=(), description="Each value of these fields has a budget of its own."
    )
    hourly_budget_usd: Usd | None = unset("US dollars an hour of the clock.")
    daily_budget_usd: Usd | None = unset("US dollars a calendar day.")
    weekly_budget_usd: Usd | None = unset("US dollars a week, from Monday.")
    monthly_budget_usd: Usd | None = unset("US dollars a calendar month.")
    total_budget_usd: Usd | None = unset("US dollars in all, never reset.")
    limits: tuple[LimitConfig, ...] = Described(default=(), description="Further limits, also of tokens and calls.")
    limit: EnforcementConfig = Described(
        default=EnforcementConfig(), description="What happens at the limits: `type` and `threshold_percent`."
    )
    timezone: Annotated[str, BeforeValidator(_zone)] = Described(
        default="UTC", description="Where hours, days, weeks and months start; an IANA name."
    )
    unknown_price: Literal["block", "estimate", "allow"] = Described(
        default="estimate",
        description="A call whose price is unknown: `block` refuses it, `estimate` holds `unknown_price_usd` or what "
        "such calls have cost, `allow` lets it pass and counts it as unknown. It never costs 0.",
    )
    unknown_price_usd: Usd | None = unset("US dollars that a call of unknown price is taken to cost.")
    prefer_cheaper_models_under_tokens: Annotated[int, whole(1, 10**9, "tokens")] | None = unset(
        "Calls with fewer prompt tokens than this should go to a cheaper model."
    )
    require_justification_over_usd: Usd | None = unset("A call estimated above so many US dollars needs a reason.")
    lease: Annotated[float, decimal_number(1, 604_800, 3, "seconds")] = Described(
        default=600.0, description="Seconds that a hold is kept before it counts as unknown spend."
    )


class PoliciesConfig(Strict):
    """The policies, by name.

    Raises:
        pydantic.ValidationError: (a `ValueError`) with all that cannot be used, each at its place.
    """

    policies: dict[Name, PolicyConfig] = Described(default={}, description="The policies, each under its name.")


def load_policies(path: str | Path) -> PoliciesConfig:
    """Read a policies.yaml.

    Raises:
        ConfigError: (a `ValueError`) with file, line, key and remedy; a `ConfigErrors` if there are several.
    """
    from llm_service.config.parsing import parsed_file  # noqa: PLC0415 - imports YAML, which the schema does not need

    return parsed_file(PoliciesConfig, path)
