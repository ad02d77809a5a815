"""Score a model that was edited since, at the candidates of its earlier scores alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn
from transformers import PreTrainedTokenizerBase

from declutch.data.dimension import DataLike
from declutch.models.forward import evaluation_mode
from declutch.scoring.dimension import score_dimension
from declutch.scoring.distributed import session
from declutch.scoring.partial import Partial
from declutch.scoring.prepare import prepare
from declutch.scoring.shortlists import Candidates, Scores
from declutch.settings import ScoreSettings


def score_again(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    data: Mapping[str, DataLike],
    scores: Scores,
    settings: ScoreSettings,
    *,
    out: Path,
    memory_limit: int | None = None,
) -> Scores:
    """What every dimension scores now at the candidates of earlier scores.

    Shortlists stay those of the model as it was: a rule that reads them alone sees nothing new.

    Args:
        model: with a patch applied.
        data, settings: those of the earlier scores.
        scores: with candidates.
        out: a folder; finished ones found there are not computed again.

    Raises:
        DataError, ModelError, OutOfMemory: see :func:`declutch.scoring.score.score`.
    """
    if (out / "scores.json").exists():
        return Scores.load(out)
    at = {name: one.indices for name, one in scores.candidates.items()}
    found = replace(scores, candidates={name: Candidates(where) for name, where in at.items()})
    with session() as team, evaluation_mode(model):
        prepared = prepare(model, tokenizer, data, settings)
        plan = team.on_main(lambda: prepared.plan(model, memory_limit, None, team.local_size))
        for key in prepared.kinds:
            started = time.monotonic()
            job = prepared.job(key, model, plan, settings.shortlist, at)
            partial = Partial(None, job.key(), 0)
            shortlists = score_dimension(job, team, partial)
            found.add_gathered(key, shortlists, round(time.monotonic() - started, 3))
        team.on_main(lambda: found.save(out))
    return found
