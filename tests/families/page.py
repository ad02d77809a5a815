"""The page of families in the docs: written from outcomes, and read back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch
import transformers

from declutch.files import write_text
from tests.families.measure import BATCH, EXAMPLES, KINDS, Outcome
from tests.families.tiny import HIDDEN

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
TOLERANCE = 1e-4
_HEADER = f"| family | {' / '.join(KINDS)} | `mlp` | `all` | error | remarks |"


def is_wrong(outcome: Outcome) -> bool:
    """Whether a family was scored, and not as autograd has it."""
    return outcome.error is not None and not outcome.error <= TOLERANCE


def versions() -> str:
    """What decides the outcomes beside the project."""
    return f"transformers {transformers.__version__}, PyTorch {torch.__version__.partition('+')[0]}"


def row(outcome: Outcome) -> tuple[str, ...]:
    """The cells that a later run must give again: family, matrices, and both paths."""
    matrices = " / ".join(map(str, outcome.matrices)) if any(outcome.matrices) else "–"
    return outcome.family, matrices, outcome.default_path, outcome.path


def read_page(page: Path = PAGE) -> dict[str, tuple[str, ...]]:
    """The rows of the page by family, where it was made with the versions at hand; or none."""
    text = page.read_text(encoding="utf-8")
    if versions() not in text:
        return {}
    lines = text.partition(_HEADER)[2].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {one[0]: tuple(one[:4]) for one in cells if len(one) == 6}


def write_page(outcomes: Sequence[Outcome], page: Path = PAGE) -> None:
    """Write the page."""
    tried = [one for one in outcomes if one.path != "untried"]
    paths = Counter(one.path for one in tried)
    largest = max(one.error for one in tried if one.error is not None)
    untried = len(outcomes) - len(tried)
    write_text(
        page,
        f"""# Families of models

What declutch does with each family of causal language models in transformers, measured on tiny
models with random weights: a hidden size of {HIDDEN}, and a layer or two of each kind that the
family's default config has. Each was scored with the default target (`mlp`) and with `all`, on
{len(EXAMPLES)} examples of different lengths, {BATCH} in a batch, and each matrix's scores were
compared with autograd's on each example alone, with no hooks and no padding.

Made by `make families` on {date.today()} with {versions()}.
`make test-slow` makes every row again, and compares.

- {len(tried)} families and variants were tried. With `all`, {paths["batched"]} were scored in
  batches, {paths["one by one"]} one example at a time, and {paths["refused"]} were refused.
- The largest error is {largest:.0e}.
- {untried} could not be tried: transformers does not build or train them from a config and token
  ids alone.

What the columns say:

- **{" / ".join(KINDS)}**: weight matrices found of each kind; each expert counts as one.
- **`mlp`**, **`all`**: the path that scoring takes with that target. *batched*: several examples
  in a pass, the fast one. *one by one*: an example in a pass, the same scores more slowly.
  *refused*: with an error that says why. *none*: the target covers nothing.
- **error**: the largest difference from autograd in any matrix, relative to its largest score.
- **remarks**: why not batched, and which weights of two or more axes `all` leaves out (an
  embedding, the output head, biases and tied weights apart).

{_HEADER}
|{" --- |" * 6}
"""
        + "".join(f"| {' | '.join(_cells(one))} |\n" for one in outcomes),
    )


def _cells(outcome: Outcome) -> tuple[str, ...]:
    error = "–" if outcome.error is None else f"{outcome.error:.0e}"
    remarks = "; ".join(re.sub(r"[|`<>*]", "", remark) for remark in outcome.remarks)
    return (*row(outcome), error, remarks or "–")
