"""The list of commands."""

import ast
import contextlib
import sys
from pathlib import Path

USAGE = "usage: python -m jaxadv.COMMAND [OPTION ...], with --help for its options"


def main() -> int:
    """Prints the commands, each with the first line of its documentation."""
    if sys.argv[1:] not in ([], ["--help"], ["-h"]):
        got = " ".join(sys.argv[1:])
        print(f"error: got {got!r}, expected a dot and a command\n{USAGE}", file=sys.stderr)
        return 2
    lines = [USAGE, ""]
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        documentation = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        lines.append(f"  {path.stem:22}{documentation.splitlines()[0]}")
    with contextlib.suppress(BrokenPipeError):
        print("\n".join(lines), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
