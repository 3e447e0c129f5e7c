"""The promises of `check_files`: all errors of three files at once, and warnings of what is allowed and looks wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from llm_service.config.checking import Checked, check_files
from llm_service.config.load import check_config, load_config
from llm_service.config.schemas import TelemetryConfig
from llm_service.errors import ConfigError

pytestmark = pytest.mark.usefixtures("alone")

Write = Callable[..., Path]
CONFIG = Path(__file__).parents[3] / "config"


@dataclass(frozen=True)
class Known:
    """A price in US dollars per million tokens."""

    input: str
    output: str
    source: str = "the test's book"

    def cost_nanos(self, prompt_tokens: int, completion_tokens: int) -> int | None:
        """None stands for a price that is not known in one of its parts."""
        if "?" in (self.input, self.output):
            return None
        return round(1000 * (prompt_tokens * Decimal(self.input) + completion_tokens * Decimal(self.output)))


class Book:
    """Prices that are known elsewhere, by name."""

    def __init__(self, **known: Known) -> None:
        self.known = known

    def rates(self, model_name: str | None, provider: str | None = None, at_us: int | None = None) -> Known | None:
        del provider, at_us
        return self.known.get(str(model_name))


@pytest.fixture
def check(yaml_file: Write) -> Callable[..., list[str]]:
    """Check a models.yaml and a policies.yaml that have no errors; gives the warnings without their folders."""

    def warnings(models: str = "", policies: str = "", book: Book | None = None) -> list[str]:
        files = {"models": yaml_file(models, "models.yaml"), "policies": yaml_file(policies, "policies.yaml")}
        checked = check_files(**files, bundled=lambda: book)
        assert checked.errors == []
        folder = f"{files['models'].parent}/"
        return [str(warning).replace(folder, "") for warning in checked.warnings]

    return warnings


# Errors


def test_the_errors_of_all_three_files_are_told_at_once(yaml_file: Write) -> None:
    """File by file, line by line, the environment with the settings."""
    config = yaml_file(
        "batch_size: 0\nstricd: true\nstrict: [1, {a: b}]\nenabled: 5\nenabled: true\n", "telemetry.yaml"
    )
    models = yaml_file("models:\n  a: {context_window: x}\n  b: 5\n", "models.yaml")
    policies = yaml_file("policies: [\n", "policies.yaml")
    checked = check_files(config, models=models, policies=policies, environ={"LLM_TELEMETRY_BATCH": "1"})
    assert [(error.file, error.line, error.key) for error in checked.errors] == [
        (config, 2, "stricd"),
        (config, 3, "strict"),
        (config, 5, "enabled"),
        (None, None, "LLM_TELEMETRY_BATCH"),
        (config, 4, "enabled"),
        (config, 1, "batch_size"),
        (models, 2, "models.a.context_window"),
        (models, 3, "models.b"),
        (policies, 2, None),
    ]
    assert (checked.telemetry, checked.models, checked.policies, checked.warnings) == (None, models, policies, [])


def test_files_that_are_not_there_are_not_checked() -> None:
    """Models and policies are optional; what is named must exist."""
    assert check_files() == Checked(TelemetryConfig(), None, None, [], [])
    checked = check_files(environ={"LLM_TELEMETRY_MODELS": "none.yaml"})
    assert [error.key for error in checked.errors] == ["LLM_TELEMETRY_MODELS"]
    checked = check_files(policies="none.yaml")
    assert [str(error) for error in checked.errors] == [
        "none.yaml: there is no such file; correct the path or create the file"
    ]


def test_the_files_that_are_in_force_are_checked(yaml_file: Write) -> None:
    """Those beside the telemetry.yaml, where none is named."""
    config = yaml_file("", "telemetry.yaml")
    models, policies = yaml_file("", "models.yaml"), yaml_file("", "policies.yaml")
    checked = check_files(config)
    assert (checked.models, checked.policies) == (models, policies)


@pytest.mark.parametrize(
    "content",
    [
        "db_path: ':memory:'\nbatch_size: 0",
        "strict: 1\nstrict: 2",
        "[a]: 1",
        "a: {b: [c, d], e: {f: g}}\nbatch_size: 0",
        "a: &x b",
        "strict:\nbatch_size: 0",
        "batch_size: 3",
    ],
)
def test_load_config_raises_the_first_error_that_check_config_tells(yaml_file: Write, content: str) -> None:
    """There is one way to read a telemetry.yaml."""
    path = yaml_file(content)
    config, problems = check_config(path, environ={})
    if config is not None:
        assert (load_config(path, environ={}), problems) == (config, [])
        return
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ={})
    assert str(caught.value) == str(problems[0])


def test_the_files_of_the_repository_have_neither_errors_nor_warnings() -> None:
    """The project's own, and the examples, which are as a user copies them."""
    for end in ("", ".example"):
        checked = check_files(
            CONFIG / f"telemetry.yaml{end}",
            models=CONFIG / f"models.yaml{end}",
            policies=CONFIG / f"policies.yaml{end}",
        )
        assert (checked.errors, checked.warnings) == ([], [])


