"""Names of runs: `NAME@YYYYMMDDTHHMMSS-xxxx` is one run of NAME, so that the same name may run every night.

A run that was named by hand (`scope(run="exp-7")`) has no such id: it is its own name.
"""

import os
import re
from datetime import datetime
from typing import Final

from llm_service.errors import RecordError
from llm_service.telemetry.record.checks import MAX_NAME_CHARS
from llm_service.telemetry.record.fields import CHECKS

__all__ = ["back_from", "may_lack", "name_of_run", "new_run_id"]

_RUN_ID: Final = re.compile(r"(?P<name>.+)@(?P<day>\d{8})T\d{6}-[0-9a-f]{4}", re.DOTALL | re.ASCII)
_BACK: Final = re.compile(r"(?P<name>.+)~(?P<back>\d{1,9})", re.DOTALL | re.ASCII)
_ID_CHARS: Final = len("@20261130T030000-1f2e")


def new_run_id(name: object, now: datetime) -> str:
    """An id for a run that begins.

    Args:
        name: of the run: text, or what a record takes as one.
        now: aware UTC.

    Raises:
        RecordError: (a `ValueError`) it is no name, too long for an id, or reads as an id or as NAME~1.
    """
    checked = CHECKS["run"]("run", name)
    if checked is None:
        raise RecordError("run", name, "give the run a name such as 'nightly-eval'")
    if len(checked) > MAX_NAME_CHARS - _ID_CHARS:
        raise RecordError("run", name, f"give at most {MAX_NAME_CHARS - _ID_CHARS} characters")
    if _RUN_ID.fullmatch(checked) or _BACK.fullmatch(checked):
        raise RecordError("run", name, "give a name that does not read as NAME@20261130T030000-1f2e or NAME~1")
    return f"{checked}@{now:%Y%m%dT%H%M%S}-{os.urandom(2).hex()}"


def name_of_run(run: str) -> str:
    """The name of a run."""
    found = _RUN_ID.fullmatch(run)
    return run if found is None else found["name"]


def may_lack(run: str | None, records_since: str | None) -> bool:
    """Whether records of a run, a trace or a session may be deleted: all but those whose id says that it began later.

    Args:
        records_since: the first UTC day with all its records; None if none were ever deleted.
    """
    found = None if run is None else _RUN_ID.fullmatch(run)
    return records_since is not None and (found is None or found["day"] < records_since.replace("-", ""))


def back_from(text: str) -> tuple[str, int]:
    """What `NAME~1` means: a name, and how many runs of it before the newest; 0 where it says none."""
    found = _BACK.fullmatch(text)
    return (text, 0) if found is None else (found["name"], int(found["back"]))
