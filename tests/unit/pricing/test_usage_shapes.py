"""All shapes of usage, from their own table: what is priced is what the provider bills, or the cost is unknown and says why."""

from copy import deepcopy
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from tests.slices import check_each

from llm_service.config.models_schema import ModelsConfig
from llm_service.pricing import usage as readers
from llm_service.pricing.book import PriceBook
from llm_service.pricing.usage.around import _AROUND, INSIDE
from llm_service.pricing.usage.said import role_of
from llm_service.pricing.usage.shapes import ANTHROPIC, COUNTS, OPENAI, SHAPES, Role, Shape
from llm_service.telemetry.instrumentation.responses.answers import usage_of
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.costing import COMPUTED, UNKNOWN, Costing, with_cost

PRICES = PriceBook(
    ModelsConfig.model_validate(
        {
            "models": {
                "claude-m": {
                    "cost_per_1m_tokens": {
                        "input": 3, "output": 15, "cached_input": 0.3, "cache_write": 3.75, "cache_write_1h": 6,
                    }
                }
            },
            "bundled_prices": False,
        }
    )
)  # fmt: skip
READERS = {name: reader for name, reader in vars(readers).items() if name.endswith("_usage") or name == "usage_fields"}
count = st.integers(0, 50_000)
some = st.integers(1, 50_000)


def paths(shape: Shape, role: Role) -> list[str]:
    """Where a shape tells it; not the fields that some senders mean otherwise."""
    return [path for path, is_a in shape.roles.items() if is_a == role and path not in shape.either]


def put(report: dict[str, Any], path: str, value: Any) -> None:
    """Write a value where a path says, in lists where the provider has lists."""
    first, *rest = path.split(".")
    if not rest:
        report[first] = value
    elif rest[0] in {"5m", "1h"}:
        report.setdefault(first, []).append({"ttl": rest[0], rest[1]: value})
    elif rest[-1] in {"token_count", "tokens"} and len(rest) == 2:
        report.setdefault(first, []).append({"modality": rest[0].upper(), rest[1]: value})
    else:
        put(report.setdefault(first, {}), ".".join(rest), value)


def in_camel_case(value: Any) -> Any:
    """As a client in JavaScript spells it."""
    if isinstance(value, dict):
        return {_camel(key): in_camel_case(one) for key, one in value.items()}
    return [in_camel_case(one) for one in value] if isinstance(value, list) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part if part[:1].isdigit() else part.capitalize() for part in rest)


class Sdk(BaseModel):
    """What SDKs make of an answer: fields that the class does not know are kept beside."""

    model_config = ConfigDict(extra="allow")


def in_an_object(value: Any) -> Any:
    """As an SDK gives it, unknown fields and None included."""
    if isinstance(value, dict):
        return Sdk(**{key: in_an_object(one) for key, one in value.items()}, nothing=None)
    return [in_an_object(one) for one in value] if isinstance(value, list) else value


def in_a_namespace(value: Any) -> Any:
    """As an object."""
    if isinstance(value, dict):
        return SimpleNamespace(**{key: in_a_namespace(one) for key, one in value.items()})
    return [in_a_namespace(one) for one in value] if isinstance(value, list) else value


