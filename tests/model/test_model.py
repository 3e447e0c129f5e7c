"""A hundred random lives of a logger, each step compared with the model; `python -m tests.model.soak` runs longer."""

import pytest
from hypothesis import HealthCheck, settings
from tests.model.machine import EngineBesideModel

TestEngineBesideModel = EngineBesideModel.TestCase
TestEngineBesideModel.pytestmark = [pytest.mark.volume, pytest.mark.timeout(400)]  # some ten seconds on an idle machine
TestEngineBesideModel.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
