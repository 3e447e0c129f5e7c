"""On what each number of an estimate rests, in words: so that a guess does not look like knowledge."""

from typing import TYPE_CHECKING, Final

from llm_service.estimates.past_calls import MIN_SAMPLES, Level
from llm_service.estimates.tokens import PromptSource

if TYPE_CHECKING:
    from llm_service.estimates.estimate import Estimate

__all__ = ["GROUNDS", "HISTORY", "grounds_of"]

HISTORY: Final = "history"
"""The `price_source` of a cost that comes from past calls."""
GROUNDS: Final = ("given", "counted", "learned", "computed", "known", "upper bound", "guess", "none", "unknown")
"""How a ground begins. `unknown` says what to give."""

_PROMPT: Final[dict[PromptSource, str]] = {
    "given": "given",
    "tokenizer": "counted by the model's tokenizer",
    "learned": "learned: the ratio of past prompts",
    "bytes": "guess: a third of its bytes",
}
_OF: Final[dict[Level, str]] = {
    "agent+tool+model": "of this agent, tool and model",
    "agent+model": "of this agent and model",
    "model": "of this model",
    "default": "of all agents and models",
}
_LIMITS: Final = {
    "max_tokens": "upper bound: max_tokens",
    "models.yaml": "upper bound: max_output_tokens of models.yaml",
    "no_answer": "none: the call has no answer",
    None: "unknown: give max_tokens, or max_output_tokens in models.yaml",
}
_NO_PROMPT: Final = "give the prompt, as text, or its number of tokens"


def grounds_of(estimate: "Estimate") -> dict[str, str]:
    """By field of an estimate, and for `price`: what it rests on; it begins with one of `GROUNDS`."""
    source = estimate.prompt_tokens_source
    return {
        "prompt_tokens": f"unknown: {_NO_PROMPT}" if source is None else _PROMPT[source],
        "completion_tokens": _completion(estimate),
        "max_completion_tokens": _LIMITS[estimate.max_completion_tokens_source],
        "cost_usd": _cost(estimate),
        "max_cost_usd": _most(estimate),
        "price": _price(estimate),
    }


def _completion(estimate: "Estimate") -> str:
    if estimate.completion_tokens is None:
        return "unknown: there are no past calls"
    if estimate.max_completion_tokens_source == "no_answer":
        return _LIMITS["no_answer"]
    calls = f"{_calls(estimate.samples)} {_OF[estimate.level]}"
    if _is_guess(estimate):
        return f"guess: as {calls}, of which fewer than {MIN_SAMPLES} are of this model"
    return f"learned from {calls}"


def _is_guess(estimate: "Estimate") -> bool:
    """Whether the answer is as long as those of other models."""
    return estimate.level == "default" and estimate.samples > 0 and estimate.model_name is not None


def _cost(estimate: "Estimate") -> str:
    if estimate.cost_usd is not None:
        if estimate.price_source == HISTORY:
            return f"learned from what {_calls(estimate.cost_samples)} {_OF[estimate.level]} cost"
        how = "guess: of a guessed answer" if _is_guess(estimate) else "computed from the tokens"
        return f"{how} at the price of {estimate.price_source}"
    if estimate.price_remedy is not None:
        return f"unknown: no price is known; {estimate.price_remedy}"
    return f"unknown: {_NO_PROMPT}" if estimate.prompt_tokens is None else "unknown: there are no past calls"


def _most(estimate: "Estimate") -> str:
    if estimate.max_cost_usd is not None:
        return "upper bound: the most tokens of prompt and answer, at the dearest rates"
    if estimate.price_remedy is not None:
        return f"unknown: no price is known; {estimate.price_remedy}"
    return f"unknown: {_NO_PROMPT}" if estimate.max_prompt_tokens is None else _LIMITS[None]


def _price(estimate: "Estimate") -> str:
    if estimate.price_remedy is not None:
        return f"unknown: {estimate.price_remedy}"
    return "known, but not used" if estimate.price_source == HISTORY else f"known from {estimate.price_source}"


def _calls(number: int) -> str:
    return f"{number:,} call{'' if number == 1 else 's'}"
