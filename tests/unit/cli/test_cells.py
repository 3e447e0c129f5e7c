"""Single values: what is not known is never a zero, and what is not nothing never looks like nothing."""

from decimal import Decimal

import pytest

from llm_service.cli.command_estimate import _bound
from llm_service.cli.tables import UNKNOWN, sum_usd, usd


@pytest.mark.parametrize(
    ("amount", "digits", "shown"),
    [
        (None, 4, "-"),
        (0, 4, "0.0000"),
        (1234.5, 4, "1,234.5000"),
        (0.00005, 4, "0.0001"),
        (0.000049, 4, "<0.0001"),
        (-0.00001, 4, ">-0.0001"),
        (1e-12, 6, "<0.000001"),
        (Decimal("4e-7"), 6, "<0.000001"),
        (Decimal("0.0024"), 6, "0.002400"),
    ],
)
def test_an_amount_that_is_not_nothing_never_looks_like_nothing(
    amount: float | Decimal | None, digits: int, shown: str
) -> None:
    """A call of a thousandth of a cent was not free."""
    assert usd(amount, digits) == shown


def test_a_sum_of_calls_without_a_known_cost_is_unknown() -> None:
    """Of none it is 0, of some known it is theirs."""
    assert sum_usd({"invocations": 2, "unpriced": 2, "cost_nanos": 0}) == UNKNOWN
    assert sum_usd({"invocations": 0, "unpriced": 0, "cost_nanos": 0}) == "0.0000"
    assert sum_usd({"invocations": 2, "unpriced": 1, "cost_nanos": 25}) == "<0.0001"


def test_a_bound_is_rounded_up() -> None:
    """To the millionth of a dollar that it does not exceed."""
    assert [_bound(Decimal(most)) for most in ("0.0000625", "0.000000001", "0", "12345.6")] == [
        "0.000063 USD", "0.000001 USD", "0.000000 USD", "12,345.600000 USD",
    ]  # fmt: skip
