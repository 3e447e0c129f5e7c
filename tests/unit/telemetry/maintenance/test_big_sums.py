"""Sums beyond 64 bits: they go on being counted, limits hold, nothing is taken for damage, and doctor says it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.model.ledger import policies

from llm_service.errors import BudgetExceeded
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.maintenance.repair import repair
from llm_service.telemetry.stores.sqlite import big_sums
from llm_service.telemetry.stores.sqlite.budget_statements import AMOUNTS, Change, Place, add_to_windows, to_totals
from llm_service.telemetry.stores.sqlite.odd_values import rows_of

LIMITED = policies(
    default={"daily_budget_usd": 10**8, "total_budget_usd": 10**8, "limits": [{"window": "24h", "usd": 10**8}]}
)
CALLS = 9_300
"""Of a million dollars each: more nano-dollars than 64 bits hold."""


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed file of many dear calls."""
    path = tmp_path_factory.mktemp("rich") / "telemetry.db"
    with TelemetryLogger(path, policies=LIMITED, models=False) as logger:
        for _ in range(CALLS):
            logger.log_invocation_nowait(InvocationRecord(agent_name="a", cost_usd=10**6))
    return path


def test_what_is_beyond_64_bits_is_counted_and_limited(rich: Path) -> None:
    """In windows, daily totals and reports; a call is refused for the limit, not for damage."""
    with TelemetryLogger(rich, policies=LIMITED, models=False) as logger:
        for row in logger.budgets.status():
            assert (row["spent"], row["damaged"], row["fits"]) == (CALLS * 1e6, False, False), row["window"]
        with pytest.raises(BudgetExceeded, match="9,300,000,000 spent"):
            logger.budgets.reserve(usd=1, agent_name="a")
        assert logger.get_daily_costs()[0]["total_cost_usd"] == CALLS * 1e6


def test_doctor_says_where_sums_are_not_exact_any_more(rich: Path) -> None:
    """And finds nothing wrong."""
    found = examine(rich)
    assert [one for one in found if one.name in {"budgets", "aggregates", "odd_values"} and one.exit_code] == []
    for check in ("budgets", "aggregates"):
        (said,) = [one for one in found if one.check == check]
        assert "beyond 64 bits, and exact to a millionth" in said.seen


@pytest.mark.costly
@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (table, column, value)
        for table, column in (("budget_windows", "spent_nanos"), ("daily_costs", "cost_nanos"))
        for value in ("1.0", "'many'", "5", "2e19", "1e300")
    ],
)
def test_a_wrong_sum_beside_is_repaired(rich: Path, tmp_path: Path, table: str, column: str, value: str) -> None:
    """To the true one, though that is beyond 64 bits."""
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(rich)) as source, closing(sqlite3.connect(copy)) as connection:
        source.backup(connection)
        connection.execute(f"UPDATE {table} SET {column} = {value}")
        connection.commit()
    assert {one.name for one in examine(copy) if one.exit_code} & {"budgets", "aggregates"}
    repair(copy)
    assert not {one.name for one in examine(copy) if one.exit_code} & {"budgets", "aggregates", "odd_values"}
    with closing(sqlite3.connect(copy)) as connection:
        for (found,) in connection.execute(f"SELECT {column} FROM {table}"):
            assert big_sums.are_same(int(found), CALLS * 10**15)


@pytest.mark.parametrize("column", AMOUNTS)
def test_each_amount_goes_beyond_64_bits_and_back(rich: Path, tmp_path: Path, column: str) -> None:
    """By steps, in one, and where two halves are added up."""
    place = Place(1, "[]", "2026-01-01 00:00:00.000000Z")

    def add(connection: sqlite3.Connection, *numbers: int) -> Any:
        for number in numbers:
            amounts = [number if name == column else 0 for name in AMOUNTS]
            change = Change(*(to_totals(amounts)[:3]), amounts[9])
            for statement, parameters in add_to_windows([(place, change)]):
                connection.execute(statement, parameters)
        ((found, is_damaged),) = connection.execute(
            f"SELECT {column}, NOT {big_sums.is_sum(column)} FROM budget_windows WHERE window_start = ?",
            place[2:],
        )
        assert not is_damaged
        return found

    with closing(sqlite3.connect(rich)) as source, closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        source.backup(connection)
        most = big_sums.MOST
        assert add(connection, most) == most
        assert add(connection, most, most) == pytest.approx(3 * most)
        assert add(connection, -3 * most) == pytest.approx(0, abs=10_000)
        assert add(connection, 10 * most) == pytest.approx(10 * most)
        assert isinstance(add(connection, -10 * most, 7), int)
        query = f"SELECT sum({column} + {most}) FROM budget_windows"
        assert rows_of(connection, query)[0][0] >= most


def test_ordinary_sums_stay_exact(names: Callable[..., dict[str, str]], db: Path) -> None:
    """To the last unit."""
    assert names(db) == {}
    assert big_sums.storable(big_sums.MOST) == big_sums.MOST
    assert isinstance(big_sums.storable(big_sums.MOST + 1), float)
    assert not big_sums.are_same(big_sums.MOST, big_sums.MOST - 1)
    assert big_sums.are_same(10 * big_sums.MOST, 10 * big_sums.MOST + 1)
    assert [big_sums.is_sum_value(value) for value in (1, 1.5, 1e19, 1e30, "x", None)] == [
        True,
        False,
        True,
        False,
        False,
        False,
    ]