# Units


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        (
            "cost_per_1k_tokens: {input: 3, output: 15}",
            (
                "models.m.cost_per_1k_tokens.input: 3 US dollars per 1k tokens is 1,000 times the 0.003 of the test's book; "
                "is it a price per 1m tokens?"
            ),
        ),
        (
            "cost_per_1m_tokens: {input: 0.003, output: 0.015}",
            (
                "models.m.cost_per_1m_tokens.input: 0.003 US dollars per 1m tokens is 1/1,000 of the 3 of the test's book; "
                "is it a price per 1k tokens?"
            ),
        ),
        (
            "cost_per_1m_tokens: {input: 0.000003, output: 0.000015}",
            "0.000003 US dollars per 1m tokens is 1/1,000,000 of the 3 of the test's book; is it a price per single token?",
        ),
        (
            "cost_per_1k_tokens: {input: 0.000003, output: 0.000015}",
            "0.000003 US dollars per 1k tokens is 1/1,000 of the 0.003 of the test's book; is it a price per single token?",
        ),
        (
            "cost_per_1m_tokens: {input: 3000, output: 0}",
            "3000 US dollars per 1m tokens is 1,000 times the 3 of the test's book; is it in thousandths of a dollar?",
        ),
        (
            "prices: [{from: 2025-01-01, per: 1k, input: 3, output: 15}]",
            "models.m.prices[0].input: 3 US dollars per 1k tokens is 1,000 times the 0.003",
        ),
    ],
)
def test_a_price_1000_times_off_what_is_known_is_warned_about(
    check: Callable[..., list[str]], prices: str, words: str
) -> None:
    """With file, line, both figures and the likely mistake; by the name of the model or an alias."""
    for names, book in (("", Book(m=Known("3", "15"))), ("\n    aliases: [x, y]", Book(y=Known("3", "15")))):
        (warning,) = check(f"models:\n  m:\n    {prices}{names}\n", book=book)
        assert warning.startswith("models.yaml:3: ")
        assert words in warning


@pytest.mark.parametrize(
    "prices",
    [
        "cost_per_1k_tokens: {input: 0.003, output: 0.015}",
        "cost_per_1k_tokens: {input: 0.03, output: 0.15}",
        "cost_per_1m_tokens: {input: 30, output: 7500}",
        "cost_per_1m_tokens: {input: 0, output: 0}",
    ],
)
def test_other_differences_are_the_users_business(check: Callable[..., list[str]], prices: str) -> None:
    """A rebate, ten times the price, one side only, nothing at all: that can be meant."""
    assert check(f"models: {{m: {{{prices}}}}}", book=Book(m=Known("3", "15"))) == []


