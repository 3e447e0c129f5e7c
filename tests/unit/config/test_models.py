"""The promises of models.yaml: exact prices, one meaning for each name, and every error of a file at once."""

import datetime as dt
import pickle
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llm_service.config.models_schema import (
    DatedPrices,
    ModelConfig,
    ModelsConfig,
    PriceTier,
    TokenPrices,
    load_models,
)
from llm_service.errors import ConfigError, ConfigErrors

Write = Callable[..., Path]
CONFIG = Path(__file__).parents[3] / "config"


def refused(path: Path) -> list[str]:
    """What is wrong with a file, one line each, without its path."""
    with pytest.raises(ConfigError) as caught:
        load_models(path)
    lines = str(caught.value).split("\n")
    assert [str(error) for error in caught.value.errors] == lines
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


def model(yaml_file: Write, content: str) -> Path:
    """A file with one model, whose keys stand from line 3 on."""
    lines = "".join(f"    {line}\n" for line in content.split("\n"))
    return yaml_file(f"models:\n  m:\n{lines}")


def test_a_file_is_read_digit_for_digit(yaml_file: Write) -> None:
    """Prices are Decimals as written, days are dates, a single word stands for a list of it."""
    path = yaml_file(
        "models:\n"
        "  a/b:c@1:\n"
        "    provider: openai\n"
        "    cost_per_1k_tokens: {input: 0.0035, output: 1e-2, cached_input: 0, cache_write: 0.00004375, reasoning: 1}\n"
        "    prices:\n"
        "      - {from: 2025-06-10, input: 1, output: 2}\n"
        "      - {from: '2025-06-11', per: 1m, input: 2, output: 3.5, tiers: [{above_prompt_tokens: 5, input: 1, output: 2}]}\n"
        "    context_window: 200_000\n"
        "    max_output_tokens: 8192\n"
        "    task_suitability: coding\n"
        "    aliases: [x, a/b:c@1, Y]\n"
        "  none: {}\n"
        "bundled_prices: false\n"
    )
    assert load_models(path) == ModelsConfig(
        bundled_prices=False,
        models={
            "a/b:c@1": ModelConfig(
                provider="openai",
                cost_per_1k_tokens=TokenPrices(
                    input=Decimal("0.0035"),
                    output=Decimal("0.01"),
                    cached_input=Decimal(0),
                    cache_write=Decimal("0.00004375"),
                    reasoning=Decimal(1),
                ),
                prices=(
                    DatedPrices(from_=dt.date(2025, 6, 10), input=Decimal(1), output=Decimal(2)),
                    DatedPrices(
                        from_=dt.date(2025, 6, 11),
                        per="1m",
                        input=Decimal(2),
                        output=Decimal("3.5"),
                        tiers=(PriceTier(above_prompt_tokens=5, input=Decimal(1), output=Decimal(2)),),
                    ),
                ),
                context_window=200_000,
                max_output_tokens=8192,
                task_suitability=("coding",),
                aliases=("x", "a/b:c@1", "Y"),
            ),
            "none": ModelConfig(),
        },
    )


def test_the_cards_format_is_read_unchanged(yaml_file: Write) -> None:
    """Provider, price per 1,000 tokens, context window and task suitability, as users of the format write them."""
    path = yaml_file(
        "models:\n  claude-3.5-sonnet:\n    provider: anthropic\n    cost_per_1k_tokens:\n      input: 0.003\n"
        "      output: 0.015\n    context_window: 200000\n    task_suitability: [coding, analysis]\n"
    )
    found = load_models(path).models["claude-3.5-sonnet"]
    assert found.cost_per_1k_tokens == TokenPrices(input=Decimal("0.003"), output=Decimal("0.015"))
    assert (found.context_window, found.task_suitability) == (200_000, ("coding", "analysis"))


@pytest.mark.parametrize("content", ["", "models: {}\n", "bundled_prices: true\n"])
def test_an_empty_file_is_no_model(yaml_file: Write, content: str) -> None:
    """Everything may be left out."""
    assert load_models(yaml_file(content)) == ModelsConfig()


