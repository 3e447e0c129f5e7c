"""What every test has: no configuration but its own."""

import os
import signal

import hypothesis
import pytest

hypothesis.settings.register_profile("any-machine", deadline=None)  # a busy machine is no fault of the code
hypothesis.settings.load_profile("any-machine")
# A run in the background of a shell, or under `nohup`, ignores these; children inherit that.
for _ignored, _default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_ignored) is signal.SIG_IGN:
        signal.signal(_ignored, _default)


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty folder."""
    return str(tmp_path_factory.mktemp("empty"))


@pytest.fixture(autouse=True)
def without_configuration(monkeypatch: pytest.MonkeyPatch, empty_folder: str) -> None:
    """Loggers look for models.yaml and policies.yaml: none of this project, nor of who runs the tests, is to be found."""
    for name in [name for name in os.environ if name.startswith("LLM_TELEMETRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)  # of this run, not of one that a test starts
    monkeypatch.setenv("XDG_CONFIG_HOME", empty_folder)
    monkeypatch.chdir(empty_folder)