def in_a_message(value: Any) -> Any:
    """As LangChain keeps it, beside what it makes of it."""
    told = readers.usage_fields(value)
    prompt, completion = told["prompt_tokens"] or 0, told["completion_tokens"] or 0
    made = {"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion}
    return {"type": "ai", "usage_metadata": made, "response_metadata": {"model_name": "m", "token_usage": value}}


FORMS = [lambda value: value, in_an_object, in_a_namespace, lambda value: {"usage": value}, in_a_message]


class Bill(NamedTuple):
    """What a provider bills.

    Attributes:
        shape: of the report.
        report: of the usage.
        usd: what it costs.
        counts: prompt, completion, and of the prompt what was read from a cache and written to it.
    """

    shape: Shape
    report: dict[str, Any]
    usd: Decimal
    counts: tuple[int, int, int, int]


@st.composite
def bills(draw: st.DrawFn) -> Bill:
    """A bill by a shape of the table."""
    shape = draw(st.sampled_from(SHAPES))
    fresh, read, minutes, hour, output, reasoning, tools = (draw(count) for _ in range(7))
    read = read if paths(shape, "read") else 0
    minutes, hour = (minutes, hour) if paths(shape, "written_1h") else (0, 0)
    tools = tools if paths(shape, "tool_prompt") else 0
    reasoning = reasoning if paths(shape, "reasoning") or paths(shape, "thoughts") else 0
    told: dict[Role, int] = {"read": read, "written": minutes + hour, "written_1h": hour, "tool_prompt": tools}
    if draw(st.booleans()):
        told["written_5m"] = minutes
    beside = shape.roles.get("input_tokens") == "fresh"
    told |= {"fresh": fresh} if beside else {"prompt": fresh + read + minutes + hour}
    if paths(shape, "thoughts"):
        told |= {"completion": output, "thoughts": reasoning}
    else:
        told |= {"completion": output + reasoning, "reasoning": reasoning}
    total = fresh + read + minutes + hour + output + reasoning + tools
    if draw(st.booleans()):
        told["total"] = total
    report: dict[str, Any] = {}
    family = draw(st.integers(0, 3))
    for role, value in told.items():
        if places := paths(shape, role):
            put(report, places[min(family, len(places) - 1)], draw(st.sampled_from([value, float(value), str(value)])))
    billed = 3 * (fresh + tools) + Decimal("0.3") * read + Decimal("3.75") * minutes + 6 * hour
    written = minutes + hour
    counts = (fresh + read + written + tools, output + reasoning, read, written)
    return Bill(shape, report, (billed + 15 * (output + reasoning)) / 10**6, counts)


def priced(fields: dict[str, Any]) -> InvocationRecord:
    """The record as the writer stores it."""
    record = InvocationRecord(model_name="claude-m", **fields)
    costs = Costing(PRICES).costs([record])
    return record if costs is None else with_cost(record, costs[0])


@given(bills(), st.sampled_from(FORMS), st.sampled_from(sorted(READERS)))
def test_what_is_priced_is_what_the_provider_bills(bill: Bill, form: Any, reader: str) -> None:
    """Of every shape, in every form, by whichever function."""
    _, report, usd, _ = bill
    record = priced(READERS[reader](form(report)))
    assert (record.unpriced_usage, record.cost_source) == (None, COMPUTED), (report, record.to_dict())
    assert record.cost_usd == pytest.approx(float(usd), abs=1e-9)


@pytest.mark.volume
@pytest.mark.timeout(300)
@settings(max_examples=3_000, database=None, suppress_health_check=[*HealthCheck])
@given(bills(), st.sampled_from(FORMS), st.sampled_from(sorted(READERS)))
def test_3_000_reports_are_counted_and_priced_as_the_provider_bills(bill: Bill, form: Any, reader: str) -> None:
    """Tokens, too: the whole prompt and the whole output, whatever the shape tells of their parts."""
    _, report, usd, counts = bill
    record = priced(READERS[reader](form(report)))
    assert record.cost_usd == pytest.approx(float(usd), abs=1e-9)
    cached, written = record.cache_read_tokens or 0, record.cache_write_tokens or 0
    assert (record.prompt_tokens, record.completion_tokens, cached, written) == counts


@given(
    bills(), some, st.sampled_from(["hologram_tokens", "retrieval_requests", "details.lidar_tokens", "robot_seconds"])
)
def test_what_was_billed_and_no_table_knows_makes_the_cost_unknown_and_is_named(
    bill: Bill, amount: int, name: str
) -> None:
    """Whatever a provider adds; a 0 of it changes nothing."""
    _, report, usd, _ = bill
    put(report, name, 0)
    assert priced(readers.usage_fields(report)).cost_usd == pytest.approx(float(usd), abs=1e-9)
    report.pop(name.partition(".")[0])
    put(report, name, amount)
    record = priced(readers.usage_fields(report))
    assert (record.cost_usd, record.cost_source) == (None, UNKNOWN)
    assert f"{name}: {amount}" in str(record.unpriced_usage)


@given(bills(), some, st.data())
def test_a_total_that_its_parts_do_not_make_is_never_priced_as_if_they_did(
    bill: Bill, more: int, data: st.DataObject
) -> None:
    """Above them by what no part is, or below them."""
    shape, report, _, _ = bill
    totals = paths(shape, "total")
    if not totals:
        return
    report = {key: value for key, value in report.items() if key not in totals}
    fields = readers.usage_fields(report)
    prompt, completion = fields["prompt_tokens"], fields["completion_tokens"]
    parts = {fields["reasoning_tokens"], (fields["cache_read_tokens"] or 0) + (fields["cache_write_tokens"] or 0)}
    wrong = data.draw(st.sampled_from([prompt + completion + more, max(0, prompt + completion - more)]))
    off = abs(wrong - prompt - completion)
    if not off or off in parts or off == sum(filter(None, parts)):
        return
    report[totals[0]] = wrong
    record = priced(readers.usage_fields(report))
    assert record.cost_usd is None
    assert record.unpriced_usage


BAD = [
    -1, -5.0, float("nan"), float("inf"), 1.5, "-3", Decimal("NaN"), Decimal("sNaN"), 10**13, "n/a", "NaN", "", "twelve",
    {}, {"of": 5}, [5], b"5", True, object(),
]  # fmt: skip


@pytest.mark.parametrize("path", sorted(COUNTS))
def test_a_count_that_cannot_be_is_named_and_nothing_is_priced_without_it(path: str) -> None:
    """At every place of every shape; the rest of the report is kept."""
    check_each(is_named_and_not_priced, [(path, bad) for bad in BAD])


def is_named_and_not_priced(path: str, bad: Any) -> None:
    """One such count in that place."""
    report: dict[str, Any] = {}
    put(report, path, bad)
    shape = next(shape for shape in SHAPES if path in shape.roles)
    for role in ("prompt", "fresh", "completion"):
        own = [one for one in paths(shape, role) if one != path and shape.roles[path] != role]
        if own:
            put(report, own[0], 10)
    for reader in READERS.values():
        record = priced(reader(report))
        assert record.cost_usd is None
        assert record.unpriced_usage or record.prompt_tokens is None


@pytest.mark.parametrize("reader", READERS.values(), ids=list(READERS))
def test_garbage_gives_no_fields(reader: Any) -> None:
    """And raises nothing."""

    class Hostile:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    class Endless(dict[str, Any]):
        def items(self) -> Any:
            return ((f"k{n}", None) for n in iter(int, 1))

    round_and_round: dict[str, Any] = {}
    round_and_round["a"] = round_and_round
    for odd in (
        None,
        "text",
        b"bytes",
        5,
        5.5,
        True,
        [],
        {},
        [None],
        ["a"],
        object(),
        Hostile(),
        int,
        {1: 2},
        {"a": None},
    ):
        assert set(reader(odd).values()) == {None}, odd
    for odd in (round_and_round, Endless(), {"a": list(range(10_000))}):
        fields = reader(odd)
        assert [fields[field] for field in ("prompt_tokens", "completion_tokens", "total_tokens")] == [None] * 3


def test_every_path_has_one_meaning_in_its_shape_and_every_shape_says_where_it_is_published() -> None:
    """The table is whole."""
    for shape in SHAPES:
        assert all(url.startswith("https://") for url in shape.published)
        assert {"completion"} <= set(shape.roles.values())
        assert shape.unsaid <= shape.either <= shape.roles.keys()
    assert role_of("cost_details.anything", OPENAI.roles) == "within"
    assert role_of("anything", ANTHROPIC.roles) is None


@dataclass(slots=True)
class Slots:
    """Of a dataclass without a dictionary."""

    prompt_tokens: int = 100
    completion_tokens: int = 10
    video_tokens: int = 7


class Tuple(NamedTuple):
    """Of a named tuple."""

    prompt_tokens: int = 100
    completion_tokens: int = 10
    video_tokens: int = 7


class Computed:
    """Of properties alone."""

    def __init__(self) -> None:
        self._usage = Slots()

    prompt_tokens = property(lambda self: self._usage.prompt_tokens)
    completion_tokens = property(lambda self: self._usage.completion_tokens)
    video_tokens = property(lambda self: self._usage.video_tokens)


class Forwarding:
    """Of what another object holds."""

    def __init__(self) -> None:
        self._usage = Slots()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._usage, name)