def test_all_errors_of_a_file_are_told_at_once_each_with_its_line(yaml_file: Write) -> None:
    """Types, bounds, unknown keys, missing keys, names that clash, keys that stand twice: nobody mends one by one."""
    path = yaml_file(
        "models:\n"
        "  Claude:\n"
        "    cost_per_1k_tokens: {input: 0.0035, output: -1, cached: 3}\n"
        "    prices:\n"
        "      - {from: 2025-01-01, input: 1, output: 0.5}\n"
        "      - {from: 2024-01-01, input: 'x', output: 0.5}\n"
        "    context_window: 1e999\n"
        "    aliases: [x, x, y, 3]\n"
        "  claude:\n"
        "    aliases: Y\n"
        "    cost_per_1m_tokens:\n"
        "      input: 0.1234567\n"
        "      output: 1\n"
        "  g: 5\n"
        "  h:\n"
        "    prices: [{from: 2025-10-01, output: 3}]\n"
        "    provider:\n"
        "    provider: d\n"
        "bundled_price: true\n"
    )
    assert refused(path) == [
        (
            "3: models.Claude.cost_per_1k_tokens.output: -1 is not usable; give US dollars from 0 to 10,000, with at most 9 "
            "decimals"
        ),
        "3: models.Claude.cost_per_1k_tokens.cached: there is no such key; did you mean cached_input?",
        "6: models.Claude.prices[1].input: 'x' is not usable; give US dollars from 0 to 10,000, with at most 9 decimals",
        "6: models.Claude.prices[1].from: '2024-01-01' is not usable; give a day after 2025-01-01: prices ascend",
        "7: models.Claude.context_window: '1e999' is not usable; give a whole number of tokens from 1 to 1,000,000,000",
        "8: models.Claude.aliases[1]: 'x' is not usable; it stands there already; keep one",
        "8: models.Claude.aliases[3]: 3 is not usable; give a name as text, in quotes where YAML would read it otherwise",
        "9: models.claude: is the name of Claude but for its case; keep one",
        "10: models.claude.aliases[0]: 'Y' is not usable; it stands for Claude already; keep one",
        (
            "12: models.claude.cost_per_1m_tokens.input: 0.1234567 is not usable; give at most 6 decimals: a token costs "
            "whole pico-dollars"
        ),
        "14: models.g: 5 is not usable; write a mapping, one `key: value` a line",
        "16: models.h.prices[0].input: is missing; give it",
        "16: models.h.prices[0].per: is missing; say 1k or 1m, the tokens that the prices are for",
        "17: models.h.provider: has no value; give one or remove the line",
        "18: models.h.provider: is set in line 17 already; keep one",
        "19: bundled_price: there is no such key; did you mean bundled_prices?",
    ]


def test_service_tiers_are_factors_of_prices_that_are_there(yaml_file: Write) -> None:
    """Of other tiers than the standard one, each once, and no percentages."""
    path = yaml_file(
        "models:\n"
        "  a:\n"
        "    cost_per_1m_tokens: {input: 3, output: 15}\n"
        "    service_tiers: {default: 1, batch: 50, BATCH: 0.5, flex: x}\n"
        "  b:\n"
        "    service_tiers: {batch: 0.5}\n"
        "  c:\n"
        "    prices: [{from: 2026-01-01, per: 1m, input: 3, output: 15}]\n"
        "    service_tiers: {batch: 0.5, priority: 1.75}\n"
        "  d:\n"
        "    aliases: [A]\n"
    )
    assert refused(path) == [
        "4: models.a.service_tiers.batch: 50 is not usable; give a factor from 0 to 10, with at most 4 decimals",
        "4: models.a.service_tiers.flex: 'x' is not usable; give a factor from 0 to 10, with at most 4 decimals",
        "4: models.a.service_tiers.default: 1 is not usable; the prices themselves are for this tier; remove it",
        "4: models.a.service_tiers.BATCH: is the same tier as batch; keep one",
        "6: models.b.service_tiers: is a factor of prices that are not there; add cost_per_1m_tokens",
        "11: models.d.aliases[0]: 'A' is not usable; it is the name of another model; keep one",
    ]


