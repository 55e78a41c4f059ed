"""The `starloom` command: a lazy table, so that asking for help loads nothing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, cast

from starloom import __version__
from starloom.errors import ConfigError, StarloomError, suggestion

COMMANDS = {
    "run": ("starloom.recipes.commands:run", "build what a recipe describes; go on where a killed run stopped"),
    "plan": ("starloom.recipes.commands:plan", "list a recipe's steps: directory, done or not, cost, settings"),
    "show": ("starloom.recipes.inspection:show", "render a step's manifest: settings, counts, files, how it was built"),
    "verify": ("starloom.recipes.inspection:verify", "check every byte of a directory or a store against its hashes"),
    "follow": ("starloom.lineage.follow:follow", "lead a file to its tokens, or a training step back to its files"),
    "optout": ("starloom.corpus.opt_out_command:optout", "say what an opt-out list means for a corpus; write receipts"),
    "complete": ("starloom.generate.commands:complete", "complete code with a trained model"),
    "infill": ("starloom.generate.commands:infill", "fill in the code at a line and column of a file"),
    "eval": ("starloom.evals.harness.commands:evaluate", "what a model scores: sample, judge, compare; score a file"),
    "convert": (
        "starloom.models.convert_command:convert",
        "a checkpoint from or to another layout: pickles, SantaCoder, Megatron, GGUF",
    ),
    "hub": ("starloom.hub.commands:hub", "published models: list, show, verify, push to a hub"),
    "doctor": ("starloom.doctor:doctor", "say what this installation has, lacks, and how to get it"),
}

EXAMPLES = """\
Examples:
  starloom run quickstart                          train a small model on Python's standard library
  starloom run quickstart --source . --minutes 10  … or on your own code
  starloom plan quickstart                         the steps, where they lie, what is done
  starloom complete starloom-store/models/quickstart --prompt 'def read_json(path):'
  starloom follow python:stdlib:json/decoder.py    one file's way to its tokens"""


def usage() -> str:
    """The help page."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items())
    return (
        f"starloom {__version__}: from repositories to a StarCoder of your own, every token traceable to its source.\n\n"
        f"Usage: starloom COMMAND [ARGUMENTS]      (starloom COMMAND --help for its flags)\n\n{rows}\n\n{EXAMPLES}"
    )


def dispatch(argv: Sequence[str]) -> int:
    """Run one command and return its exit code. Raises StarloomError for what a user can mend."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"starloom {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        raise ConfigError(f"no command '{argv[0]}'; {suggestion(argv[0], COMMANDS)}")
    from starloom.registry import resolve

    command = cast(Callable[[Sequence[str]], int], resolve(COMMANDS[argv[0]][0], "command"))
    return command(argv[1:])


def main() -> NoReturn:
    """Entry point: errors that a user can act on are one line on standard error, exit code 1 (2: usage)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that `finally` blocks run
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # else the library warns in every forked worker
    try:
        code = dispatch(sys.argv[1:])
        sys.stdout.flush()
    except ConfigError as error:
        print(f"starloom: {error}", file=sys.stderr)
        code = 2
    except StarloomError as error:
        print(f"starloom: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("starloom: stopped; run the same command again, it goes on from what is finished", file=sys.stderr)
        code = 128 + signal.SIGINT
    except BrokenPipeError:  # the reader, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    sys.exit(code)
