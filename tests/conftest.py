"""What every test has: no configuration but its own."""

import gc
import importlib
import os
import pkgutil
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import llm_service

pytest.register_assert_rewrite("tests.sdk_cases.case")
hypothesis.settings.register_profile("any-machine", deadline=None)  # a busy machine is no fault of the code
hypothesis.settings.load_profile("any-machine")
# A run in the background of a shell, or under `nohup`, ignores these; children inherit that.
for _ignored, _default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_ignored) is signal.SIG_IGN:
        signal.signal(_ignored, _default)


# A test makes one database or more, and each commit of one waits for the disk. In memory the suite takes half the time;
# where a disk is full or failing, a test says so itself. Not where memory for files is small, as in some containers.
_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes folders of its own in it, readable by this user alone
if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

# Nothing here speaks TLS, and each client that a test or a process of it makes loads all authorities: 20 ms each time.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "data" / "authority.pem")

# The days of the command line are those of the machine: of every machine the same ones here.
os.environ["TZ"] = "UTC"
time.tzset()


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    """What is there before the tests of a module is no garbage: a collection looks at what they make alone.

    With all frameworks loaded it would take a second each time.
    """
    gc.collect()
    gc.freeze()


_QUICK_CASES = 6
_MEASURED_CASES = 16
_IMPORTS_A_FRAMEWORK = re.compile(r"\.(litellm|langchain|openai_agents|pydantic_ai|examples\.(?!_|local_provider).+)$")
_UNMEASURED = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a large matrix some cases are quick, spread over it, and all others slow, unless it says itself which.

    Of one that is marked as costly the first of the quick ones is quick. All cases run. Coverage is that of the quick
    ones and of some spread over all, of a costly matrix without quick ones that of its first case, and of no test of
    volume: it doubles the time of a test, and all others run the same lines with other values.
    """
    matrices: dict[str, list[pytest.Item]] = {}
    for item in items:
        matrices.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in matrices.values():
        if cases[0].get_closest_marker("volume") is not None:
            for case in cases:
                case.add_marker(pytest.mark.slow)
        quick = [case for case in cases if case.get_closest_marker("slow") is None]
        chosen = _chosen(quick or cases, all_quick=len(quick) == len(cases))
        for case in cases:
            if case not in chosen:
                case.add_marker(pytest.mark.slow)
        measured = _measured(cases)
        for case in cases:
            if case not in measured:
                case.stash[_UNMEASURED] = True


def _measured(cases: list[pytest.Item]) -> list[pytest.Item]:
    if cases[0].get_closest_marker("volume") is not None:
        return []
    quick = [case for case in cases if case.get_closest_marker("slow") is None]
    if cases[0].get_closest_marker("costly") is not None:
        return quick or cases[:1]
    return quick + (cases if len(cases) <= _MEASURED_CASES else _spread(cases, _MEASURED_CASES))


@contextmanager
def _unmeasured(config: pytest.Config) -> Iterator[None]:
    """Nothing is measured within."""
    plugin: Any = config.pluginmanager.getplugin("_cov")
    if plugin is None or plugin.cov_controller is None or not plugin.cov_controller.started:
        yield
        return
    plugin.cov_controller.pause()
    try:
        yield
    finally:
        plugin.cov_controller.resume()


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Any:
    """Where coverage is measured, all of the package is imported first, and then nothing is measured.

    To collect the tests takes as long again where it is: what they import and make of it are no lines of the package.
    Modules that import a framework are left to the tests of it, and are not imported by collecting them.
    """
    if session.config.pluginmanager.hasplugin("_cov"):
        for module in pkgutil.walk_packages(llm_service.__path__, "llm_service."):
            if _IMPORTS_A_FRAMEWORK.search(module.name) is None and "__main__" not in module.name:
                importlib.import_module(module.name)
    with _unmeasured(session.config):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """Of a test that is not measured, nothing is: neither what sets it up nor what pytest itself does."""
    with _unmeasured(item.config) if item.stash.get(_UNMEASURED, False) else nullcontext():
        return (yield)


def _chosen(cases: list[pytest.Item], *, all_quick: bool) -> list[pytest.Item]:
    if cases[0].get_closest_marker("costly") is not None:
        return cases[:1]
    if len(cases) <= _QUICK_CASES or not (all_quick or cases[0].get_closest_marker("slow")):
        return cases
    return _spread(cases, _QUICK_CASES)


def _spread(cases: list[pytest.Item], count: int) -> list[pytest.Item]:
    """So many of these cases, the first and the last among them."""
    return [cases[at * (len(cases) - 1) // (count - 1)] for at in range(count)]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each worker has modules of its own, as long as there are some: what a module imports and shares is made once."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty folder."""
    return str(tmp_path_factory.mktemp("empty"))


@pytest.fixture(autouse=True)
def without_configuration(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, empty_folder: str) -> None:
    """Loggers look for models.yaml and policies.yaml: none of this project, nor of who runs the tests, is to be found."""
    for name in [name for name in os.environ if name.startswith("LLM_TELEMETRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)  # of this run, not of one that a test starts
    if request.node.stash.get(_UNMEASURED, False):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", empty_folder)
    monkeypatch.chdir(empty_folder)