class Telling(Forwarding):
    """The same, but it says what it holds."""

    def to_dict(self) -> dict[str, int]:
        """All of it."""
        return asdict(self._usage)


class Breaking(dict[str, Any]):
    """A mapping that fails midway."""

    def items(self) -> Any:
        """The half of it."""
        yield "prompt_tokens", 100
        yield "completion_tokens", 10
        raise RuntimeError


@pytest.mark.parametrize("source", [Slots(), Tuple(), Computed(), Telling(), Forwarding(), Breaking()])
@pytest.mark.parametrize("form", [lambda value: value, lambda value: {"usage": value}])
def test_an_object_that_does_not_show_all_of_its_fields_is_not_priced_as_if_it_had(source: Any, form: Any) -> None:
    """What it holds is found in whatever way its class declares it, or that it cannot be listed is named."""
    record = priced(readers.usage_fields(form(source)))
    assert (record.prompt_tokens, record.completion_tokens, record.cost_usd) == (100, 10, None)
    listed = not isinstance(source, Breaking) and (type(source) is not Forwarding)
    hidden = f"fields of {type(source).__name__}: cannot be listed"
    assert record.unpriced_usage == ("video_tokens: 7" if listed else hidden)


@pytest.mark.parametrize(
    "report",
    [
        {"promptTokenCount": 100, "totalTokenCount": 100},
        {"input_tokens": 100, "output_tokens": 0, "requests": 2, "tool_calls": 3, "details": {"reasoning_tokens": 0}},
        {"prompt_eval_count": 100, "eval_count": 0, "context": list(range(3_000))},
    ],
    ids=["Gemini without an answer", "Pydantic AI", "Ollama's context"],
)
def test_what_is_not_billed_leaves_the_cost_known(report: dict[str, Any]) -> None:
    """Fields of clients beside the counts."""
    record = priced(readers.usage_fields(report))
    assert (record.completion_tokens, record.unpriced_usage, record.cost_source) == (0, None, COMPUTED)


