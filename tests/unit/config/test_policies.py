"""The promises of policies.yaml: nothing that limits spending is ever misread in silence."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llm_service.config import time_zones as module
from llm_service.config.policies_schema import (
    CALENDAR_WINDOWS,
    EnforcementConfig,
    LimitConfig,
    PoliciesConfig,
    PolicyConfig,
    load_policies,
    rolling_seconds,
)
from llm_service.config.schemas import PoliciesConfig as Exported
from llm_service.errors import ConfigError

Write = Callable[..., Path]
CONFIG = Path(__file__).parents[3] / "config"
SCHEMAS = (PoliciesConfig, PolicyConfig, LimitConfig, EnforcementConfig)


def refused(path: Path) -> list[str]:
    """What is wrong with a file, one line each, without its path."""
    with pytest.raises(ConfigError) as caught:
        load_policies(path)
    return [str(error).removeprefix(f"{path}:") for error in caught.value.errors]


def policy(yaml_file: Write, content: str) -> Path:
    """A file with one policy, whose keys stand from line 3 on."""
    lines = "".join(f"    {line}\n" for line in content.split("\n"))
    return yaml_file(f"policies:\n  p:\n{lines}")


def test_a_file_is_read_whole(yaml_file: Write) -> None:
    """Money is exact, a single pattern, field or percentage stands for a list of it, percentages ascend."""
    path = policy(
        yaml_file,
        "scope: {agent: 'backend-*', model: [gpt-*, 'claude-?'], run: '*'}\n"
        "per: agent\n"
        "hourly_budget_usd: 0.10\ndaily_budget_usd: 5\nweekly_budget_usd: 20.5\nmonthly_budget_usd: 100\n"
        "total_budget_usd: 1000000000\n"
        "limits: [{window: 90m, usd: 0.000000001}, {window: week, tokens: 5, calls: 0}]\n"
        "limit: {type: soft, threshold_percent: [100, 50]}\n"
        "timezone: America/New_York\n"
        "unknown_price: block\nunknown_price_usd: 0.5\n"
        "prefer_cheaper_models_under_tokens: 2000\nrequire_justification_over_usd: 1.5\nlease: 1.5",
    )
    assert load_policies(path).policies["p"] == PolicyConfig(
        scope={"agent": ("backend-*",), "model": ("gpt-*", "claude-?"), "run": ("*",)},
        per=("agent",),
        hourly_budget_usd=Decimal("0.10"),
        daily_budget_usd=Decimal(5),
        weekly_budget_usd=Decimal("20.5"),
        monthly_budget_usd=Decimal(100),
        total_budget_usd=Decimal(1_000_000_000),
        limits=(
            LimitConfig(window="90m", usd=Decimal("0.000000001")),
            LimitConfig(window="week", tokens=5, calls=0),
        ),
        limit=EnforcementConfig(type="soft", threshold_percent=(50, 100)),
        timezone="America/New_York",
        unknown_price="block",
        unknown_price_usd=Decimal("0.5"),
        prefer_cheaper_models_under_tokens=2000,
        require_justification_over_usd=Decimal("1.5"),
        lease=1.5,
    )


def test_the_cards_format_is_read_unchanged(yaml_file: Write) -> None:
    """Daily and monthly budgets, limit, the two hints; everything else has its default."""
    path = yaml_file(
        "policies:\n  production:\n    daily_budget_usd: 50.0\n    monthly_budget_usd: 1000\n"
        "    limit: {type: hard, threshold_percent: 80}\n    prefer_cheaper_models_under_tokens: 1000\n"
        "    require_justification_over_usd: 0.5\n"
    )
    found = load_policies(path).policies["production"]
    assert (found.daily_budget_usd, found.limit.threshold_percent) == (Decimal(50), (80,))
    assert (found.scope, found.per, found.timezone, found.unknown_price, found.lease) == (
        {},
        (),
        "UTC",
        "estimate",
        600,
    )
    assert PolicyConfig().limit == EnforcementConfig(type="hard", threshold_percent=(80, 100))


def test_all_errors_of_a_file_are_told_at_once_each_with_its_line(yaml_file: Write) -> None:
    """A forgotten value is no budget without a limit, and a misspelt field no scope that matches everything."""
    path = policy(
        yaml_file,
        "daily_budget_usd:\n"
        "scope: {agnt: x, model: [a, 3]}\n"
        "per: agents\n"
        "timezone: Europe/Berlim\n"
        "limits: [{window: 367d, usd: 1}, {window: day}]\n"
        "limit: {type: strong, threshold_percent: [5, 101]}\n"
        "lease: true\n"
        "unknown_price: zero\n"
        "month_budget_usd: 5",
    )
    assert refused(path) == [
        "3: policies.p.daily_budget_usd: has no value; give one or remove the line",
        "4: policies.p.scope.model[1]: 3 is not usable; give a pattern as text, in quotes where YAML would read it otherwise",
        "4: policies.p.scope.agnt: there is no such field; did you mean agent?",
        "5: policies.p.per: 'agents' is not usable; use agent, tool, model, user, session, run",
        "6: policies.p.timezone: 'Europe/Berlim' is not usable; did you mean Europe/Berlin?",
        (
            f"7: policies.p.limits[0].window: '367d' is not usable; use {', '.join(CALENDAR_WINDOWS)}, or a rolling window "
            "from 1m to 366d, such as 90m, 24h or 7d"
        ),
        "7: policies.p.limits[1]: is no limit; give usd, tokens or calls",
        "8: policies.p.limit.type: 'strong' is not usable; use soft or hard",
        "8: policies.p.limit.threshold_percent[1]: 101 is not usable; give a whole number from 1 to 100",
        "9: policies.p.lease: True is not usable; give seconds from 1 to 604,800, with at most 3 decimals",
        "10: policies.p.unknown_price: 'zero' is not usable; use block, estimate or allow",
        "11: policies.p.month_budget_usd: there is no such key; did you mean monthly_budget_usd?",
    ]


@pytest.mark.parametrize(
    ("content", "key", "words"),
    [
        ("daily_budget_usd: -0.01", "daily_budget_usd", "-0.01 is not usable; give US dollars from 0 to 1,000,000,000"),
        ("daily_budget_usd: 1e-10", "daily_budget_usd", "with at most 9 decimals"),
        ("daily_budget_usd: '5'", "daily_budget_usd", "'5' is not usable"),
        ("daily_budget_usd: .inf", "daily_budget_usd", "'.inf' is not usable"),
        ("daily_budget_usd: 1e12", "daily_budget_usd", "1E+12 is not usable"),
        ("daily_budget_usd: yes", "daily_budget_usd", "True is not usable"),
        (
            "scope: 'backend-*'",
            "scope",
            "'backend-*' is not usable; write a mapping of agent, tool, model, user, session",
        ),
        ("scope: {agent: ''}", "scope.agent", "'' is not usable; give a pattern of 1 to 256 visible characters"),
        ("scope: {agent: [a, '']}", "scope.agent[1]", "'' is not usable; give a pattern of 1 to 256"),
        ("scope: {agent: null}", "scope.agent", "None is not usable; write a pattern, or a list of them"),
        ("scope: {agent: {a: b}}", "scope.agent", "a mapping is not usable; write a pattern, or a list of them"),
        ("scope: {agent: on}", "scope.agent", "True is not usable; give a pattern as text, in quotes"),
        ("per: [agent, agent]", "per[1]", "'agent' is not usable; it stands there already; keep one"),
        ("per: [[agent]]", "per[0]", "a list is not usable; use agent, tool"),
        ("limits: {window: day, usd: 1}", "limits", "a mapping is not usable; write a list"),
        ("limits: [{usd: 1}]", "limits[0].window", "is missing; give it"),
        ("limits: [{window: 24, usd: 1}]", "limits[0].window", "24 is not usable; use hour, day"),
        ("limits: [{window: [24h], usd: 1}]", "limits[0].window", "a list is not usable; use hour, day"),
        ("limits: [{window: 0h, usd: 1}]", "limits[0].window", "'0h' is not usable"),
        ("limits: [{window: 8785h, usd: 1}]", "limits[0].window", "'8785h' is not usable"),
        ("limits: [{window: daily, usd: 1}]", "limits[0].window", "'daily' is not usable"),
        ("limits: [{window: day, tokens: 1.5}]", "limits[0].tokens", "1.5 is not usable; give a whole number"),
        ("limits: [{window: day, calls: -1}]", "limits[0].calls", "-1 is not usable; give a whole number"),
        ("limit: hard", "limit", "'hard' is not usable; write a mapping"),
        (
            "limit: {threshold_percent: 0}",
            "limit.threshold_percent",
            "0 is not usable; give a whole number from 1 to 100",
        ),
        ("limit: {threshold_percent: [80, 80]}", "limit.threshold_percent[1]", "it stands there already"),
        ("limit: {threshold_percent: 80.5}", "limit.threshold_percent", "80.5 is not usable"),
        ("timezone: Mars/Olympus_Mons", "timezone", "give a name of the IANA time zone database, such as UTC"),
        ("timezone: /etc/passwd", "timezone", "'/etc/passwd' is not usable"),
        ("timezone: ../../etc/passwd", "timezone", "is not usable"),
        ("timezone: Europe", "timezone", "'Europe' is not usable"),
        ('timezone: "a\\0b"', "timezone", "is not usable"),
        ("timezone: 1", "timezone", "1 is not usable; give a name of the IANA"),
        ("lease: 0.5", "lease", "0.5 is not usable; give seconds from 1 to 604,800"),
        ("prefer_cheaper_models_under_tokens: 0", "prefer_cheaper_models_under_tokens", "from 1 to 1,000,000,000"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_cannot_be_used_is_one_clear_error(yaml_file: Write, content: str, key: str, words: str) -> None:
    """File, line, path of keys, value and remedy."""
    (error,) = refused(policy(yaml_file, content))
    assert error.startswith(f"3: policies.p.{key}: ")
    assert words in error


def test_a_time_zone_needs_its_database_and_utc_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has none and tzdata is missing, as on Windows, the remedy is still a remedy."""
    monkeypatch.setattr(module, "available_timezones", set)
    with pytest.raises(ValidationError, match="this machine has no time zone data: pip install tzdata, or give UTC"):
        PolicyConfig(timezone="Europe/Berlim")

    def no_database(_: str) -> None:
        raise LookupError

    monkeypatch.setattr(module, "ZoneInfo", no_database)
    assert PolicyConfig(timezone="UTC").timezone == "UTC"


