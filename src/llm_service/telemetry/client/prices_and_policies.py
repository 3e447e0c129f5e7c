"""What a logger is told about money beside its settings: what models cost, and which limits its calls must fit into."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from llm_service.budgets.alerts import OnBudget
from llm_service.budgets.policies import Policies, compiled
from llm_service.config.files import locate
from llm_service.config.settings import Settings
from llm_service.errors import SettingsError
from llm_service.pricing.book import PriceBook

if TYPE_CHECKING:
    from llm_service.config.models_schema import ModelsConfig
    from llm_service.config.policies_schema import PoliciesConfig

    ModelsGiven = ModelsConfig | str | Path | Literal[False] | None
    PoliciesGiven = PoliciesConfig | str | Path | Literal[False] | None

__all__ = ["PricesAndPolicies"]


@dataclass(frozen=True, slots=True)
class PricesAndPolicies:
    """The arguments of both loggers, as they were given.

    Attributes:
        models: a models.yaml, or its schema; None for the one that `config.files.locate` finds, False for none.
        policies: a policies.yaml, or its schema; the same.
        policy: the name of the policy without a scope; None for `default`, or the only one.
        on_budget: called with a `BudgetEvent` when a threshold is passed, once a window among all processes.
    """

    models: "ModelsGiven" = None
    policies: "PoliciesGiven" = None
    policy: str | None = None
    on_budget: OnBudget | None = None

    def settled(self, settings: Settings, config: str | Path | None = None) -> Self:
        """The same, with the files that are in force, and paths that hold whatever the current directory is.

        Every logger, `from_config` and the commands find files by this one rule: see `config.files.locate`.

        Args:
            settings: one that stores nothing keeps no budget, so it takes no policies that were not given.
            config: the telemetry.yaml that was given; None where it is searched for.

        Raises:
            SettingsError: (a `ValueError`) for what is none of these.
            ConfigError: (a `ValueError`) an environment variable names a file that does not exist.
        """
        if self.on_budget is not None and not callable(self.on_budget):
            raise SettingsError("on_budget", self.on_budget, "give a callable that takes a BudgetEvent, or None")
        return replace(
            self,
            models=_found("models", self.models, config),
            policies=False
            if self.policies is None and settings.privacy_level == "none"
            else _found("policies", self.policies, config),
        )

    def given(self) -> dict[str, Any]:
        """The arguments by name, to make another logger with."""
        return {name: getattr(self, name) for name in self.__slots__}

    def prices(self) -> PriceBook:
        """What models cost."""
        if self.models is None or self.models is False:
            return PriceBook()
        from llm_service.config.models_schema import ModelsConfig, load_models  # noqa: PLC0415 - pydantic costs most of an import

        config = load_models(self.models) if isinstance(self.models, Path | str) else self.models
        if not isinstance(config, ModelsConfig):
            raise SettingsError("models", config, "give the path of a models.yaml, a ModelsConfig, or None")
        return PriceBook(config, source=str(self.models) if isinstance(self.models, Path) else "models.yaml")

    def limits(self, settings: Settings) -> Policies | None:
        """The policies, compiled; None without any. SettingsError for an unknown name, or where nothing is stored."""
        if self.policies is None or self.policies is False:
            if self.policy is not None:
                raise SettingsError("policy", self.policy, "give policies= as well: the file that the name stands in")
            return None
        if settings.privacy_level == "none":
            raise SettingsError("policies", self.policies, "budgets are kept in the file: use privacy_level metadata")
        from llm_service.config.policies_schema import PoliciesConfig, load_policies  # noqa: PLC0415 - as above

        config = load_policies(self.policies) if isinstance(self.policies, Path | str) else self.policies
        if not isinstance(config, PoliciesConfig):
            raise SettingsError("policies", config, "give the path of a policies.yaml, a PoliciesConfig, or None")
        return Policies(compiled(config), self.policy)


def _found(kind: Literal["models", "policies"], given: Any, config: str | Path | None) -> Any:
    """What was given, else the file that is in force, else False: a copy of the logger does not search again."""
    value = (locate(kind, config) or False) if given is None else given
    return Path(value).expanduser().absolute() if isinstance(value, str | Path) else value
