"""Estimates tokens and cost of a call before it is made: quantiles from the past, and an upper bound if possible.

Pure: history, prices and tokenizer are arguments. Money is integer nano-dollars inside and `Decimal` outside.
"""

from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from llm_service.errors import QueryError
from llm_service.estimates.grounds import HISTORY, grounds_of
from llm_service.estimates.past_calls import History, Level, Past
from llm_service.estimates.quantiles import Quantiles
from llm_service.estimates.tokens import Prompt, PromptSize, PromptSource, Tokenizer, TokenRatios, size_of
from llm_service.pricing.model_names import candidates, provider_of, spellings
from llm_service.redaction import stored_name

if TYPE_CHECKING:
    from llm_service.config.models_schema import ModelConfig
    from llm_service.pricing.book import PriceBook
    from llm_service.pricing.rates import Rates

__all__ = ["HISTORY", "CheaperModel", "Estimate", "Question", "cheaper", "make_estimate", "with_cheaper"]

_MAX_TOKENS: Final = 10**12
_REMEDY: Final = "write it into models.yaml"
LimitSource = Literal["max_tokens", "models.yaml", "no_answer"]


@dataclass(frozen=True, slots=True)
class Question:
    """The call to be estimated.

    Attributes:
        agent_name, tool_name, model_name, provider: as the record of the call will have them; None if unknown.
        prompt: the text or the messages; or
        prompt_tokens: their number of tokens; or neither.
        max_tokens: the limit of the answer, including reasoning.
        service_tier: as the record will have it (`batch`, `priority`); None is the standard one.
        request_model: the name that the model is asked by, where that differs.
        region: where the cloud will run it, where the name does not say; None is what the name says.
        no_answer: True where it is known to have none, such as an embedding.
        hidden_tokens: that the provider adds to the prompt, at most.
        whole: False where the model reads more than the prompt.

    Raises:
        QueryError: (a `ValueError`) with argument, value and remedy.
    """

    agent_name: str | None = None
    tool_name: str | None = None
    model_name: str | None = None
    provider: str | None = None
    prompt: Prompt | None = None
    prompt_tokens: int | None = None
    max_tokens: int | None = None
    service_tier: str | None = None
    request_model: str | None = None
    region: str | None = None
    no_answer: bool = False
    hidden_tokens: int = 0
    whole: bool = True

    def __post_init__(self) -> None:
        for field in ("agent_name", "tool_name", "model_name", "provider", "service_tier", "request_model", "region"):
            name: object = getattr(self, field)
            if name is not None and (not isinstance(name, str) or not name):
                raise QueryError(field, name, "give a non-empty str, or None where it is unknown")
            if name is not None:  # past calls are stored under redacted names
                object.__setattr__(self, field, stored_name(name))
        for field, least in (("prompt_tokens", 0), ("max_tokens", 1)):
            tokens: object = getattr(self, field)
            if tokens is not None and (type(tokens) is not int or not least <= tokens <= _MAX_TOKENS):
                raise QueryError(field, tokens, f"give a whole number from {least} to {_MAX_TOKENS:,}, or None")
        if self.prompt is not None and self.prompt_tokens is not None:
            raise QueryError("prompt_tokens", self.prompt_tokens, "give prompt or prompt_tokens, not both")

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names that the model has, each once; none if unknown."""
        return tuple(dict.fromkeys(name for name in (self.model_name, self.request_model) if name is not None))

    @property
    def price_key(self) -> tuple[str | None, ...]:
        """All that its price depends on beside the time."""
        return self.model_name, self.provider, self.service_tier, self.request_model, self.region

    def rates(self, prices: "PriceBook") -> "Rates | None":
        """The rates of the call, if it is made now; None if no price is known."""
        return prices.rates(
            self.model_name,
            self.provider,
            service_tier=self.service_tier,
            request_model=self.request_model,
            region=self.region,
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated tokens and cost of a call. None is unknown, never 0.

    Attributes:
        agent_name, tool_name, model_name: of the question.
        prompt_tokens: of the given prompt; None without one, and of one with parts other than text (images).
        prompt_tokens_source: `given`, `tokenizer` (exact for a text, almost exact for messages), `learned` from past
            prompts, or `bytes`: one token for three bytes, more than for ordinary text.
        completion_tokens: p50, p90 and p99 of the answer, at most `max_completion_tokens`; None without past calls.
        max_completion_tokens: the limit of the call, or of the model in models.yaml, whichever is less; 0 where it has
            no answer (an embedding, or a model without a price of output).
        cost_usd: the cost at each of these, with the whole prompt at the full input price; where the tokens of the
            prompt or the price are unknown, the cost of past calls. USD.
        max_cost_usd: an upper bound, if nothing but the prompt is sent; None unless the price, a bound of the prompt's
            tokens and the limit of the answer are known; no limit is needed where an answer costs nothing. USD.
        samples: past calls that the quantiles rest on.
        level: the names that those calls share with this one; `default` is all calls.
        coverage: how often the quantiles of this level held recently, 0 to 1, for p50, p90 and p99; None before the
            first prediction. The targets are 0.5, 0.9 and 0.99.
        price_source: the source of the price; `history` if `cost_usd` is the cost of past calls.
        cost_coverage: like `coverage`, for a cost from past calls.
        max_prompt_tokens: an upper bound of the prompt's tokens, used for `max_cost_usd`; None if unknown.
        service_tier, region: of the question; None is the standard tier, and the region that the name says.
        max_completion_tokens_source: what says so: `max_tokens` of the call, `models.yaml`, or `no_answer`.
        cost_samples: past calls that `cost_usd` rests on, if it is the cost of past calls; else 0.
        price_remedy: how to give the price, if none is known; else None.
    """

    agent_name: str | None
    tool_name: str | None
    model_name: str | None
    prompt_tokens: int | None
    prompt_tokens_source: PromptSource | None
    completion_tokens: Quantiles[int] | None
    max_completion_tokens: int | None
    cost_usd: Quantiles[Decimal] | None
    max_cost_usd: Decimal | None
    samples: int
    level: Level
    coverage: Quantiles[float] | None
    price_source: str | None
    cost_coverage: Quantiles[float] | None = None
    cheaper_models: "tuple[CheaperModel, ...]" = ()
    max_prompt_tokens: int | None = None
    service_tier: str | None = None
    region: str | None = None
    max_completion_tokens_source: LimitSource | None = None
    cost_samples: int = 0
    price_remedy: str | None = None

    @property
    def grounds(self) -> dict[str, str]:
        """What each number rests on, in words, by its field; and what is known of the `price`."""
        return grounds_of(self)

    def hold_usd(self) -> Decimal | None:
        """The amount that a budget should reserve, in USD: the upper bound, if known, else the cost at p99."""
        if self.max_cost_usd is not None:
            return self.max_cost_usd
        return None if self.cost_usd is None else self.cost_usd.p99

    def to_dict(self) -> dict[str, Any]:
        """For JSON: quantiles as objects with p50, p90 and p99, USD as numbers; and `grounds`."""
        named = asdict(self)
        for field in ("completion_tokens", "cost_usd", "coverage", "cost_coverage"):
            quantiles: Quantiles[Any] | None = getattr(self, field)
            named[field] = None if quantiles is None else {p: _plain(value) for p, value in quantiles._asdict().items()}
        named["max_cost_usd"] = _plain(self.max_cost_usd)
        named["cheaper_models"] = [{**one._asdict(), "cost_usd": float(one.cost_usd)} for one in self.cheaper_models]
        return named | {"grounds": self.grounds}


