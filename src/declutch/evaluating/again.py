"""One model evaluated twice, the second time under what should not matter: what noise does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declutch.comparing.comparison import Comparison
from declutch.comparing.results import Results
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import evaluate
from declutch.evaluating.plan import Plan, SuiteLike, decoding_from, make_plan
from declutch.judges.base import Judge
from declutch.replies.decoding import Decoding
from declutch.settings import EvaluateSettings, with_options

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FOLDER = "again"
Run = Callable[[Plan, Decoding, Path], Results]


def evaluate_twice(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    suite: SuiteLike | None = None,
    *,
    out: Path | str,
    judges: Sequence[str | Judge] | None = None,
    settings: EvaluateSettings | None = None,
    patch: Any = None,
    model_info: Any = None,
    **options: Any,
) -> Comparison:
    """Evaluate a model, evaluate it again under what should not matter, and compare the two.

    The second evaluation is in ``out/again``. It takes prompts, pairs and texts in reverse, in
    batches of another size, and samples replies (where they are sampled) with another seed. Without
    ``dependence``, whose pairs depend on the order.

    Args:
        out: the folder of the first.
        suite, judges, settings, patch, model_info, options: see
            :func:`declutch.evaluating.evaluate.evaluate`.

    Raises:
        DeclutchError: see there.
    """
    plan = make_plan(with_options(EvaluateSettings, settings, options), suite, judges)
    run = partial(with_weights, model, tokenizer, patch=patch, model_info=model_info)
    return twice(run, plan, Path(out))


def with_weights(
    model: Any, tokenizer: Any, plan: Plan, decoding: Decoding, out: Path, **options: Any
) -> Results:
    """:func:`evaluate` of what was looked up already."""
    return evaluate(
        model, tokenizer, plan.suite, judges=plan.judges, settings=plan.settings,
        decoding=decoding, out=out, **options,
    )  # fmt: skip


def twice(run: Run, plan: Plan, out: Path) -> Comparison:
    """What :func:`evaluate_twice` does, however the model is asked.

    Args:
        run: evaluates into a folder.
    """
    decoding = decoding_from(plan.settings)
    size = plan.settings.batch_size
    other = replace(
        plan,
        suite=plan.suite.reversed(),
        settings=replace(plan.settings, batch_size=size // 2 or 2, dependence=None),
    )
    run(plan, decoding, out)
    run(other, replace(decoding, seed=decoding.seed ^ 1), out / FOLDER)
    comparison = compare(out, out / FOLDER, seed=plan.settings.seed, measures=plan.settings.measure)
    note = (
        f"The same model twice: the second time in reverse order, in batches of {size // 2 or 2} "
        f"in place of {size}."
    )
    return replace(comparison, notes=(note, *comparison.notes))
