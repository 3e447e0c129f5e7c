"""The command `llm-telemetry`, on top of everything else: nothing below imports it. Needs the extra `cli`."""