def make_estimate(
    question: Question,
    history: History,
    prices: "PriceBook",
    ratios: TokenRatios | None = None,
    tokenizer: Tokenizer | None = None,
) -> Estimate:
    """Estimate from past calls and today's prices.

    Raises:
        QueryError: the prompt is neither a text nor messages.
    """
    agent, tool, model = question.agent_name, question.tool_name, question.model_name or question.request_model
    rates = question.rates(prices)
    past = history.past(agent, tool, question.model_name, question.request_model)
    limit, limited_by = _limit(question, prices, rates)
    if question.no_answer:
        past, limit, limited_by = _without_answer(past), 0, "no_answer"
    elif rates is not None and not rates.gives_output and not _has_answered(past):  # as embeddings
        past, limit, limited_by = _without_answer(past), limit or 0, "no_answer"
    prompt = _prompt_size(question, ratios or TokenRatios(), tokenizer)
    completion = past.completion_tokens
    if completion is not None and limit is not None:
        completion = Quantiles(*(min(tokens, limit) for tokens in completion))
    costs, source = None, None if rates is None else rates.source
    if rates is not None and prompt is not None and prompt.whole and completion is not None:
        costs = _costs(rates, prompt.tokens, completion)
    told = False
    # The cost of other models' calls says nothing about this one's.
    if costs is None and past.cost_nanos is not None and (past.level != "default" or model is None):
        costs, source, told = past.cost_nanos, HISTORY, True
    most_prompt = None if prompt is None else prompt.at_most
    most = None
    is_free = rates is not None and rates.gives_output and not rates.needs_output  # an answer, however long it is
    if rates is not None and most_prompt is not None and (limit is not None or is_free):
        most = rates.most_nanos(most_prompt, limit or 0)
    return Estimate(
        agent_name=agent,
        tool_name=tool,
        model_name=model,
        prompt_tokens=prompt.tokens if prompt is not None and prompt.whole else None,
        prompt_tokens_source=prompt.source if prompt is not None and prompt.whole else None,
        completion_tokens=completion,
        max_completion_tokens=limit,
        cost_usd=None if costs is None else Quantiles(*map(_usd, costs)),
        max_cost_usd=None if most is None else _usd(most),
        samples=past.samples,
        level=past.level,
        coverage=past.coverage,
        price_source=source,
        cost_coverage=past.cost_coverage if told else None,
        max_prompt_tokens=most_prompt,
        service_tier=question.service_tier,
        region=question.region,
        max_completion_tokens_source=limited_by,
        cost_samples=past.cost_samples if told else 0,
        price_remedy=None if rates is not None else _price_remedy(question, prices),
    )


