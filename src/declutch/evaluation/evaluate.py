"""Evaluate a model: replies and verdicts, margin, perplexity, capability; one file of results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declutch.data.encoding import Encoder, PromptFormat
from declutch.errors import SettingsError
from declutch.evaluation.agreement import FILE_NAME as DISAGREEMENTS
from declutch.evaluation.agreement import agreement_metrics, disagreements
from declutch.evaluation.awareness import (
    collect_replies,
    judge_replies,
    reply_metrics,
    suite_keys,
)
from declutch.evaluation.checking import check_evaluation, split_suites
from declutch.evaluation.decoding import Decoding
from declutch.evaluation.dependence import (
    ROWS_FILE,
    Pairing,
    dependence_metrics,
    suite_dependence,
)
from declutch.evaluation.judges import Judge
from declutch.evaluation.keeping import kept_margins, kept_passages
from declutch.evaluation.margin import margin_metrics, usable_pairs
from declutch.evaluation.perplexity import perplexity_metrics
from declutch.evaluation.replies import ReplyEngine, TransformersEngine
from declutch.evaluation.results import Metric, ModelRecord, PatchRecord, Results
from declutch.evaluation.store import ReplyStore
from declutch.evaluation.suites import Suite
from declutch.evaluation.wording import replies_by_dimension, wording_metrics
from declutch.files import write_jsonl
from declutch.locks import locks_out
from declutch.progress import log

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from declutch.models.identity import ModelInfo
    from declutch.patching import Patch

NOT_READ = "not read"


@locks_out
def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    suite: str | Suite | Iterable[str | Suite] | Mapping[str, Any] = "bundled",
    *,
    judges: Sequence[str | Judge] = ("heuristic",),
    out: Path | str | None = None,
    decoding: Decoding | str = "chat",
    batch_size: int = 16,
    max_new_tokens: int | None = None,
    prompt_format: PromptFormat | None = None,
    thinking: bool | None = None,
    max_length: int = 1024,
    limit: int | None = None,
    capability: Sequence[str] = (),
    capability_limit: int | None = None,
    dependence: Pairing | None = None,
    seed: int = 0,
    patch: Patch | PatchRecord | Path | str | None = None,
    info: ModelInfo | None = None,
    fingerprint: str | None = None,
) -> Results:
    """Evaluate a model on a suite.

    Args:
        suite: a name, ``DIMENSION=PATH``, a :class:`Suite`, or several of them; or a mapping from
            dimension (or ``harmless:DIMENSION``) to a source or to rows in memory.
        judges: names or judges of your own; each judges every reply.
        out: a folder for results.json, replies.jsonl, margins.jsonl and perplexity.jsonl. What an
            interrupted evaluation left there is used again, if its settings were the same.
        decoding: how replies are made; a :class:`Decoding`, or a preset's name.
        max_new_tokens, prompt_format, thinking: in place of what ``decoding`` says.
        max_length: most tokens of a pair or a passage.
        limit: only the first so many prompts, pairs and passages of each set.
        capability: capability tasks by name, measured in memory.
        capability_limit: only the first so many items of each task; ``limit`` where it is None.
        dependence: measure how much the representations of two dimensions depend on each other,
            layer by layer, with prompts paired by ``order``, ``length`` or ``seeded`` chance.
        seed: of the bootstrap intervals; that of sampled replies is the decoding's.
        patch: evaluate the model with this patch (a folder or a Patch): it is applied for the
            time, unless the model carries it already. A PatchRecord is only written down.
        info: what the model is, as ``load_model`` says; found out from the model otherwise.
        fingerprint: the model's, where it is known, since computing it reads every weight.

    Raises:
        SettingsError: an option is wrong, or ``out`` holds another evaluation.
        DataError, ModelError: a prompt or pair can't be used, or the model is not causal.
        PatchMismatch: the patch is another model's.
    """
    # What can be wrong with these is found before the long work.
    chosen, tasks, asked = check_evaluation(
        suite, judges, limit=limit, capability=capability, capability_limit=capability_limit,
        dependence=dependence, batch_size=batch_size,
    )  # fmt: skip
    directory = Path(out) if out is not None else None
    engine = TransformersEngine(
        model,
        tokenizer,
        decoding,
        batch_size=batch_size,
        prompt_format=prompt_format,
        max_new_tokens=max_new_tokens,
        thinking=thinking,
    )
    # The suite's name is not among these: what is in it counts, and that is its hash.
    content = {"suite_sha256": chosen.sha256(), "max_length": max_length}
    with _patched(model, patch) as (patch_record, base):
        identity = _identity(model, info, base or fingerprint)
        weights = {
            "fingerprint": identity.fingerprint,
            "dtype": identity.dtype,
            "patch": patch_record.checksum if patch_record else None,
        }
        store = ReplyStore(directory, {**weights, **content, **engine.settings})
        encoder = Encoder(
            tokenizer, engine.decoding.prompt_format, max_length, engine.decoding.thinking
        )
        # Before the replies: what can't be measured is said at once.
        pairs, left_out = usable_pairs(encoder, chosen.pairs)
        for note in left_out:
            log.warning("%s", note)
        margin_rows = kept_margins(model, encoder, pairs, directory)
        passage_rows = kept_passages(model, tokenizer, chosen.passages, directory, max_length)
        collect_replies(engine, chosen, store)
        depending = _dependence(model, encoder, chosen, directory, dependence, seed)
        measured = _capability(
            model,
            tokenizer,
            tasks,
            limit=limit if capability_limit is None else capability_limit,
            out=directory,
            batch_size=batch_size,
            seed=seed,
            run=weights,
        )
    metrics = [
        *_judged(asked, chosen, store, seed),
        *margin_metrics(margin_rows, seed),
        *perplexity_metrics(passage_rows, seed),
        *measured,
        *depending,
    ]
    return _finished(
        identity, patch_record, chosen, engine, asked, metrics, directory,
        {
            **content, "batch_size": batch_size, "limit": limit, "seed": seed,
            **({"capability": list(tasks)} if tasks else {}),
            **({"dependence": dependence} if dependence else {}),
        },
        left_out,
    )  # fmt: skip


@locks_out
def evaluate_engine(
    engine: ReplyEngine,
    suite: str | Suite | Iterable[str | Suite] | Mapping[str, Any] = "bundled",
    *,
    model: str | ModelRecord,
    judges: Sequence[str | Judge] = ("heuristic",),
    out: Path | str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Results:
    """Evaluate whatever an engine asks: a deployed model whose weights are not at hand.

    Margin, perplexity and capability need the weights, so they are left out; the results say so.

    Args:
        model: what it is called. With a name alone, nothing else is known of it, and two models
            of one name can't be told apart: give each evaluation a folder of its own.
        suite, judges, out, limit, seed: see :func:`evaluate`.

    Raises:
        SettingsError: an option is wrong, or ``out`` holds another evaluation.
        DataError: a prompt can't be used.
        ServerError: a server failed for good.
    """
    references, tasks = split_suites(suite, ())
    if tasks:
        raise SettingsError(
            f"{', '.join(tasks)}: capability needs the model's weights. Leave it out, or evaluate "
            "the model with --engine transformers."
        )
    chosen, _, asked = check_evaluation(references, judges, limit=limit)
    directory = Path(out) if out is not None else None
    identity = (
        model
        if isinstance(model, ModelRecord)
        else ModelRecord(id=model, fingerprint=NOT_READ, dtype=NOT_READ)
    )
    content = {"suite_sha256": chosen.sha256()}
    run = {
        "model": identity.id,
        "revision": identity.revision,
        "fingerprint": identity.fingerprint,
        **content,
        **engine.settings,
    }
    store = ReplyStore(directory, run)
    collect_replies(engine, chosen, store)
    metrics = _judged(asked, chosen, store, seed)
    note = (
        "Only replies were measured: the preference margin, perplexity and capability need the "
        "model's weights."
    )
    return _finished(
        identity, None, chosen, engine, asked, metrics, directory,
        {**content, "limit": limit, "seed": seed}, [note],
    )  # fmt: skip


def _judged(judges: Sequence[Judge], suite: Suite, store: ReplyStore, seed: int) -> list[Metric]:
    """Metrics of the replies, once each judge has judged them."""
    for judge in judges:
        judge_replies(judge, suite, store)
    store.save(suite_keys(suite))
    names = [judge.name for judge in judges]
    if store.directory is not None:
        if len(names) > 1:
            write_jsonl(store.directory / DISAGREEMENTS, disagreements(suite, store, names))
        else:  # of an earlier time with more judges
            (store.directory / DISAGREEMENTS).unlink(missing_ok=True)
    sets = {(s.suite, s.name): s.dimension for s in suite.prompt_sets if s.kind == "awareness"}
    return [
        *reply_metrics(suite, store, names),
        *agreement_metrics(suite, store, names, seed),
        *wording_metrics(replies_by_dimension(store, sets), seed=seed),
    ]


def _finished(
    identity: ModelRecord,
    patch: PatchRecord | None,
    suite: Suite,
    engine: ReplyEngine,
    judges: Sequence[Judge],
    metrics: Sequence[Metric],
    directory: Path | None,
    settings: dict[str, Any],
    notes: Sequence[str] = (),
) -> Results:
    """The results, written where there is a folder; what a reader must know is logged."""
    labels = suite.labels()
    said = [*suite.notes, *notes]
    for note in said:
        log.warning("%s", note)
    results = Results(
        model=identity,
        patch=patch,
        settings={
            "suite": suite.name,
            **settings,
            "decoding": dict(engine.settings),
            "judges": {judge.name: dict(judge.settings) for judge in judges},
            **({"notes": said} if said else {}),
            "sets": [
                {
                    "suite": each.suite, "set": each.name, "kind": each.kind,
                    "dimension": each.dimension, "label": labels[each.suite, each.name],
                    "prompts": len(each.items),
                }
                for each in suite.prompt_sets
            ],
        },
        metrics=tuple(metrics),
    )  # fmt: skip
    if directory is not None:
        results.save(directory)
    return results


def _dependence(
    model: PreTrainedModel,
    encoder: Encoder,
    suite: Suite,
    directory: Path | None,
    pairing: Pairing | None,
    seed: int,
) -> list[Metric]:
    """Not resumed: it takes a forward pass a prompt."""
    if pairing is None:
        return []
    rows = suite_dependence(model, encoder, suite, pairing=pairing, seed=seed)
    if directory is not None:
        write_jsonl(directory / ROWS_FILE, [row.as_json() for row in rows])
    return dependence_metrics(rows)


def _capability(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tasks: Sequence[str], **options: Any
) -> list[Metric]:
    if not tasks:
        return []
    from declutch.evaluation.capability import evaluate_capability
    from declutch.models.forward import evaluation_mode

    with evaluation_mode(model):
        return evaluate_capability(model, tokenizer, tasks, **options)


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
