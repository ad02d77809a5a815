"""The command line: parse, call the library, print.

Commands are named here and imported when called, so that help needs neither torch nor pydantic.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, Group, Parameter

from declutch import __version__
from declutch.cli.running import run_command

_COMMANDS = {
    "The whole job": {
        "demo": "Show everything on a small embedded model and bundled data, offline.",
        "tune": "Search for an edit that helps, and prove it; or say that none does.",
        "run": "Score, locate, apply, evaluate before and after, report.",
    },
    "Step by step": {
        "inspect": "Show a model's weight matrices, tokens with the loss mask, memory and time.",
        "score": "Score every targeted weight on each dimension.",
        "locate": "Choose the coupled neurons and make a patch.",
        "apply": "Write a patched checkpoint.",
        "revert": "Write the original checkpoint back from a patched one.",
        "train": "Fine-tune a model, full or by an adapter, to compare with.",
    },
    "Evidence": {
        "evaluate": "Evaluate a model, with or without a patch.",
        "compare": "Compare two evaluations prompt by prompt.",
        "reproduce": "Do a run again from its record, and say what differs.",
        "report": "Write the report of a run again.",
        "export": "Write an evaluation for another tool: Inspect, lm-evaluation-harness.",
        "judge": "Fit a judge on labelled replies, or measure one against people's labels.",
    },
}


def build_app() -> App:
    """The command line application."""
    app = App(
        name="declutch",
        help="Find the neurons in which a language model's concerns (fairness, privacy, ...) pull "
        "against each other, and suppress them: no training, a patch of a few kilobytes, and a "
        "way back.\n\nStart with: declutch demo",
        help_format="markdown",
        version=__version__,
        default_parameter=Parameter(negative="", show_default=_shown),
    )
    for order, (title, commands) in enumerate(_COMMANDS.items()):
        group = Group(title, sort_key=order)
        for name, help_text in commands.items():
            app.command(
                f"declutch.cli.{name}:{name}", name=name, help=help_text, group=group, sort_key=0
            )
    return app


def _shown(default: object) -> str | None:
    """A default in the help, as one would type it; nothing where it is «no» or «none»."""
    if default is False or default is None or default == [] or default == ():
        return None
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return f"{default:g}".replace("e-0", "e-") if isinstance(default, float) else str(default)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with a status of docs/exits.md."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run_command(build_app(), tokens))
