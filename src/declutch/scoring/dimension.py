"""Score one dimension: group by group, over all processes, with partial sums kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from torch import Tensor, nn

from declutch.data.encoding import EncodedExample
from declutch.files import sha256_json
from declutch.models.matrices import WeightMatrix
from declutch.models.weights import gather
from declutch.progress import announce, progress_bar
from declutch.scoring.accumulate import Accumulation
from declutch.scoring.distributed import Team
from declutch.scoring.memory import PassPlan
from declutch.scoring.method import Method, check_scores
from declutch.scoring.partial import Partial, Progress
from declutch.scoring.shortlists import Shortlist, make_shortlist


@dataclass(frozen=True)
class Job:
    """One dimension to be scored.

    Attributes:
        signs: of each example.
        count: what sums are divided by: examples, or pairs.
        fraction: of a matrix that a shortlist keeps.
        at: in its place, by matrix the flat positions to be scored.
    """

    name: str
    model: nn.Module
    method: Method
    plan: PassPlan
    examples: Sequence[EncodedExample]
    signs: Sequence[int]
    count: int
    fraction: float
    at: Mapping[str, Tensor] | None = None

    def key(self) -> dict[str, Any]:
        """What the sums of this dimension depend on, beside the model and the settings."""
        tokens = [
            [one.input_ids, one.loss_mask, sign]
            for one, sign in zip(self.examples, self.signs, strict=True)
        ]
        return {
            "dimension": self.name,
            "tokens": sha256_json(tokens),
            "examples": len(self.examples),
            "groups": [[matrix.name for matrix in group] for group in self.plan.groups],
            "batch_tokens": self.plan.batch_tokens,
            "at": self.at and [sha256(at.numpy().tobytes()).hexdigest() for at in self.at.values()],
        }

    def shortlist(self, matrix: WeightMatrix, state: Tensor, weight: Tensor) -> Shortlist:
        """The highest scores of a matrix, or those at the positions asked for, in their order."""
        if self.at is None:
            values = self.method.scores(state, weight, self.count)
            check_scores(self.method, values, weight)
            return make_shortlist(values, weight, self.fraction)
        at = self.at[matrix.name]
        chosen = gather(weight, at.to(weight.device))
        values = self.method.scores(state.view(1, -1), chosen.view(1, -1), self.count)
        return Shortlist(at, values.view(-1).cpu(), chosen.cpu())


def score_dimension(job: Job, team: Team, partial: Partial) -> dict[str, Shortlist]:
    """The shortlist of every matrix, on all processes.

    Raises:
        OutOfMemory: one example does not fit.
        DeclutchError: another process has ended.
    """
    groups = [[matrix.name for matrix in group] for group in job.plan.groups]
    found = team.on_main(lambda: partial.load(groups, len(job.examples)))
    progress = found or Progress(batch_tokens=job.plan.batch_tokens)
    examples = len(job.examples)
    what = f"{'Scoring' if job.at is None else 'Gathering'} {job.name}"
    announce(what, examples)
    with progress_bar() as bar:
        task = bar.add_task(
            what,
            total=examples * len(job.plan.groups),
            completed=examples * progress.group + len(progress.done),
        )
        while progress.group < len(job.plan.groups):
            progress = _score_group(
                job, team, partial, progress, lambda count: bar.advance(task, count)
            )
    shortlists = dict(progress.shortlists)
    return team.on_main(lambda: shortlists)


def _score_group(
    job: Job, team: Team, partial: Partial, progress: Progress, advance: Callable[[int], None]
) -> Progress:
    """Sum over the examples that are not done yet, and turn the sums into shortlists."""
    group = job.plan.groups[progress.group]
    done = set(progress.done)
    rest = [index for index in range(len(job.examples)) if index not in done]
    mine = [rest[place] for place in team.share([len(job.examples[index]) for index in rest])]
    sums = Accumulation(
        job.model, job.method, group, job.examples, progress.batch_tokens, job.signs, mine,
        at=job.at,
    )  # fmt: skip
    if done:
        team.on_main(lambda: partial.load_sums(sums.states))
    summed = len(done)

    def after_batch(count: int) -> None:
        """All processes meet after each of their batches; sums are kept when the first says so."""
        nonlocal summed
        now, due = team.total(count, int(team.main and partial.due()))
        advance(now)
        summed += now
        if due and summed < len(job.examples):
            keep()

    def keep() -> None:
        for matrix in group:
            team.reduce(sums.states[matrix.name])
        everyone = team.gather(sums.order[: sums.position])
        whole = replace(
            progress,
            done=(*progress.done, *(index for one in everyone for index in one)),
            batch_tokens=sums.batch_tokens,
        )
        team.on_main(lambda: partial.save(whole, sums.states))

    sums.run(after_batch)
    while summed < len(job.examples):
        after_batch(0)  # the others have batches left

    shortlists = dict(progress.shortlists)
    for matrix in group:
        state = sums.states.pop(matrix.name)
        team.reduce(state)
        if team.main:
            weight = matrix.view(sums.parameters[matrix.parameter].detach())
            shortlists[matrix.name] = job.shortlist(matrix, state, weight)
    progress = Progress(progress.group + 1, (), sums.batch_tokens, shortlists)
    if progress.group < len(job.plan.groups):
        team.on_main(lambda: partial.save(progress, {}))
    return progress
