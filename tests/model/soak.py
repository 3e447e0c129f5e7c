"""The model test at length: `python -m tests.model.soak --steps 10000 [--seed N]`; prints what happened in it.

The same seed gives the same lives, step by step: nothing in them depends on time or on threads. A failure prints
that life as a program, with `--shrink` the shortest one that hypothesis found, and a line for `@reproduce_failure`.
"""

import argparse
import sys
from time import monotonic

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import HypothesisException
from hypothesis.stateful import run_state_machine_as_test
from tests.model.machine import EngineBesideModel

STEPS_OF_A_LIFE = 100
EXAMPLES_OF_A_RUN = 50


def main() -> int:
    """Run lives until so many steps have been compared; 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="steps to compare, at least (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first run; each further run takes the next one")
    parser.add_argument("--shrink", action="store_true", help="look for the shortest failing life (takes minutes)")
    options = parser.parse_args()
    seen, runs, began = EngineBesideModel.seen, 0, monotonic()
    how = settings(
        max_examples=EXAMPLES_OF_A_RUN,
        stateful_step_count=STEPS_OF_A_LIFE,
        deadline=None,
        print_blob=True,
        database=None,
        phases=[Phase.generate, Phase.shrink] if options.shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    while seen["steps"] < options.steps:
        machine = seed(options.seed + runs)(type("Seeded", (EngineBesideModel,), {}))
        try:
            run_state_machine_as_test(machine, settings=how)
        except (AssertionError, HypothesisException):
            print(f"failed with --seed {options.seed + runs}", file=sys.stderr)
            raise
        runs += 1
    print(f"{runs} runs from seed {options.seed}, {monotonic() - began:.1f} s")
    for name, count in sorted(seen.items(), key=lambda item: -item[1]):
        print(f"{count:>9,}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
