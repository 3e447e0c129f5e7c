"""`python -m llm_service` is `llm-telemetry`."""

import sys

from llm_service.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
