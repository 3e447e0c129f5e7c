"""`estimate` on both clients: what a call will take and cost, before it is made, from memory.

What is pure stands in `llm_service.estimates`, how the file is read in `estimate_history`. They are imported by the
first estimate: who only logs does not pay for them.
"""

from functools import partial
from typing import TYPE_CHECKING, Final

from llm_service.budgets.scopes import Call
from llm_service.telemetry.client.client_core import ClientCore
from llm_service.telemetry.client.steps import Steps, Work

if TYPE_CHECKING:
    from llm_service.estimates.estimate import Estimate, Question
    from llm_service.estimates.tokens import Prompt
    from llm_service.telemetry.client.estimate_history import EstimateHistory

__all__ = ["estimate", "estimate_of"]

_MOST_PRICED: Final = 4_096
_LONG_CHARS: Final = 50_000
"""Prompts above this are counted in a thread: a tokenizer takes a millisecond for so many characters."""


def estimate(
    core: ClientCore,
    agent_name: str | None = None,
    tool_name: str | None = None,
    model_name: str | None = None,
    *,
    provider: str | None = None,
    prompt: "Prompt | None" = None,
    prompt_tokens: int | None = None,
    max_tokens: int | None = None,
    service_tier: str | None = None,
    request_model: str | None = None,
    region: str | None = None,
    fresh: bool = False,
) -> Steps["Estimate"]:
    """What a call will take and cost, from the past of such calls and today's prices.

    A call is one of the model that was asked for (`request_model`) and of the one that answered. What each number rests
    on is in `grounds` of the estimate.

    The first estimate reads the newest 20,000 calls of the file, whoever wrote them; later ones are answered from
    memory within 0.1 ms, and what is older than 5 s is brought up to date in the background. On an event loop, what may
    take longer than a moment is done in a thread.

    Args:
        agent_name, tool_name, model_name: as the record of the call will have them. Where such calls are fewer than
            30, those of agent and model are asked, then those of the model, then all.
        provider: who serves the model, where prices differ by it.
        prompt: the text, or chat messages as dicts with `role` and `content`; counted exactly where the extra
            `tokens` is installed and the model is OpenAI's, else by the ratio of past prompts, else by bytes.
        prompt_tokens: how many tokens the prompt has, where that is known. Give one of the two, or neither.
        max_tokens: what the answer is limited to; with it there is a hard upper bound of the cost.
        service_tier: as the record will have it (`batch`, `priority`), where prices differ by it.
        request_model: the name that the model is asked by, where that differs.
        region: as the record will have it, where prices differ by it and the name does not say it.
        fresh: True flushes and reads the file first, so that everything logged before this call counts.

    Raises:
        QueryError: (a `ValueError`) naming the argument, the value and the remedy.
        CommitTimeoutError: `fresh`, and what was accepted before could not be flushed.
        StoreError: the first estimate, or a fresh one, and the file cannot be read.
    """
    from llm_service.estimates.estimate import Question  # noqa: PLC0415

    question = Question(
        agent_name, tool_name, model_name, provider, prompt, prompt_tokens, max_tokens, service_tier, request_model,
        region,
    )  # fmt: skip
    return (yield from estimate_of(core, question, fresh=fresh))


def estimate_of(core: ClientCore, question: "Question", *, fresh: bool = False) -> Steps["Estimate"]:
    """As `estimate`."""
    history = core.history
    if fresh:
        yield from core.flushed("; pass fresh=False to go without it")
    elif history.loaded:
        history.refresh_soon()
        if not _is_slow(question, history):
            return _answer(core, question, history)
    return (yield from Work(partial(_answer_slowly, core, question, history, fresh=fresh)))


def _answer(core: ClientCore, question: "Question", history: "EstimateHistory") -> "Estimate":
    from llm_service.estimates.estimate import make_estimate, with_cheaper  # noqa: PLC0415

    estimate = make_estimate(question, history.history, core.prices, history.ratios, history.tokenizer)
    return with_cheaper(estimate, core.prices) if _prefers_cheaper(core, estimate) else estimate


def _prefers_cheaper(core: ClientCore, estimate: "Estimate") -> bool:
    """Whether a policy that covers the call wants to hear of cheaper models for a prompt as short."""
    policies, tokens = core.engine.policies, estimate.prompt_tokens
    if policies is None or tokens is None:
        return False
    call = Call(estimate.agent_name, estimate.tool_name, estimate.model_name)
    bounds = (policy.prefer_cheaper_under_tokens for policy in policies.applying(call))
    return any(bound is not None and tokens < bound for bound in bounds)


def _answer_slowly(core: ClientCore, question: "Question", history: "EstimateHistory", *, fresh: bool) -> "Estimate":
    if fresh:
        history.refresh()
    elif not history.loaded:
        history.load()
    answer = _answer(core, question, history)
    if len(history.priced) < _MOST_PRICED:
        history.priced.add(question.price_key)
    return answer


def _is_slow(question: "Question", history: "EstimateHistory") -> bool:
    """Whether the answer may hold up a loop: prices looked up for the first time, a vocabulary, or a long prompt."""
    if question.price_key not in history.priced:
        return True
    prompt = question.prompt
    if prompt is None:
        return False
    return (
        not issubclass(type(prompt), str)
        or len(prompt) > _LONG_CHARS
        or any(map(history.tokenizer.is_slow, question.model_names))
    )
