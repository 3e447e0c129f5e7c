"""Small programs to read and run: `python -m llm_service.examples.NAME`. None needs a key or the network.

Each calls `local_provider`, a server on this machine that speaks the real protocols, through the real SDK. Without
`base_url` and `api_key` the same program calls the provider. `pip install 'llm-service-telemetry[examples]'` installs
what all of them need.
"""

from llm_service.extras import install

__all__ = ["lacking"]


def lacking(missing: ImportError, program: str) -> BaseException:
    """What an example raises whose packages are not installed: where it is run, its end with one line."""
    package = (missing.name or str(missing)).partition(".")[0]
    text = f"{package} is missing: {install('examples')}"
    return SystemExit(text) if program == "__main__" else ImportError(text)
