"""Measurements of llm_service.telemetry: `python -m benchmarks` from the repository root, one module per question.

Every bar is a ratio to a peer, or to the raw ceiling, measured in the same run; every benchmark checks that the result
is right before it reports a time.
"""
