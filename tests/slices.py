"""Large matrices: a slice of each is quick, and cases that are cheap each are checked in one test."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet

__all__ = ["check_each", "quick"]


def quick(cases: Iterable[Any], *where: int | str, every: int = 0, first: int = 0) -> list[ParameterSet]:
    """All cases of a matrix, for `parametrize`: those of the slice are quick, and all others are marked as slow.

    Args:
        cases: values, tuples of values, or what `pytest.param` gives.
        where: of those in the slice the places, from 0, or the ids, or a text that is all there is to the case.
        every: 3 takes those at 0, 3, 6 and so on, too.
        first: the place of the first of these.
    """
    sliced = []
    for at, case in enumerate(cases):
        given = case if isinstance(case, ParameterSet) else pytest.param(*case if type(case) is tuple else (case,))
        name = given.id or given.values[0]
        is_quick = at in where or (isinstance(name, str) and name in where) or (every and at % every == first)
        marks = [*given.marks] if is_quick else [*given.marks, pytest.mark.slow]
        sliced.append(pytest.param(*given.values, id=given.id, marks=marks))
    return sliced


def check_each(check: Callable[..., object], cases: Iterable[tuple[Any, ...]]) -> None:
    """Call it with the arguments of every case; raises an `ExceptionGroup` that names each that failed.

    For thousands of cases that take less time than what pytest does for a test.
    """
    failed: list[Exception] = []
    for case in cases:
        try:
            check(*case)
        except Exception as error:  # noqa: BLE001 - all of them are told
            error.add_note(f"of the case {case!r}")
            failed.append(error)
    if failed:
        raise ExceptionGroup(f"{len(failed)} cases failed", failed)