@pytest.mark.parametrize(
    ("content", "line", "key", "words"),
    [
        ("cost_per_1k_tokens: {input: true, output: 1}", 3, "cost_per_1k_tokens.input", "True is not usable; give US"),
        ("cost_per_1k_tokens: {input: null, output: 1}", 3, "cost_per_1k_tokens.input", "None is not usable; give US"),
        ("cost_per_1k_tokens: {input: .nan, output: 1}", 3, "cost_per_1k_tokens.input", "'.nan' is not usable"),
        ("cost_per_1k_tokens: {input: 10000.1, output: 1}", 3, "cost_per_1k_tokens.input", "10000.1 is not usable"),
        ("cost_per_1k_tokens: {input: 1e-10, output: 1}", 3, "cost_per_1k_tokens.input", "at most 9 decimals"),
        ("cost_per_1k_tokens: 0.003", 3, "cost_per_1k_tokens", "0.003 is not usable; write a mapping"),
        ("cost_per_1k_tokens: [1]", 3, "cost_per_1k_tokens", "a list is not usable; write a mapping"),
        (
            "cost_per_1m_tokens: {input: 1, output: 1}\ncost_per_1k_tokens: {input: 1, output: 1}",
            3,
            "cost_per_1m_tokens",
            "a mapping is not usable; give it or cost_per_1k_tokens, not both",
        ),
        ("prices: {a: 1}", 3, "prices", "a mapping is not usable; write a list"),
        ("prices: [5]", 3, "prices[0]", "5 is not usable; write a mapping"),
        (
            "prices:\n- {from: 2025-13-01, per: 1k, input: 1, output: 1}",
            4,
            "prices[0].from",
            "write a day as 2026-11-23",
        ),
        ("prices:\n- {from: 20, per: 1k, input: 1, output: 1}", 4, "prices[0].from", "20 is not usable; write a day"),
        ("prices:\n- {from: 2025-01-01, per: 1g, input: 1, output: 1}", 4, "prices[0].per", "use 1k or 1m"),
        (
            "prices:\n- {from: 2025-01-01, per: 1m, input: 1, output: 1}\n- {from: 2025-01-01, per: 1m, input: 1, output: 1}",
            5,
            "prices[1].from",
            "'2025-01-01' is not usable; give a day after 2025-01-01: prices ascend",
        ),
        (
            "prices:\n- {from: 2025-01-01, per: 1m, input: 1, output: 0.0000001}",
            4,
            "prices[0].output",
            "give at most 6 decimals",
        ),
        (
            (
                "cost_per_1m_tokens:\n  input: 1\n  output: 1\n  tiers:\n  - {above_prompt_tokens: 9, input: 1, output: 1}\n"
                "  - {above_prompt_tokens: 9, input: 1, output: 1}"
            ),
            8,
            "cost_per_1m_tokens.tiers[1].above_prompt_tokens",
            "9 is not usable; give more than 9: tiers ascend",
        ),
        (
            "cost_per_1m_tokens:\n  input: 1\n  output: 1\n  tiers:\n  - {above_prompt_tokens: 9, input: 1e-7, output: 1}",
            7,
            "cost_per_1m_tokens.tiers[0].input",
            "give at most 6 decimals",
        ),
        ("context_window: 0", 3, "context_window", "0 is not usable; give a whole number of tokens from 1 to"),
        ("context_window: 1.5", 3, "context_window", "1.5 is not usable; give a whole number"),
        ("max_output_tokens: true", 3, "max_output_tokens", "True is not usable; give a whole number"),
        ("provider: ' x'", 3, "provider", "' x' is not usable; give a name of 1 to 256 visible characters"),
        ('provider: "a\\nb"', 3, "provider", "visible characters"),
        ("provider: true", 3, "provider", "True is not usable; give a name as text, in quotes"),
        (f"provider: {'x' * 257}", 3, "provider", "of 1 to 256 visible characters"),
        ("aliases: {a: b}", 3, "aliases", "a mapping is not usable; write a name, or a list of them"),
        ("aliases: null", 3, "aliases", "None is not usable; write a name, or a list of them"),
        ("aliases: 3", 3, "aliases", "3 is not usable; give a name as text"),
        ("aliases: [[a]]", 3, "aliases[0]", "a list is not usable; give a name as text"),
        ("aliasses: [a]", 3, "aliasses", "there is no such key; did you mean aliases?"),
        ("zzz: 1", 3, "zzz", "there is no such key; the known ones are: provider, cost_per_1k_tokens, "),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_used_is_one_clear_error(
    yaml_file: Write, content: str, line: int, key: str, words: str
) -> None:
    """File, line, path of keys, value and remedy."""
    (error,) = refused(model(yaml_file, content))
    assert error.startswith(f"{line}: models.m.{key}: ")
    assert words in error


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("models: [a]", "1: models: a list is not usable; write a mapping, one `name: ...` a line"),
        ("models: {'': {}}", "visible characters, without space around it"),
        ("models: {' a': {}}", "1: 'models. a': ' a' is not usable"),
        ("bundled_prices: 1", "1: bundled_prices: 1 is not usable; use true or false"),
    ],
)
def test_the_top_of_the_file_is_checked_too(yaml_file: Write, content: str, words: str) -> None:
    """Names of models are names, and the rest is what it should be."""
    (error,) = refused(yaml_file(content))
    assert words in error


def test_errors_in_many_places_stay_readable_and_are_all_kept(yaml_file: Write) -> None:
    """The message lists fifty; `.errors` has them all; both survive pickling."""
    path = yaml_file("models:\n" + "".join(f"  m{n}: 5\n" for n in range(60)))
    with pytest.raises(ConfigErrors) as caught:
        load_models(path)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    for error in (caught.value, copy):
        assert (len(error.errors), error.file, error.line, error.key) == (60, path, 2, "models.m0")
        assert str(error).count("\n") == 50
        assert str(error).endswith("\nand 10 more")
        assert isinstance(error, ValueError)


