"""Write docs/cli.md from the commands' own help; `--check` fails where the page is out of date."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

from starloom.cli import COMMANDS, dispatch, usage

os.environ["COLUMNS"] = "100"  # the same page on every terminal
PAGE = Path(__file__).parent.parent / "docs" / "cli.md"


def help_of(*argv: str) -> str:
    """What a command prints for --help."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        dispatch([*argv, "--help"])
    return out.getvalue().rstrip()


def page() -> str:
    """The whole page."""
    parts = ["# The command line", "", "Made by `make docs` from the commands' own help.", "", "```", usage(), "```"]
    commands = [[name] for name in COMMANDS]
    commands.insert(1, ["run", "quickstart"])
    commands.insert(3, ["plan", "--all"])
    after = commands.index(["hub"]) + 1
    commands[after:after] = [["hub", verb] for verb in ("list", "show", "verify", "push")]
    commands.append(["doctor", "sandbox"])
    after = commands.index(["eval"]) + 1
    commands[after:after] = [["eval", verb] for verb in ("run", "score", "compare", "tasks", "canonical")]
    for argv in commands:
        parts += ["", f"## starloom {' '.join(argv)}", "", "```", help_of(*argv), "```"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text() != page():
            sys.exit(f"{PAGE.name} is out of date; run: make docs")
    else:
        PAGE.write_text(page())