def test_a_known_price_is_trusted_more_than_the_family(check: Callable[..., list[str]]) -> None:
    """A model may be a thousand times dearer than its cheapest sister."""
    models = (
        "models:\n  pro: {provider: p, cost_per_1m_tokens: {input: 150, output: 600}}\n"
        "  nano: {provider: p, cost_per_1m_tokens: {input: 0.05, output: 0.4}}\n"
    )
    assert len(check(models)) == 2
    assert check(models, book=Book(pro=Known("150", "600"), nano=Known("0.05", "0.4"))) == []


def test_a_price_1000_times_off_its_family_is_warned_about(check: Callable[..., list[str]]) -> None:
    """Against the median of the other models of the provider; a model of another provider is no family."""
    models = (
        "models:\n"
        "  a: {provider: p, cost_per_1k_tokens: {input: 0.001, output: 0.004}}\n"
        "  b: {provider: p, cost_per_1m_tokens: {input: 6.25, output: 16}}\n"
        "  free: {provider: p, cost_per_1m_tokens: {input: 0, output: 0}}\n"
        "  none: {provider: p, context_window: 5}\n"
        "  other: {provider: q, cost_per_1m_tokens: {input: 0.02, output: 0.04}}\n"
        "  c:\n"
        "    provider: p\n"
        "    cost_per_1k_tokens:\n"
        "      output: 8\n"
        "      input: 2.50\n"
    )
    found = check(models, book=Book(none=Known("1", "1")))
    assert found == [
        (
            "models.yaml:11: models.c.cost_per_1k_tokens.input: 2.5 US dollars per 1k tokens is 1,000 times the 0.0025 of the "
            "median of the other models of p; is it a price per 1m tokens?"
        )
    ]


def test_prices_of_one_model_are_compared_where_it_has_no_family(check: Callable[..., list[str]]) -> None:
    """A new price in the unit of the provider's page, under the unit of the old one."""
    found = check(
        "models:\n  m:\n    cost_per_1k_tokens: {input: 0.01, output: 0.04}\n    prices:\n"
        "      - {from: 2025-06-10, input: 10, output: 40}\n"
    )
    assert found[1] == (
        "models.yaml:5: models.m.prices[0].input: 10 US dollars per 1k tokens is 1,000 times the 0.01 of the median of its "
        "other prices; is it a price per 1m tokens?"
    )
    assert found[0].startswith("models.yaml:3: ")


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        (
            "cost_per_1k_tokens: {input: 3, output: 15}",
            "3000 US dollars per million tokens is above all list prices (up to 300); is it a price per 1m tokens?",
        ),
        (
            "cost_per_1m_tokens: {input: 0.003, output: 0.015}",
            "0.003 US dollars per million tokens is below all list prices (from 0.005); is it a price per 1k tokens?",
        ),
        (
            "cost_per_1k_tokens: {input: 0.000003, output: 0.000015}",
            "0.003 US dollars per million tokens is below all list prices (from 0.005); is it a price per single token?",
        ),
        ("cost_per_1m_tokens: {input: 150, output: 600}", None),
        ("cost_per_1m_tokens: {input: 0.02, output: 0}", None),
        ("cost_per_1m_tokens: {input: 0, output: 0}", None),
    ],
)
def test_a_single_model_is_compared_with_all_list_prices(
    check: Callable[..., list[str]], prices: str, words: str | None
) -> None:
    """Nothing else is known of it; a price of 0 is one, and so is the dearest there is."""
    for book in (None, Book(m=Known("?", "1"))):
        found = check(f"models:\n  m:\n    {prices}\n", book=book)
        assert found == [] if words is None else words in found[0]


def test_a_file_that_is_wrong_as_a_whole_is_warned_about(check: Callable[..., list[str]]) -> None:
    """Every model is like its family, and none is like any price there is."""
    models = (
        "models:\n  a: {provider: p, cost_per_1k_tokens: {input: 3, output: 15}}\n"
        "  b: {provider: p, cost_per_1k_tokens: {input: 1, output: 5}}\n"
    )
    assert [warning.partition(" US")[0] for warning in check(models)] == [
        "models.yaml:2: models.a.cost_per_1k_tokens.input: 3000",
        "models.yaml:3: models.b.cost_per_1k_tokens.input: 1000",
    ]