def _price_remedy(question: Question, prices: "PriceBook") -> str:
    """How to give a price that is not known."""
    if not question.model_names:
        return "name the model"
    from llm_service.pricing.book import NO_BUNDLED  # noqa: PLC0415

    return f"{NO_BUNDLED}, or {_REMEDY}" if prices.lacks_bundled else _REMEDY


def _has_answered(past: Past) -> bool:
    """Whether calls of this very model gave an answer."""
    return past.level != "default" and past.completion_tokens is not None and past.completion_tokens.p99 > 0


def _without_answer(past: Past) -> Past:
    """The past of a call that has no answer: other models' answers are none of its own."""
    nothing = Quantiles(0, 0, 0)
    if past.level == "default":
        return past._replace(samples=0, completion_tokens=nothing, coverage=None)
    return past._replace(completion_tokens=nothing)


def _prompt_size(question: Question, ratios: TokenRatios, tokenizer: Tokenizer | None) -> PromptSize | None:
    if question.prompt_tokens is not None:
        return PromptSize(question.prompt_tokens, "given", question.prompt_tokens)
    if question.prompt is None:
        return None
    size = size_of(question.prompt, question.agent_name, question.model_names, ratios, tokenizer)
    if not question.whole:
        return size._replace(at_most=None, whole=False)
    hidden = question.hidden_tokens
    most = None if size.at_most is None else size.at_most + hidden
    return size._replace(tokens=size.tokens if size.source == "learned" else size.tokens + hidden, at_most=most)


def _costs(rates: "Rates", prompt_tokens: int, completion: Quantiles[int]) -> Quantiles[int] | None:
    """The costs at the quantiles of the answer: cost grows with the answer, so these are its quantiles."""
    p50, p90, p99 = (rates.cost_nanos(prompt_tokens, tokens) for tokens in completion)
    return None if p50 is None or p90 is None or p99 is None else Quantiles(p50, p90, p99)


def _limit(question: Question, prices: "PriceBook", rates: "Rates | None") -> tuple[int | None, LimitSource | None]:
    """What limits the answer, and what says so."""
    asked = (
        _config_of(prices, name, question.provider, rates) for name in (question.request_model, question.model_name)
    )
    found = next((config for config in asked if config is not None), None)
    said, listed = question.max_tokens, None if found is None else found.max_output_tokens
    if said is not None and (listed is None or said <= listed):
        return said, "max_tokens"
    return listed, None if listed is None else "models.yaml"


def _config_of(
    prices: "PriceBook", model_name: str | None, provider: str | None, rates: "Rates | None"
) -> "ModelConfig | None":
    """The model's entry in models.yaml, with or without prices, found by the same names as prices."""
    models = prices.models()
    if model_name is None or not models:
        return None
    config = models.get(model_name) or (None if rates is None else models.get(rates.model))
    if config is None:
        wanted = {each for one in candidates(model_name, provider) for each in spellings(one.name, one.provider)}
        wanted.add(model_name.strip().lower())
        named = ((config, (name, *config.aliases)) for name, config in models.items())
        config = next((config for config, names in named if not wanted.isdisjoint(map(str.lower, names))), None)
    theirs = None if config is None else provider_of(config.provider)
    return None if theirs is not None and provider_of(provider) not in {None, theirs} else config


def _usd(nanos: int) -> Decimal:
    return Decimal(nanos).scaleb(-9)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


class CheaperModel(NamedTuple):
    """Another model for the same call.

    Attributes:
        model_name: as in models.yaml.
        cost_usd: at p50, USD.
    """

    model_name: str
    cost_usd: Decimal


def cheaper(prices: "PriceBook", estimate: Estimate) -> list[CheaperModel]:
    """Models of models.yaml that suit the same tasks, have room for the call, and cost less at p50; cheapest first.

    The answer is assumed to be as long as the estimated one. Empty if the price, prompt or answer is unknown.
    """
    completion, prompt_tokens, costs = estimate.completion_tokens, estimate.prompt_tokens, estimate.cost_usd
    tier, region = estimate.service_tier, estimate.region
    asked = _config_of(prices, estimate.model_name, None, prices.rates(estimate.model_name))
    if asked is None or completion is None or prompt_tokens is None or costs is None:
        return []
    found: list[CheaperModel] = []
    for name, config in prices.models().items():
        window, suits = config.context_window, not set(asked.task_suitability).isdisjoint(config.task_suitability)
        rates = prices.rates(name, config.provider, service_tier=tier, region=region)
        if config is asked or rates is None or not suits:
            continue
        if window is not None and window < prompt_tokens + completion.p99:
            continue
        nanos = rates.cost_nanos(prompt_tokens, completion.p50)
        if nanos is not None and _usd(nanos) < costs.p50:
            found.append(CheaperModel(name, _usd(nanos)))
    return sorted(found, key=lambda model: (model.cost_usd, model.model_name))


def with_cheaper(estimate: Estimate, prices: "PriceBook") -> Estimate:
    """The estimate with the results of `cheaper`."""
    return replace(estimate, cheaper_models=tuple(cheaper(prices, estimate)))
