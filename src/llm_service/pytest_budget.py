"""The budget of a test session as a hard limit: once it is spent, a further call of an SDK raises `BudgetExceeded`.

A policy counts what the run has spent, in all processes that write the file. So a session costs at most as much more as
the calls do that are under way when it is spent.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from llm_service.config.files import locate
from llm_service.config.policies_schema import PoliciesConfig, PolicyConfig, load_policies
from llm_service.errors import BudgetExceeded

if TYPE_CHECKING:
    from llm_service.telemetry import BudgetStatus, TelemetryLogger

__all__ = ["SessionBudget", "policies_with"]

_POLICY: Final = "pytest-llm-budget"


def policies_with(budget: Decimal) -> PoliciesConfig:
    """The policies in force, and one of each run: so much in all. Every session shares its counter.

    Raises:
        ConfigError: (a `ValueError`) the policies.yaml that is found cannot be used.
    """
    path = locate("policies", None)
    found = {} if path is None else load_policies(path).policies
    ours = PolicyConfig(scope={"run": ("*",)}, per=("run",), total_budget_usd=budget, unknown_price="allow")
    return PoliciesConfig(policies={**found, _POLICY: ours})


class SessionBudget:
    """What a session may still spend.

    Args:
        logger: records the calls, under `policies_with` the budget.
        run_id: of the session.
        budget: USD.
    """

    def __init__(self, logger: "TelemetryLogger", run_id: str, budget: Decimal) -> None:
        self._logger = logger
        self._run_id = run_id
        self._budget = budget

    def admit(self) -> None:
        """Let a call through while something is left.

        Raises:
            BudgetExceeded: nothing is left.
        """
        __tracebackhide__ = True
        for row in self._logger.budgets.check(0, run=self._run_id):
            if row["budget"] == _POLICY and row["left"] <= 0:
                raise self._exceeded(row)

    def _exceeded(self, row: "BudgetStatus") -> BudgetExceeded:
        limit, left, spent, reserved, unknown = (
            Decimal(str(amount))
            for amount in (row["limit"], row["left"], row["spent"], row["reserved"], row["unknown"])
        )
        error = BudgetExceeded(
            _POLICY, window="total", metric="usd", limit=limit, spent=spent, reserved=reserved, unknown=unknown,
            asked=Decimal(0), subject=(self._run_id,),
        )  # fmt: skip
        error.args = (
            f"--llm-budget {self._budget:f}: this session has spent {limit - left:f} USD; no further call is made",
        )
        return error