@pytest.mark.parametrize("tier", ["flex", "priority"])
def test_details_of_a_tier_tell_the_tier_where_they_are_all_of_the_counts(tier: str) -> None:
    """LangChain's; of a sum of several calls they are a part."""
    report: dict[str, Any] = {
        "input_tokens": 100, "output_tokens": 10, "total_tokens": 110,
        "input_token_details": {tier: 40, f"{tier}_cache_read": 60},
        "output_token_details": {tier: 7, f"{tier}_reasoning": 3},
    }  # fmt: skip
    fields = readers.usage_fields(report)
    assert (fields["service_tier"], fields["cache_read_tokens"], fields["reasoning_tokens"]) == (tier, 60, 3)
    assert "unpriced_usage" not in fields
    assert readers.usage_fields(report | {"input_tokens": 200, "total_tokens": 210})["unpriced_usage"]


@pytest.mark.parametrize("spelled", [lambda value: value, in_camel_case])
@pytest.mark.parametrize("beside", [True, False])
def test_optimized_latency_is_a_tier_of_its_own(spelled: Any, beside: bool) -> None:
    """Bedrock's, beside the usage or among its counts."""
    usage, speed = {"input_tokens": 100, "output_tokens": 10}, {"performance_config": {"latency": "optimized"}}
    record = priced(readers.usage_fields(spelled({"usage": usage, **speed} if beside else usage | speed)))
    assert (record.service_tier, record.cost_source) == ("optimized", UNKNOWN)


@pytest.mark.parametrize("yes", [True, 1, "true", 1.0])
def test_a_key_of_ones_own_is_told_in_any_type(yes: Any) -> None:
    """The provider's own charge is added."""
    report = {"prompt_tokens": 1, "cost": 0.5, "is_byok": yes, "cost_details": {"upstream_inference_cost": 1.0}}
    assert readers.usage_fields(report)["cost_usd"] == 1.5


def test_a_count_that_is_spelled_in_two_ways_is_the_larger_one_and_not_priced() -> None:
    """One of the two is wrong, and nobody says which."""
    fields = readers.usage_fields({"prompt_tokens": 10, "promptTokens": 12, "completion_tokens": 1})
    assert (fields["prompt_tokens"], fields["unpriced_usage"]) == (12, "promptTokens: 12, elsewhere 10")


class Word(Enum):
    """A word as generated clients have it: by its value where that is a text, else by its name."""

    FLEX = "flex"
    TEXT = 1


