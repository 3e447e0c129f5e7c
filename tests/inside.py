"""What stands behind a client and is no part of its interface: tests that break promises reach it here alone."""

from typing import Any

__all__ = ["core_of", "engine_of"]


def engine_of(client: Any) -> Any:
    """The engine of a logger: queue, writer, store, budget executor."""
    return client._engine


def core_of(owner: Any) -> Any:
    """What a logger, its budgets, or a hold share of it."""
    return owner._core
