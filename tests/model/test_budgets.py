"""Random lives of a file with budgets, each step of which a small model must agree with."""

import pytest
from hypothesis import HealthCheck, settings
from tests.model.budgets import BudgetsBesideModel

TestBudgetsBesideModel = BudgetsBesideModel.TestCase
TestBudgetsBesideModel.pytestmark = [
    pytest.mark.volume,
    pytest.mark.timeout(400),
]  # some ten seconds on an idle machine
TestBudgetsBesideModel.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
