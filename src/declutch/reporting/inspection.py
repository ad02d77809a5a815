"""``declutch inspect`` on the terminal."""

from __future__ import annotations

from rich.text import Text

from declutch.inspection import Inspection, ShownExample
from declutch.reporting.console import table as plain_table
from declutch.terminal import Terminal

_COUNTED = "black on green"


def print_inspection(found: Inspection) -> None:
    """Print what was found, for people."""
    console = Terminal()
    console.print(
        Text(found.model, "bold").append(
            f": {found.parameters:,} parameters in {found.dtype}, {found.layers} decoder blocks",
            "not bold",
        ),
    )
    matrices = sum(group.matrices for group in found.groups)
    share = f"{found.covered:,} of {found.parameters:,} parameters"
    console.print(f"Target {found.target} covers {matrices} weight matrices ({share}):")
    table = plain_table(
        "Matrix", "Kind", "Shape [out, in]", "How many", f"k at {found.ratio:g}", words=2
    )
    for group in found.groups:
        k = Text(str(group.k), "red" if group.k == 0 else "")
        shape = f"{group.shape[0]} x {group.shape[1]}"
        table.add_row(group.name, group.kind, shape, str(group.matrices), k)
    console.print(table)
    if any(group.k == 0 for group in found.groups):
        smallest = max(1 / (g.shape[0] * g.shape[1]) for g in found.groups if g.k == 0)
        console.print(
            f"k is 0 where ratio x neurons is below 1; from {smallest * 1.05:.1e} on, every matrix "
            "gives at least one.",
        )
    console.print("Not covered:")
    for label, count in found.skipped.items():
        console.print(f"  {count} x {label}", soft_wrap=True)
    for dimension in found.dimensions:
        console.print()
        console.print(
            Text(dimension.name, "bold").append(
                f": {dimension.examples} examples, {dimension.tokens:,} tokens, "
                f"{dimension.counted:,} counted in the loss; format {found.prompt_format}",
                "not bold",
            ),
        )
        for line in dimension.report:
            console.print(f"  {line}", soft_wrap=True)
        for example in dimension.shown:
            console.print(_tokens(example), soft_wrap=True)
    console.print()
    if found.plan:
        console.print(f"Memory: {found.plan}.")
    if found.seconds is not None:
        console.print(
            f"Time to score all of it: about {found.seconds:,.0f} s on this machine, by a trial.",
        )
    for note in found.notes:
        console.print(note)


def _tokens(example: ShownExample) -> Text:
    """Tokens apart by «|»; those that the loss counts stand in brackets and in colour."""
    text = Text(f"  {example.id}: ", "dim")
    counted = False
    for token, inside in zip(example.tokens, example.counted, strict=True):
        if inside != counted:
            text.append("[" if inside else "]", "bold green")
            counted = inside
        elif len(text):
            text.append("|", "dim")
        visible = token.replace("\n", "\\n")
        text.append(visible, _COUNTED if inside else "")
    if counted:
        text.append("]", "bold green")
    return text