def test_enumerations_are_read_as_their_words() -> None:
    """Of tiers, and of the kinds of content that counts are broken down by."""
    report = {
        "promptTokenCount": 10, "candidatesTokenCount": 1, "totalTokenCount": 11, "trafficType": Word.FLEX,
        "promptTokensDetails": [{"modality": Word.TEXT, "tokenCount": 10}],
    }  # fmt: skip
    fields = readers.usage_fields(report)
    assert (fields["prompt_tokens"], fields["service_tier"]) == (10, "flex")
    assert "unpriced_usage" not in fields


@pytest.mark.parametrize("odd", ["free", [1], None, {"x": 1}])
@pytest.mark.parametrize("field", ["cost", "service_tier"])
def test_what_is_no_amount_and_no_word_says_nothing(field: str, odd: Any) -> None:
    """The counts beside it stand."""
    fields = readers.usage_fields({"prompt_tokens": 10, "completion_tokens": 1, field: odd})
    assert (fields["prompt_tokens"], fields["completion_tokens"]) == (10, 1)
    assert fields.get("cost_usd") is None


def test_an_object_in_the_place_of_a_count_leaves_it_unknown_and_is_not_asked_for_its_text() -> None:
    """It is nothing that a record could take or refuse."""
    fields = readers.usage_fields({"prompt_tokens": 10, "completion_tokens": object()})
    assert (fields["prompt_tokens"], fields["completion_tokens"]) == (10, None)
    assert fields["unpriced_usage"] == "completion_tokens: of type object"


def test_a_cost_that_a_client_estimates_is_no_charge() -> None:
    """Pydantic AI computes `cost` by the price list that is used here: the object is known by its home, a dict by a name."""
    given = {"input_tokens": 100, "output_tokens": 5, "cache_audio_read_tokens": 0, "cost": Decimal("0.0075")}
    usage = type("RunUsage", (SimpleNamespace,), {"__module__": "pydantic_ai.usage"})(**given)
    for estimate in (given, usage, {"usage": given}):
        fields = readers.usage_fields(estimate)
        assert (fields["prompt_tokens"], fields.get("cost_usd"), fields.get("unpriced_usage")) == (100, None, None)
    del given["cache_audio_read_tokens"]
    assert readers.usage_fields(given)["cost_usd"] == 0.0075


NO_PARTS = {
    "tool_calls", "server_tool_use.web_fetch_requests", "details.message_iterations", "details.compaction_iterations",
    "prompt_tokens_details.tool_use_tokens",  # beside the prompt where they are not billed
    "message.*", "cost.*", "cost_details.*",
    "tokens.input_tokens", "tokens.output_tokens",  # of which some are not billed
}  # fmt: skip
"""What is within another field, and is no count of tokens that the prompt or the completion includes."""
PARTS = [
    (shape, path)
    for shape in SHAPES
    for path in paths(shape, "within")
    if path not in NO_PARTS and path not in {"input_tokens.text", "output_tokens.text"}
]


@pytest.mark.parametrize(("shape", "path"), PARTS, ids=[path for _, path in PARTS])
def test_a_part_beyond_its_whole_is_a_contradiction(shape: Shape, path: str) -> None:
    """Of each path that the table says is within another; as large as the whole it is none."""
    report: dict[str, Any] = {}
    whole = {role: next(iter(paths(shape, role)), None) for role in ("prompt", "fresh", "completion", "total")}
    put(report, whole["prompt"] or whole["fresh"] or "", 100)
    put(report, whole["completion"] or "", 100)
    put(report, whole["total"] or "", 200)
    bound = 200 if path == "details.text_tokens" else 100  # of whichever side
    for count, contradicts in ((bound, False), (bound + 1, True), (900, True)):
        told = deepcopy(report)
        put(told, path, count)
        unpriced = str(readers.usage_fields(told).get("unpriced_usage"))
        assert ("beyond its whole" in unpriced) is contradicts, unpriced


