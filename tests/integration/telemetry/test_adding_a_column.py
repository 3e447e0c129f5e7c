"""CONTRIBUTING.md's walk "Add a column", done in a copy of the package: the files it names are enough."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import llm_service
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.record.fields import EXTENSION_FIELDS
from llm_service.telemetry.stores.sqlite import migrations

PACKAGE = Path(llm_service.__file__).parent
NEXT = migrations.VERSION + 1
LAST = EXTENSION_FIELDS[-1]
"""The last column there is: the new one comes after it."""
ITS_TYPE = rf"    {LAST}: [\w |]+\n"
EDITS = {
    "record/fields.py": [
        (rf"    {LAST} = _Field\[.*\n", f"""    deployment = _Field[str | None]("name", since={NEXT})\n"""),
        (ITS_TYPE, "    deployment: str | None\n"),
    ],
    "schema.sql": [(rf"    {LAST} .*\n(?=\);\n)", "    , deployment TEXT\n")],
    "stores/sqlite/migrations.py": [
        (r"\n(?=\}\n.{3}By version)", f'    {NEXT}: ("ALTER TABLE invocations ADD COLUMN deployment TEXT",),\n'),
    ],
    "queries/rows.py": [(ITS_TYPE, "    deployment: str | None\n")],
}
"""Of each place the line before, as a pattern, and the new line."""
SCRIPT = """
import os, sys
from pathlib import Path
from llm_service.cli.main import main
from llm_service.telemetry import InvocationRecord, TelemetryLogger
path, key = Path(sys.argv[1]), "sk-ant-api03-" + "Zx9" * 30
child = os.fork()
if not child:  # killed with a record in the crash journal alone
    logger = TelemetryLogger(path, journal=True, flush_interval=60)
    logger.log_invocation_nowait(InvocationRecord(invocation_id="journaled", deployment="east"))
    os.kill(os.getpid(), 9)
os.waitpid(child, 0)
with TelemetryLogger(path) as logger:
    with logger.invocation("agent", deployment="west") as call:
        pass
    logger.log_invocation(InvocationRecord(invocation_id="secret", deployment=key))
    found = {row["invocation_id"]: row["deployment"] for row in logger.get_invocations()}
assert found["older"] is None and found["journaled"] == "east" and found[call.invocation_id] == "west", found
assert "Zx9" not in found["secret"], found
assert key.encode() not in path.read_bytes()
assert main(["doctor", "--db", str(path)]) == 0
assert main(["export", "--db", str(path)]) == 0
assert main(["show", "secret", "--db", str(path)]) == 0
"""


def test_the_walk_names_these_files_and_no_other() -> None:
    """At most four."""
    guide = (Path(__file__).parents[3] / "CONTRIBUTING.md").read_text("utf-8")
    walk = guide.partition("### Add a column\n")[2].partition("### ")[0]
    assert set(re.findall(r"`src/llm_service/telemetry/([\w/.]+)`", walk)) == set(EDITS)
    assert len(EDITS) <= 4


def test_the_files_of_the_walk_are_enough(tmp_path: Path) -> None:
    """An older file is migrated; the value is stored, redacted, journaled, read, shown and exported."""
    copy, path = tmp_path / "copy", tmp_path / "telemetry.db"
    shutil.copytree(PACKAGE, copy / "llm_service")
    with TelemetryLogger(path) as logger:
        logger.log_invocation(InvocationRecord(invocation_id="older"))
    for name, edits in EDITS.items():
        file = copy / "llm_service" / "telemetry" / name
        text = file.read_text("utf-8")
        for before, line in edits:
            text, found = re.subn(before, lambda line_before, line=line: line_before[0] + line, text)
            assert found == 1, (name, before)
        file.write_text(text, "utf-8")
    # The lines of the copy are no part of the package that coverage measures.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, path],
        check=False, capture_output=True, text=True, env=unmeasured | {"PYTHONPATH": str(copy)}, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    (header,) = [line for line in lines if line.startswith("id,invocation_id,")]
    assert header.split(",")[-1] == "deployment"
    assert sum(line.endswith(",west") for line in lines) == 1
    assert [line for line in lines if line.split()[:1] == ["deployment"]]  # `show`
