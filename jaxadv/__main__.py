"""The list of commands."""

import ast
import sys
from pathlib import Path

USAGE = "usage: python -m jaxadv.COMMAND [OPTION ...], with --help for its options\n"


def main() -> int:
    """Prints the commands, each with the first line of its documentation."""
    print(USAGE)
    commands = sorted(Path(__file__).parent.glob("[!_]*.py"))
    width = max(len(path.stem) for path in commands)
    for path in commands:
        documentation = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        print(f"  {path.stem:{width}}  {documentation.splitlines()[0]}")
    return 2 if sys.argv[1:] not in ([], ["--help"], ["-h"]) else 0


if __name__ == "__main__":
    sys.exit(main())
