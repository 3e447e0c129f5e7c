"""Nothing that only POSIX has is needed to import the package; what runs where is stated in the manual."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WITHOUT_POSIX = """
import os, pkgutil, sys
absent = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"}
frameworks = {"langchain_core", "litellm", "agents", "pydantic_ai"}
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in absent | frameworks:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
for name in absent:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocked())
del os.register_at_fork, os.fork
for name in ("fchmod", "getuid", "geteuid", "getppid"):
    delattr(os, name)
import importlib, llm_service
modules = [found.name for found in pkgutil.walk_packages(llm_service.__path__, "llm_service.")]
for module in modules:
    if not module.endswith("__main__"):
        try:
            importlib.import_module(module)
        except ImportError as error:  # an adapter, which says what to install
            assert "install" in str(error) and "llm-service-telemetry[" in str(error), module
assert not absent & set(sys.modules), absent & set(sys.modules)
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
import asyncio
with TelemetryLogger("telemetry.db") as logger:
    logger.log_invocation(InvocationRecord(agent_name="sync"))
async def main():
    async with AsyncTelemetryLogger("telemetry.db") as telemetry:
        await telemetry.log_invocation(InvocationRecord(agent_name="async"), durable=True)
asyncio.run(main())
print(len(modules))
"""


@pytest.mark.slow
def test_every_module_imports_and_both_faces_log_where_nothing_of_posix_is(
    run: Callable[..., str], agents: Callable[[], Any]
) -> None:
    """As on Windows: no fcntl, resource, pwd or termios, no fork and no hook for it, no fchmod and no user ids."""
    assert int(run("-c", WITHOUT_POSIX)) > 40
    assert agents() == {"sync": 1, "async": 1}


def test_the_manual_states_what_is_tested_and_what_is_expected() -> None:
    """A table of platforms, with Linux as the one that tests run on."""
    import llm_service.telemetry

    manual = (Path(llm_service.telemetry.__file__).parent / "README.md").read_text("utf-8")
    table = manual.split("## Where it works\n", 1)[1].split("\n## ", 1)[0]
    for platform in ("Linux", "macOS", "Windows"):
        assert f"| {platform} |" in table