def test_prices_of_parts_that_do_not_suit_the_whole_are_warned_about(check: Callable[..., list[str]]) -> None:
    """Another unit, and an hour that costs less than five minutes; nothing is said of what is free."""
    models = (
        "models:\n"
        "  a:\n"
        "    cost_per_1m_tokens:\n"
        "      input: 3\n"
        "      output: 15\n"
        "      cached_input: 0.0003\n"
        "      cache_write: 3750\n"
        "      cache_write_1h: 2\n"
        "      reasoning: 0\n"
        "  b:\n"
        "    cost_per_1k_tokens: {input: 0.003, output: 0.015, cache_write_1h: 0.000006, reasoning: 15}\n"
    )
    a, b = "models.a.cost_per_1m_tokens", "models.yaml:11: models.b.cost_per_1k_tokens"
    shorter = "of what is kept shorter; are they exchanged?"
    assert check(models) == [
        f"models.yaml:6: {a}.cached_input: 0.0003 is 1/10,000 of the 3 of input; has it another unit?",
        f"models.yaml:7: {a}.cache_write: 3750 is 1,250 times the 3 of input; has it another unit?",
        f"models.yaml:8: {a}.cache_write_1h: 2 is less than the 3750 {shorter}",
        f"{b}.cache_write_1h: 0.000006 is less than the 0.003 {shorter}",
        f"{b}.cache_write_1h: 0.000006 is 1/500 of the 0.003 of input; has it another unit?",
        f"{b}.reasoning: 15 is 1,000 times the 0.015 of output; has it another unit?",
    ]


def test_other_oddities_of_models_are_warned_about(check: Callable[..., list[str]]) -> None:
    """Numbers that are exchanged, and a model that nothing prices."""
    models = (
        "models:\n"
        "  a:\n"
        "    context_window: 8192\n"
        "    max_output_tokens: 200000\n"
        "    cost_per_1m_tokens:\n"
        "      {input: 1, output: 2,\n"
        "       cached_input: 1.25, tiers: [\n"
        "        {above_prompt_tokens: 5, input: 2, output: 2, cached_input: 2.5}]}\n"
        "  b: {aliases: [c]}\n"
    )
    found = [
        "models.yaml:4: models.a.max_output_tokens: 200,000 is more than the context_window of 8,192; are they exchanged?",
        "models.yaml:7: models.a.cost_per_1m_tokens.cached_input: 1.25 is more than the 1 of input; is it cache_write?",
        (
            "models.yaml:8: models.a.cost_per_1m_tokens.tiers[0].cached_input: 2.5 is more than the 2 of input; is it "
            "cache_write?"
        ),
        "models.yaml:9: models.b: has no price, here or bundled: its calls cost an unknown amount; add cost_per_1m_tokens",
    ]
    assert check(models) == found
    assert check(models, book=Book(c=Known("1", "2"))) == found[:3]
    assert check(models + "bundled_prices: false\n", book=Book(c=Known("1", "2"))) == found


# Policies


