"""`estimate` on both loggers: what a call will take and cost, before it is made, from memory.

What is pure stands in `llm_service.estimates`, how the file is read in `learning`; here both are driven. They are
imported by the first estimate: who only logs does not pay for them.
"""

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from llm_service.budgets.scopes import Call
from llm_service.telemetry.client.purge_api import AsyncPurges, Purges
from llm_service.telemetry.client.shared import BaseClient
from llm_service.telemetry.writer.threads import off_the_loop

if TYPE_CHECKING:
    from llm_service.estimates.estimate import Estimate, Question
    from llm_service.estimates.tokens import Prompt
    from llm_service.telemetry.client.estimate_history import EstimateHistory

__all__ = ["AsyncEstimates", "Estimates"]

_MOST_PRICED: Final = 4_096
_LONG_CHARS: Final = 50_000
"""Prompts above this are counted in a thread: a tokenizer takes a millisecond for so many characters."""


class _EstimateHistory(BaseClient):
    """What both loggers do about an estimate."""

    _learning: "EstimateHistory | None" = None

    @property
    def _learner(self) -> "EstimateHistory":
        """Made with the first estimate: a logger that is never asked pays nothing."""
        learner = self._learning
        if learner is None or learner.pid != os.getpid():
            from llm_service.telemetry.client.estimate_history import EstimateHistory  # noqa: PLC0415

            self._learning = learner = EstimateHistory(self.db_path)
        return learner

    def _answer(self, question: "Question", learner: "EstimateHistory") -> "Estimate":
        from llm_service.estimates.estimate import make_estimate, with_cheaper  # noqa: PLC0415

        estimate = make_estimate(question, learner.history, self.prices, learner.ratios, learner.tokenizer)
        return with_cheaper(estimate, self.prices) if self._prefers_cheaper(estimate) else estimate

    def _prefers_cheaper(self, estimate: "Estimate") -> bool:
        """Whether a policy that covers the call wants to hear of cheaper models for a prompt as short."""
        policies, tokens = self._engine.money.terms.policies, estimate.prompt_tokens
        if policies is None or tokens is None:
            return False
        call = Call(estimate.agent_name, estimate.tool_name, estimate.model_name)
        bounds = (policy.prefer_cheaper_under_tokens for policy in policies.applying(call))
        return any(bound is not None and tokens < bound for bound in bounds)

    def _answer_after(self, question: "Question", learner: "EstimateHistory", *, fresh: bool) -> "Estimate":
        if fresh:
            learner.refresh()
        else:
            learner.load()
        answer = self._answer(question, learner)
        if len(learner.priced) < _MOST_PRICED:
            learner.priced.add((question.model_name, question.provider, question.service_tier))
        return answer


class AsyncEstimates(_EstimateHistory, AsyncPurges):
    """`await telemetry.estimate(...)`."""

    async def estimate(
        self,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        provider: str | None = None,
        prompt: "Prompt | None" = None,
        prompt_tokens: int | None = None,
        max_tokens: int | None = None,
        service_tier: str | None = None,
        fresh: bool = False,
    ) -> "Estimate":
        """See `TelemetryLogger.estimate`. What may take longer than a moment is done in a thread, not on the loop."""
        question = _question(
            agent_name, tool_name, model_name, provider, prompt, prompt_tokens, max_tokens, service_tier
        )
        learner = self._learner
        if fresh and not (await self.flush()).complete:
            raise self._late("what was accepted could not be flushed; pass fresh=False to go without it",
                             self._settings.commit_timeout)  # fmt: skip
        if learner.loaded and not fresh and not _is_slow(question, learner):
            learner.refresh_soon()
            return self._answer(question, learner)
        return await off_the_loop(partial(self._answer_after, question, learner, fresh=fresh))


class Estimates(_EstimateHistory, Purges):
    """`logger.estimate(...)`."""

    def estimate(
        self,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        provider: str | None = None,
        prompt: "Prompt | None" = None,
        prompt_tokens: int | None = None,
        max_tokens: int | None = None,
        service_tier: str | None = None,
        fresh: bool = False,
    ) -> "Estimate":
        """What a call will take and cost, from the past of such calls and today's prices.

        The first estimate reads the newest 20,000 calls of the file, whoever wrote them; later ones are answered from
        memory within 0.1 ms, and what is older than 5 s is brought up to date in the background.

        Args:
            agent_name, tool_name, model_name: as the record of the call will have them. Where such calls are fewer than
                30, those of agent and model are asked, then those of the model, then all.
            provider: who serves the model, where prices differ by it.
            prompt: the text, or chat messages as dicts with `role` and `content`; counted exactly where the extra
                `tokens` is installed and the model is OpenAI's, else by the ratio of past prompts, else by bytes.
            prompt_tokens: how many tokens the prompt has, where that is known. Give one of the two, or neither.
            max_tokens: what the answer is limited to; with it there is a hard upper bound of the cost.
            service_tier: as the record will have it (`batch`, `priority`), where prices differ by it.
            fresh: True flushes and reads the file first, so that everything logged before this call counts.

        Raises:
            QueryError: (a `ValueError`) naming the argument, the value and the remedy.
            CommitTimeoutError: `fresh`, and what was accepted before could not be flushed.
            StoreError: the first estimate, or a fresh one, and the file cannot be read.
        """
        question = _question(
            agent_name, tool_name, model_name, provider, prompt, prompt_tokens, max_tokens, service_tier
        )
        learner = self._learner
        if fresh and not self.flush().complete:
            raise self._late("what was accepted could not be flushed; pass fresh=False to go without it",
                             self._settings.commit_timeout)  # fmt: skip
        if fresh or not learner.loaded:
            return self._answer_after(question, learner, fresh=fresh)
        learner.refresh_soon()
        return self._answer(question, learner)


def _question(*arguments: Any) -> "Question":
    from llm_service.estimates.estimate import Question  # noqa: PLC0415

    return Question(*arguments)


def _is_slow(question: "Question", learner: "EstimateHistory") -> bool:
    """Whether the answer may hold up a loop: prices looked up for the first time, a vocabulary, or a long prompt."""
    if (question.model_name, question.provider, question.service_tier) not in learner.priced:
        return True
    prompt = question.prompt
    if prompt is None:
        return False
    return not isinstance(prompt, str) or len(prompt) > _LONG_CHARS or learner.tokenizer.is_slow(question.model_name)