ONE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
OTHER = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
HOLDERS: list[Any] = [
    *(lambda one, other, name=name: {"usage": one, name: other} for name in INSIDE if name != "usage"),
    *(lambda one, other, name=name: {name: one, "usage": other} for name in INSIDE if name != "usage"),
    *(lambda one, other, name=name: {"usage": one, name: {"usage": other}} for name in _AROUND),
    lambda one, other: {"choices": [{"usage": one}, {"usage": other}]},
    lambda one, other: {"usage": one, "choices": [{"usage": other}]},
    lambda one, other: {"usage": one, "choices": [{}, {"token_usage": other}]},
]


@pytest.mark.parametrize("reader", [readers.usage_fields, usage_of])
@pytest.mark.parametrize("form", FORMS[:3])
@pytest.mark.parametrize("holder", HOLDERS)
def test_two_usages_of_one_answer_are_one_where_they_agree_and_else_a_contradiction(
    holder: Any, form: Any, reader: Any
) -> None:
    """At each place where one is looked for, in dicts and objects, in whatever shape each is."""
    gemini = {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    for one, same in ((ONE, ONE), (ONE, gemini), (gemini, ONE), (ONE, zeros), (zeros, ONE)):
        fields = reader(form(holder(one, same)))
        assert (fields["prompt_tokens"], fields["completion_tokens"], fields.get("unpriced_usage")) == (100, 10, None)
    unpriced = reader(form(holder(ONE, OTHER)))["unpriced_usage"]
    assert "prompt_tokens, elsewhere in the answer: 100" in unpriced
    for name in ("cached_tokens", "audio_tokens"):
        fields = reader(form(holder(ONE, ONE | {"prompt_tokens_details": {name: 90}})))
        taken = name == "cached_tokens" and fields.get("cache_read_tokens") == 90
        assert taken or "90" in fields["unpriced_usage"]


MADE = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}


@pytest.mark.parametrize("reader", [readers.usage_fields, usage_of])
@pytest.mark.parametrize(
    ("details", "raw", "unpriced"),
    [
        ({}, ONE, None),
        ({"input_token_details": {"cache_read": 90}}, ONE, "cache_read_tokens, elsewhere in the answer: 90"),
        ({"input_token_details": {"audio": 90}}, ONE, "input_token_details.audio: 90"),
        ({}, OTHER, "prompt_tokens, elsewhere in the answer: 100"),
        ({}, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
        ({"input_token_details": {"cache_read": 90}}, ONE | {"prompt_tokens_details": {"cached_tokens": 90}}, None),
    ],
)
@pytest.mark.parametrize("name", ["token_usage", "usage"])
def test_what_langchain_makes_of_usage_and_what_it_was_made_of_agree_or_contradict(
    name: str, details: dict[str, Any], raw: dict[str, Any], unpriced: str | None, reader: Any
) -> None:
    """The provider's own counts, unless it counts nothing."""
    fields = reader({"type": "ai", "usage_metadata": MADE | details, "response_metadata": {"model": "m", name: raw}})
    assert fields["prompt_tokens"] == (raw["prompt_tokens"] or 100)
    assert fields.get("unpriced_usage") == unpriced


@pytest.mark.parametrize(
    ("above", "kinds", "is_known"),
    [
        (30, {"message": 30, "compaction": 100}, True),  # as documented
        (130, {"message": 30, "compaction": 100}, True),  # the sum of all
        (100, {"message": 30, "compaction": 100}, True),  # the first event of a stream
        (0, {"compaction": 100}, True),
        (100, {"compaction": 100}, True),
        (3, {"compaction": 100}, False),
        (90, {"message": 30, "compaction": 100}, False),
        (20, {"message": 30}, False),
        (140, {"message": 30, "compaction": 100}, False),
    ],
)
@pytest.mark.parametrize("role", ["fresh", "completion", "read", "written"])
def test_counts_above_iterations_are_of_some_of_them(
    role: Role, above: int, kinds: dict[str, int], is_known: bool
) -> None:
    """Each count by itself: of the messages, of all, or of one; else they contradict each other."""
    name = paths(ANTHROPIC, role)[0]
    listed = [{"type": kind, "input_tokens": 5, "output_tokens": 5, name: count} for kind, count in kinds.items()]
    whole = dict.fromkeys(("input_tokens", "output_tokens"), 5 * ("message" in kinds))
    fields = readers.usage_fields(whole | {name: above, "iterations": listed})
    assert (fields.get("unpriced_usage") is None) is is_known