MODELS = (
    "models:\n"
    "  claude-sonnet-4-5: {provider: anthropic, aliases: [sonnet], cost_per_1m_tokens: {input: 3, output: 15}}\n"
    "  gpt-4o: {provider: openai, cost_per_1m_tokens: {input: 2.5, output: 10}}\n"
    "  local: {cost_per_1m_tokens: {input: 0, output: 0}}\n"
)


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (
            "scope: {model: [gpt-4p, 'claude-*']}\nper: model\ndaily_budget_usd: 5",
            "3: policies.p.scope.model[0]: matches no model or alias of models.yaml; did you mean gpt-4o?",
        ),
        (
            "daily_budget_usd: 5\nscope:\n  model: 'mistral-*'",
            "5: policies.p.scope.model[0]: matches no model or alias of models.yaml; add the model, or correct the pattern",
        ),
        ("scope: {model: [sonnet, 'gpt-4?', '*', bundled]}\ndaily_budget_usd: 5", None),
        ("scope: {agent: 'gpt-4p'}\ndaily_budget_usd: 5", None),
        (
            "daily_budget_usd: 5\nlimits:\n- window: day\n  usd: 4",
            "6: policies.p.limits[0].usd: is a second limit of usd for the window day, beside line 3; the lower alone counts",
        ),
        (
            "limits:\n- {window: 24h, tokens: 4}\n- {window: 1d, usd: 3, tokens: 9}",
            (
                "5: policies.p.limits[1].tokens: is a second limit of tokens for the window 1d, beside line 4; the lower alone "
                "counts"
            ),
        ),
        ("daily_budget_usd: 5\nlimits: [{window: 24h, usd: 4}, {window: day, calls: 4}]", None),
        (
            "daily_budget_usd: 50\nweekly_budget_usd: 100\nmonthly_budget_usd: 60.5",
            (
                "4: policies.p.weekly_budget_usd: 100 US dollars a week is above the 60.5 of monthly_budget_usd; it is never "
                "reached"
            ),
        ),
        ("{}", "2: policies.p: limits nothing; give it a budget such as daily_budget_usd, or remove it"),
        ("require_justification_over_usd: 5", None),
        ("prefer_cheaper_models_under_tokens: 5", None),
        ("limits: [{window: day, calls: 5}]", None),
        (
            "daily_budget_usd: 5\nunknown_price: allow\nunknown_price_usd: 1",
            "5: policies.p.unknown_price_usd: has no effect with unknown_price: allow; use estimate, or remove it",
        ),
        ("daily_budget_usd: 5\nunknown_price_usd: 1", None),
        (
            "scope: {model: sonnet}\ndaily_budget_usd: 0.01",
            (
                "4: policies.p.daily_budget_usd: 0.01 US dollars (day) is less than one small call costs: 0.0105 for 1,000 tokens "
                "in and 500 out of claude-sonnet-4-5, the cheapest model; nothing will fit"
            ),
        ),
        (
            "limits:\n- {window: total, usd: 0.007}",
            "4: policies.p.limits[0].usd: 0.007 US dollars (total) is less than one small call costs: 0.0075 for",
        ),
        ("daily_budget_usd: 0.0075", None),
        ("daily_budget_usd: 0", None),
        ("scope: {model: local}\ndaily_budget_usd: 0.001", None),
    ],
)
def test_oddities_of_policies_are_warned_about(
    check: Callable[..., list[str]], content: str, warning: str | None
) -> None:
    """Patterns that match nothing, limits that double or never count, budgets without room for a call."""
    body = "".join(f"    {line}\n" for line in content.split("\n"))
    found = check(MODELS, f"policies:\n  p:\n{body}", Book(bundled=Known("1", "1")))
    if warning is None:
        assert found == []
    else:
        (one,) = found
        assert one.startswith(f"policies.yaml:{warning}")


def test_without_models_nothing_is_said_of_patterns_of_models(check: Callable[..., list[str]]) -> None:
    """No models.yaml is no mistake."""
    policies = "policies: {p: {scope: {model: x}, daily_budget_usd: 0.000001}}"
    assert check("", policies) == []
    assert check(MODELS + "bundled_prices: false\n", policies, Book(x=Known("1", "1"))) != []


def test_bundled_prices_are_only_asked_for_where_there_are_models(yaml_file: Write) -> None:
    """They take a fifth of a second to import."""

    def fail() -> None:
        raise AssertionError

    assert check_files(models=yaml_file("models: {}"), bundled=fail).warnings == []


def test_a_file_of_something_else_is_given_up(yaml_file: Write) -> None:
    """A hundred errors are enough to know that it holds no settings."""
    _, problems = check_config(yaml_file("".join(f"k{n}: 1\n" for n in range(500))), environ={})
    assert len(problems) == 102
    assert "given.yaml:101: has too many errors to go on; this is no settings file" in str(problems[-1])