def test_a_schema_made_in_python_follows_the_same_rules() -> None:
    """Floats count as they print; field names and nested objects are welcome; what was checked is not checked again."""
    prices = TokenPrices(input=0.003, output=1)  # type: ignore[arg-type]
    assert (prices.input, type(prices.output)) == (Decimal("0.003"), Decimal)
    config = ModelsConfig(models={"a": ModelConfig(cost_per_1k_tokens=prices, aliases=("b",))})
    assert ModelsConfig.model_validate(config) is config
    assert ModelsConfig.model_validate(config.model_dump()) == config
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own bytes
    for bad in (float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN"), "1", None, 0.1 + 0.2):
        with pytest.raises(ValidationError) as caught:
            TokenPrices(input=bad, output=Decimal(1))  # type: ignore[arg-type]
        assert [error["loc"] for error in caught.value.errors()] == [("input",)]
    with pytest.raises(ValidationError, match="it stands for a already"):
        ModelsConfig(models={"a": ModelConfig(aliases=("x",)), "c": ModelConfig(aliases=("X",))})
    with pytest.raises(ValidationError, match="write a day"):
        DatedPrices(from_=dt.datetime(2025, 1, 1, tzinfo=dt.UTC), input=Decimal(1), output=Decimal(1))
    with pytest.raises(ValidationError):
        config.bundled_prices = False  # type: ignore[misc]


def test_a_file_of_models_is_read_by_a_path_or_its_text(yaml_file: Write) -> None:
    """`models=` takes a schema as well: see `test_costing`."""
    path = yaml_file("models: {a: {}}")
    config = ModelsConfig(models={"a": ModelConfig()})
    assert load_models(path) == load_models(str(path)) == config
    with pytest.raises(ConfigError, match="there is no such file"):
        load_models(path.with_name("none.yaml"))


KEYS = st.sampled_from([*ModelConfig.model_fields, "from", "input", "output", "per", "tiers", "zzz"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["1", "0.5", "-1", "1e999", "true", "null", "x", "2025-01-01", "1k", "''", ""]),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(KEYS, inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        )
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(keys=st.dictionaries(KEYS, VALUES, max_size=4))
def test_nearly_right_files_give_a_schema_or_config_errors(tmp_path: Path, keys: dict[str, str]) -> None:
    """Known keys with odd values: nothing else is raised, and each error has file, line and key."""
    path = tmp_path / "fuzz.yaml"
    path.write_text("models:\n  m:\n" + "".join(f"    {key}: {value}\n" for key, value in keys.items()))
    try:
        load_models(path)
    except ConfigError as error:
        for one in error.errors:
            assert one.file == path
            assert one.line is not None
            assert 1 <= one.line <= len(keys) + 2


def used(value: object) -> set[tuple[str, str]]:
    """Each key of each schema that is set somewhere in an object."""
    found: set[tuple[str, str]] = set()
    if isinstance(value, dict):
        for item in value.values():
            found |= used(item)
    elif isinstance(value, tuple):
        for item in value:
            found |= used(item)
    elif hasattr(value, "model_fields_set"):
        for name in value.model_fields_set:
            found |= {(type(value).__name__, name)} | used(getattr(value, name))
    return found


def test_the_example_uses_every_key_and_explains_it() -> None:
    """A key cannot be added and forgotten there."""
    text = (CONFIG / "models.yaml.example").read_text()
    config = load_models(CONFIG / "models.yaml.example")
    schemas = (ModelsConfig, ModelConfig, DatedPrices, TokenPrices, PriceTier)
    keys = {(schema.__name__, name) for schema in schemas for name in schema.model_fields}
    # The same five prices and tiers stand in several schemas; in which of them is the example's choice.
    shared = {"cache_write", "cache_write_1h", "reasoning", "tiers"}
    missing = {(schema, name) for schema, name in keys - used(config) if name not in shared}
    assert missing == set()
    assert shared <= {name for _, name in used(config)}
    lines = text.split("\n")
    for name in {schema.model_fields[name].alias or name for schema in schemas for name in schema.model_fields}:
        at = [n for n, line in enumerate(lines) if line.strip().removeprefix("- ").startswith(f"{name}:")]
        assert any("#" in line for n in at for line in lines[max(0, n - 4) : n]) or f"# {name}" in text, name


def test_the_projects_own_file_is_small_and_loads() -> None:
    """It has prices in the card's format, each of which is in the example's order of size."""
    config = load_models(CONFIG / "models.yaml")
    assert set(config.models) == {"claude-sonnet-4-5", "claude-haiku-4-5", "gpt-4o", "gpt-4o-mini"}
    assert all(model.cost_per_1k_tokens is not None for model in config.models.values())


def test_each_field_is_described() -> None:
    """`ModelsConfig.model_json_schema()` documents itself."""
    for schema in (ModelsConfig, ModelConfig, DatedPrices, TokenPrices, PriceTier):
        assert all(info.description for info in schema.model_fields.values())
    assert "from" in ModelsConfig.model_json_schema()["$defs"]["DatedPrices"]["properties"]
