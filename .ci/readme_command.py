"""Print a shell command of README.md by the name in the comment above its block: `<!-- command: NAME -->`."""

import re
import sys
from pathlib import Path

BLOCK = r"<!-- command: {} -->\s*```bash\n(.*?)\n```"


def command(readme: str, name: str) -> str:
    """The text of the named block; there is exactly one."""
    found = re.findall(BLOCK.format(re.escape(name)), readme, re.DOTALL)
    if len(found) != 1:
        raise SystemExit(f"README.md has {len(found)} blocks named {name!r}, and needs one")
    return str(found[0])


if __name__ == "__main__":
    sys.stdout.write(command(Path(__file__).parent.parent.joinpath("README.md").read_text("utf-8"), sys.argv[1]) + "\n")
