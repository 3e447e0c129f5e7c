"""Extras of this project: what to run where one is not installed."""

__all__ = ["install"]


def install(*extras: str) -> str:
    """The command that installs what extras need, in the versions that this project takes."""
    return f"pip install 'llm-service-telemetry[{','.join(extras)}]'"
