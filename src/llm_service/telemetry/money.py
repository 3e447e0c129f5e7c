"""What a logger is told about money beside its settings: which limits its calls have to fit into."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_service.budgets.events import OnBudget
from llm_service.budgets.policies import Policies, compiled
from llm_service.config.settings import Settings
from llm_service.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from llm_service.config.policies import PoliciesConfig

__all__ = ["Money"]


@dataclass(frozen=True, slots=True)
class Money:
    """The arguments of both faces, as they were given.

    Attributes:
        policies: a policies.yaml, or its schema; None for no limits.
        policy: the name of the policy without a scope; None for `default`.
        on_budget: called with a `BudgetEvent` when a threshold is passed, once a window among all processes.
    """

    policies: "PoliciesConfig | str | Path | None" = None
    policy: str | None = None
    on_budget: OnBudget | None = None

    def given(self) -> dict[str, Any]:
        """The arguments by name, to make another logger with."""
        return {"policies": self.policies, "policy": self.policy, "on_budget": self.on_budget}

    def limits(self, settings: Settings) -> Policies | None:
        """The policies, compiled; None where there are none.

        Raises:
            ConfigError: (a `ValueError`) naming file, line, key and remedy.
            SettingsError: (a `ValueError`) no such policy, or a logger that stores nothing cannot keep a budget.
        """
        if self.on_budget is not None and not callable(self.on_budget):
            raise SettingsError("on_budget", self.on_budget, "give a callable that takes a BudgetEvent, or None")
        if self.policies is None:
            if self.policy is not None:
                raise SettingsError("policy", self.policy, "give policies= as well: the file that the name stands in")
            return None
        if settings.privacy_level == "none":
            raise SettingsError("policies", self.policies, "budgets are kept in the file: use privacy_level metadata")
        from llm_service.config.policies import as_policies  # noqa: PLC0415 - pydantic costs most of an import

        config = as_policies(self.policies)
        return None if config is None else Policies(compiled(config), self.policy)