@pytest.mark.parametrize(
    ("window", "seconds"),
    [("1m", 60), ("90m", 5400), ("24h", 86_400), ("7d", 604_800), ("366d", 366 * 86_400), ("527040m", 366 * 86_400)],
)
def test_rolling_windows_have_a_length(window: str, seconds: int) -> None:
    """From a minute to 366 days."""
    assert rolling_seconds(window) == seconds
    assert LimitConfig(window=window, calls=1).window == window


@pytest.mark.parametrize("window", CALENDAR_WINDOWS)
def test_windows_of_the_calendar_have_none(window: str) -> None:
    """A month is as long as it is."""
    assert rolling_seconds(window) is None
    assert LimitConfig(window=window, calls=1).window == window


@given(window=st.text("0123456789mhdsw .-+", max_size=8))
def test_any_other_text_is_no_window(window: str) -> None:
    """What is accepted has a length within the bounds."""
    try:
        LimitConfig(window=window, calls=1)
    except ValidationError:
        assert not re.fullmatch(r"[1-9]\d{0,2}[mhd]", window) or (rolling_seconds(window) or 0) > 366 * 86_400
    else:
        assert 60 <= (rolling_seconds(window) or 0) <= 366 * 86_400


def test_a_file_of_policies_is_read_by_a_path_or_its_text(yaml_file: Write) -> None:
    """`policies=` takes a schema as well."""
    path = yaml_file("policies: {default: {daily_budget_usd: 5}}")
    config = PoliciesConfig(policies={"default": PolicyConfig(daily_budget_usd=Decimal(5))})
    assert load_policies(path) == load_policies(str(path)) == config
    assert Exported is PoliciesConfig
    assert load_policies(yaml_file("")) == PoliciesConfig()


