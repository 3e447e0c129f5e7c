"""What a command was making is gone, whichever signal ends it, wherever it stands; over all commands that make files."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .every_command import command_lines

pytestmark = pytest.mark.slow

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
STUCK = (
    "import os, signal, sys, time; from llm_service.cli.main import main\n"
    "from llm_service.telemetry.maintenance import atomic_file, private_copy, salvage\n"
    "def stuck(*_, **__):\n"
    "    print('making', flush=True)\n"
    "    try:\n"
    "        while True: time.sleep(0.05)\n"
    "    except SystemExit as end:\n"  # the repeat that `timeout` sends, while all is being put away
    "        os.kill(os.getpid(), end.code - 128)\n"
    "        raise\n"
    "{place} = stuck\n"
    "sys.exit(main(sys.argv[1:]))"
)
PLACES = ["atomic_file._sync", "salvage._Salvage.copy_rows", "private_copy._copy_pages"]


def _makers(folder: Path) -> list[list[str]]:
    """The command lines that make a file in the folder."""
    lines = command_lines(folder)
    return [line for line in lines if "--json" not in line and any("/new-" in part for part in line)]


def test_all_makers_are_known(tmp_path: Path) -> None:
    """The list is derived from the commands; these three are in it."""
    assert {line[0] for line in _makers(tmp_path)} == {"backup", "doctor", "export", "top"}


@pytest.mark.costly
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("place", PLACES)
def test_a_command_that_is_ended_leaves_nothing_of_its_file(
    environment: dict[str, str], database: Path, tmp_path: Path, place: str, number: signal.Signals
) -> None:
    """Sent twice, as `timeout` does: to the process and to its group."""
    folder = tmp_path / "out"
    folder.mkdir()
    ended = 0
    for line in _makers(folder):
        if "--salvage" not in line and place != PLACES[0]:
            continue
        before = set(folder.iterdir())
        with subprocess.Popen(
            [sys.executable, "-c", STUCK.format(place=place), *line, "--db", str(database)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as stuck:  # fmt: skip
            assert stuck.stdout is not None
            assert stuck.stdout.readline() == "making\n", line
            assert set(folder.iterdir()) > before
            stuck.send_signal(number)
            _, errors = stuck.communicate(timeout=30)
        assert (stuck.returncode, "Traceback" in errors) == (SIGNALS[number], False), line
        assert set(folder.iterdir()) == before
        ended += 1
    assert ended


def test_a_signal_that_is_ignored_stays_ignored(environment: dict[str, str], database: Path) -> None:
    """As under `nohup`; and who runs a command in a thread gets no error."""
    program = (
        "import signal, sys, threading; from llm_service.cli.main import main\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from llm_service.telemetry.maintenance import backup\n"
        "kept = backup._verify\n"
        "def verify(*arguments): signal.raise_signal(signal.SIGHUP); kept(*arguments)\n"
        "backup._verify = verify\n"
        "codes = [main(['backup', sys.argv[1] + '.1', '--db', sys.argv[1]])]\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "work = lambda: codes.append(main(['backup', sys.argv[1] + '.2', '--db', sys.argv[1]]))\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "sys.exit(codes != [0, 0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(database)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
