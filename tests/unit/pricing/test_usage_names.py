"""Names of a report that no table has: what says the same as one of the table, what measures, and what was billed."""

import re
from itertools import product

import pytest

from llm_service.pricing.usage import openai_usage
from llm_service.pricing.usage.shapes import COUNTS, OPENAI
from llm_service.pricing.usage.spelled import _plain, usual
from llm_service.pricing.usage.telling import _SETTINGS, is_telling

USUAL = sorted(path for path in COUNTS if ".".join(map(_plain, path.split("."))) == path)


def other_spellings(path: str) -> list[str]:
    """The same, as other providers would write it."""
    inside, dot, name = path.rpartition(".")
    whole = [f"{inside}{dot}{other}" for other in _other_names(name)]
    return [*whole, *(re.sub(r"tokens_details", "token_details", one) for one in (path, *whole))]


def _other_names(name: str) -> list[str]:
    if not name.endswith("_tokens") and name != "tokens":
        return []
    return [f"num_{name}", f"n_{name}", f"{name}_count", f"{name[:-1]}_count"]


@pytest.mark.parametrize("path", USUAL)
def test_a_name_that_says_the_same_is_the_one_of_the_table(path: str) -> None:
    """In the singular, or with what says that it is a number; unless the table has it for itself."""
    for spelled in other_spellings(path):
        assert usual(spelled) == (spelled if spelled in COUNTS else path)


@pytest.mark.parametrize(
    "name", ["precached_prompt_tokens", "num_search_queries", "billable_tokens", "tokens_count", "x"]
)
def test_a_name_that_says_less_or_something_else_is_itself(name: str) -> None:
    """It is not guessed."""
    assert usual(name) == name


@pytest.mark.parametrize("path", [path for path, role in OPENAI.roles.items() if role in {"read", "reasoning"}])
def test_a_repeated_count_is_one_and_a_different_one_a_contradiction(path: str) -> None:
    """Whoever repeats it: a cost is computed from what is told once, or not at all."""
    top, _, rest = path.partition(".")

    def told(name: str, count: int) -> dict[str, object]:
        return {name: {rest: count} if rest else count}

    chat = {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}
    for spelled in other_spellings(path):
        other, _, inner = spelled.partition(".")
        if usual(spelled) != path or inner not in {"", rest} or other == top:
            continue
        again = {other: {inner: 64}} if inner else {other: 64}
        plain, twice = openai_usage(chat | told(top, 64)), openai_usage(chat | told(top, 64) | again)
        assert twice == plain
        assert openai_usage(chat | told(top, 60) | again).get("unpriced_usage") is not None


def test_no_count_and_no_cost_of_the_table_is_a_measure() -> None:
    """Where a report of another family has it, it was billed; whatever type the number has."""
    paths = COUNTS | {path for path, role in OPENAI.roles.items() if role in {"cost", "ticks", "upstream"}}
    for path in sorted(paths):
        assert is_telling(path, 5, 5), path
        assert not is_telling(path, 0, 0), path


UNITS = ("s", "sec", "seconds", "ms", "us", "ns", "minutes")
TIMES = [f"{what}_{time}" for what, time in product(("queue", "prefill"), ("time", "latency", "duration", "elapsed"))]
MEASURES = [
    *TIMES, *(f"{time}_{unit}" for time, unit in product(TIMES, UNITS)),
    *(f"{what}_per_{unit}{more}" for what, unit, more in product(("tokens", "requests"), UNITS, ("", "_first_ten"))),
    *(f"time_{words}{unit}" for words, unit in product(("to_first_token", "per_output_token"), ("", "_s", "_ms", "_seconds"))),
    "response_token/s", "ttft", "ttft_ms", "tpot", "prompt_tps", "throughput", "peak_memory", "acceptance_rate", "hit_ratio",
    "latency.total", "timings.prompt", "extra.latency_breakdown.sample.0", "itl.3",
]  # fmt: skip
MEDIA = ("audio", "video", "speech", "image", "session", "container", "gpu")
BILLED = [
    *(f"{medium}_{words}" for medium, words in product(MEDIA, ("seconds", "time", "duration", "duration_ms", "time_s"))),
    *(f"{medium}.duration" for medium in MEDIA), "cost_per_second", "price_per_s", "credits_per_minute", "seconds", "minutes",
    "tokens", "things", "requests", "search_units", "characters", "tokens_per_request", "surcharge", "audio", "storage", "new",
]  # fmt: skip


@pytest.mark.parametrize("path", MEASURES)
def test_a_measure_was_not_billed(path: str) -> None:
    """Neither as a number nor as a text of one."""
    assert not is_telling(path, 7.5, 7.5)
    assert not is_telling(path, "7.5", 7.5)


@pytest.mark.parametrize("path", BILLED)
def test_what_is_billed_by_the_time_or_may_be_anything_is_no_measure(path: str) -> None:
    """It makes the cost unknown, as a number and as a text of one."""
    assert is_telling(path, 7.5, 7.5)
    assert is_telling(path, "7.5", 7.5)


@pytest.mark.parametrize("name", sorted(_SETTINGS))
def test_a_setting_was_not_billed(name: str) -> None:
    """An answer repeats it."""
    assert not is_telling(name, 7, 7)


def test_a_long_numeral_in_a_text_is_an_id_and_what_headers_tell_is_no_bill() -> None:
    """Unlike a long amount."""
    assert not is_telling("new", "12345678901234567890", 12345678901234567890)
    assert is_telling("new", "0.00012345678901234567", 0.00012345678901234567)
    for header in ("x_amzn_requestid", "content_length", "x_ratelimit_remaining_tokens"):
        assert not is_telling(header, "345", 345)