def test_the_example_uses_every_key_and_explains_it() -> None:
    """A key cannot be added and forgotten there; and its bounds are the real ones."""
    path = CONFIG / "policies.yaml.example"
    text, config = path.read_text(), load_policies(path)
    policies = list(config.policies.values())
    assert set(PolicyConfig.model_fields) == set().union(*(policy.model_fields_set for policy in policies))
    limits = [limit for policy in policies for limit in policy.limits]
    assert set(LimitConfig.model_fields) == set().union(*(limit.model_fields_set for limit in limits))
    assert set(EnforcementConfig.model_fields) == set().union(*(policy.limit.model_fields_set for policy in policies))
    lines = text.split("\n")
    for name in {name for schema in SCHEMAS for name in schema.model_fields}:
        at = [n for n, line in enumerate(lines) if re.match(rf"\s*(- )?{name}:", line)]
        assert any("#" in line for n in at for line in lines[max(0, n - 8) : n]), name
    ranges = re.findall(r"# Values: ([\d.]+) to (\d+)(?: [A-Za-z ]+)?[.,].*\n(?:\s*#.*\n)*\s*([a-z_]+):", text)
    assert len(ranges) == 6
    for low, high, name in ranges:
        schema = EnforcementConfig if name in EnforcementConfig.model_fields else PolicyConfig
        for value in (int(low), int(high)):
            schema.model_validate({name: value})
        for value in (int(low) - 1, int(high) + 1):
            with pytest.raises(ValidationError):
                schema.model_validate({name: value})


def test_the_projects_own_file_refuses_nothing() -> None:
    """Who runs something here is told, not stopped."""
    config = load_policies(CONFIG / "policies.yaml")
    assert {policy.limit.type for policy in config.policies.values()} == {"soft"}


def test_each_field_is_described() -> None:
    """`PoliciesConfig.model_json_schema()` documents itself."""
    assert all(info.description for schema in SCHEMAS for info in schema.model_fields.values())
    assert PoliciesConfig.model_json_schema()["$defs"]["PolicyConfig"]["properties"]["scope"]
