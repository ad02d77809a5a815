"""Evaluate a model: replies and verdicts, preference margin, perplexity; one file of results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declutch.data.encoding import Encoder, PromptFormat
from declutch.errors import SettingsError
from declutch.evaluation.awareness import (
    collect_replies,
    judge_replies,
    reply_metrics,
    suite_keys,
)
from declutch.evaluation.judges import Judge, get_judge
from declutch.evaluation.margin import MarginRow, margin_metrics, margins
from declutch.evaluation.perplexity import PerplexityRow, passage_nll, perplexity_metrics
from declutch.evaluation.replies import TransformersEngine
from declutch.evaluation.results import Metric, ModelRecord, PatchRecord, Results
from declutch.evaluation.store import ReplyStore, kept_rows
from declutch.evaluation.suites import Suite, load_suites
from declutch.files import write_jsonl

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from declutch.models.identity import ModelInfo
    from declutch.patching import Patch

_PASSAGES = "general"


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    suite: str | Suite | Iterable[str | Suite] = "bundled",
    *,
    judges: Sequence[str | Judge] = ("heuristic",),
    out: Path | str | None = None,
    batch_size: int = 16,
    max_new_tokens: int = 64,
    prompt_format: PromptFormat = "auto",
    thinking: bool = False,
    max_length: int = 1024,
    limit: int | None = None,
    seed: int = 0,
    patch: Patch | PatchRecord | Path | str | None = None,
    info: ModelInfo | None = None,
    fingerprint: str | None = None,
) -> Results:
    """Evaluate a model on a suite.

    Args:
        suite: a name, ``DIMENSION=PATH``, a :class:`Suite`, or several of them.
        judges: names or judges of your own; each judges every reply.
        out: a folder for results.json, replies.jsonl, margins.jsonl and perplexity.jsonl. What an
            interrupted evaluation left there is used again, if its settings were the same.
        max_length: most tokens of a pair or a passage.
        limit: only the first so many prompts, pairs and passages of each set.
        seed: of the bootstrap intervals; decoding is greedy.
        patch: evaluate the model with this patch (a folder or a Patch): it is applied for the
            time, unless the model carries it already. A PatchRecord is only written down.
        info: what the model is, as ``load_model`` says; found out from the model otherwise.
        fingerprint: the model's, where it is known, since computing it reads every weight.

    Raises:
        SettingsError: an option is wrong, or ``out`` holds another evaluation.
        DataError: a prompt or pair can't be used.
        PatchMismatch: the patch is another model's.
    """
    chosen = load_suites(suite).limited(limit)
    asked = _judges(judges)
    directory = Path(out) if out is not None else None
    engine = TransformersEngine(
        model,
        tokenizer,
        prompt_format=prompt_format,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        thinking=thinking,
    )
    # The suite's name is not among these: what is in it counts, and that is its hash.
    content = {"suite_sha256": chosen.sha256(), "max_length": max_length}
    with _patched(model, patch) as (patch_record, base):
        identity = _identity(model, info, base or fingerprint)
        run = {
            "fingerprint": identity.fingerprint,
            "dtype": identity.dtype,
            "patch": patch_record.checksum if patch_record else None,
            **content,
            **engine.settings,
        }
        store = ReplyStore(directory, run)
        encoder = Encoder(tokenizer, prompt_format, max_length, thinking)
        collect_replies(engine, chosen, store)
        margin_rows = _margins(model, encoder, chosen, directory)
        passage_rows = _passages(model, tokenizer, chosen, directory, max_length)
    for judge in asked:
        judge_replies(judge, chosen, store)
    store.save(suite_keys(chosen))
    labels = chosen.labels()
    metrics: list[Metric] = [
        *reply_metrics(chosen, store, [judge.name for judge in asked]),
        *margin_metrics(margin_rows, seed),
        *perplexity_metrics(passage_rows, seed),
    ]
    results = Results(
        model=identity,
        patch=patch_record,
        settings={
            "suite": chosen.name,
            **content,
            "decoding": dict(engine.settings),
            "judges": {judge.name: dict(judge.settings) for judge in asked},
            "batch_size": batch_size,
            "limit": limit,
            "seed": seed,
            "sets": [
                {
                    "suite": each.suite, "set": each.name, "kind": each.kind,
                    "dimension": each.dimension, "label": labels[each.suite, each.name],
                    "prompts": len(each.items),
                }
                for each in chosen.prompt_sets
            ],
        },
        metrics=tuple(metrics),
    )  # fmt: skip
    if directory is not None:
        results.save(directory)
    return results


def _judges(references: Sequence[str | Judge]) -> list[Judge]:
    if isinstance(references, str):
        references = [references]
    judges = [get_judge(each) if isinstance(each, str) else each for each in references]
    names = [judge.name for judge in judges]
    if len(set(names)) < len(names):
        raise SettingsError(f"--judge names a judge twice: {', '.join(names)}.")
    return judges


def _identity(model: Any, info: ModelInfo | None, fingerprint: str | None) -> ModelRecord:
    from declutch.models.identity import describe

    if info is not None:
        found = info.model_dump()
    elif fingerprint is not None:
        config = model.config
        found = {
            "id": getattr(config, "_name_or_path", "") or type(model).__name__,
            "revision": getattr(config, "_commit_hash", None),
            "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        }
    else:
        found = describe(model).model_dump()
    return ModelRecord(**{**found, "fingerprint": fingerprint or found["fingerprint"]})


@contextlib.contextmanager
def _patched(
    model: Any, patch: Patch | PatchRecord | Path | str | None
) -> Iterator[tuple[PatchRecord | None, str | None]]:
    """The patch applied for the time; what to record of it, and the fingerprint of its model."""
    if patch is None or isinstance(patch, PatchRecord):
        yield patch, None
        return
    from declutch.patching import Patch

    path = None if isinstance(patch, Patch) else str(patch)
    loaded = patch if isinstance(patch, Patch) else Patch.load(patch)
    record = PatchRecord(
        path=path,
        rule=loaded.info.rule,
        ratio=loaded.info.ratio,
        scale=loaded.info.scale,
        weights=len(loaded),
        checksum=loaded.info.checksum,
    )
    carried = loaded.verify(model) == "patched"
    with contextlib.nullcontext() if carried else loaded.applied(model, check=False):
        yield record, loaded.info.model.fingerprint


def _margins(
    model: PreTrainedModel, encoder: Encoder, suite: Suite, directory: Path | None
) -> list[MarginRow]:
    ids = [f"{name}/{pair.id}" for name, pairs in suite.pairs.items() for pair in pairs]
    kept = kept_rows(directory, "margins.jsonl", ids)
    if kept:
        return [MarginRow(**row) for row in kept]
    rows = margins(model, encoder, suite.pairs)
    if directory is not None:
        write_jsonl(directory / "margins.jsonl", [row.as_json() for row in rows])
    return rows


def _passages(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    suite: Suite,
    directory: Path | None,
    max_length: int,
) -> list[PerplexityRow]:
    ids = [f"{_PASSAGES}/{passage.id}" for passage in suite.passages]
    kept = kept_rows(directory, "perplexity.jsonl", ids)
    if kept:
        return [PerplexityRow(**row) for row in kept]
    rows = passage_nll(model, tokenizer, suite.passages, name=_PASSAGES, max_length=max_length)
    if directory is not None:
        write_jsonl(directory / "perplexity.jsonl", [row.as_json() for row in rows])
    return rows
