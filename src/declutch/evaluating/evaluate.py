"""Evaluate a model: collect replies, ask the judges, measure, and write one file of results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declutch.comparing.results import ModelRecord, PatchRecord, Results
from declutch.data.encoding import Encoder
from declutch.evaluating.keeping import Ledger
from declutch.evaluating.plan import Plan, SuiteLike, asked_measures, decoding_from, make_plan
from declutch.files import write_jsonl
from declutch.judges.asking import judge_replies
from declutch.judges.base import Judge
from declutch.locks import locked
from declutch.measures.base import Measure, Subject, all_measures
from declutch.models.forward import evaluation_mode
from declutch.progress import log
from declutch.replies.collecting import collect_replies, suite_keys
from declutch.replies.cutting import cuts
from declutch.replies.decoding import Decoding
from declutch.replies.engine import ReplyEngine
from declutch.replies.store import ReplyStore
from declutch.replies.transformers_engine import TransformersEngine
from declutch.settings import EvaluateSettings, with_options

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from declutch.models.identity import ModelInfo
    from declutch.patching import Patch

NOT_READ = "not read"


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    suite: SuiteLike | None = None,
    *,
    judges: Sequence[str | Judge] | None = None,
    settings: EvaluateSettings | None = None,
    decoding: Decoding | None = None,
    out: Path | str | None = None,
    patch: Patch | PatchRecord | Path | str | None = None,
    model_info: ModelInfo | None = None,
    fingerprint: str | None = None,
    **options: Any,
) -> Results:
    """Evaluate a model on a suite.

    Args:
        suite: a name, ``DIMENSION=PATH``, a :class:`Suite`, or several of them; or a mapping from
            dimension (or ``harmless:DIMENSION``) to a source or to rows in memory. The settings'
            own where it is None.
        judges: names or judges of your own; each judges every reply. The settings' own where None.
        settings: how; and fields of it as keywords (``limit=50``), which win.
        decoding: how replies are made, in place of what the settings say.
        out: a folder for results.json, replies.jsonl and the items of each measure. What an
            interrupted evaluation left there is used again, if its settings were the same.
        patch: evaluate the model with this patch (a folder or a Patch): it is applied for the
            time, unless the model carries it already. A PatchRecord is only written down.
        model_info: what the model is, as ``load_model`` says; found out from the model otherwise.
        fingerprint: the model's, where it is known, since computing it reads every weight.

    Raises:
        SettingsError: an option is wrong, or ``out`` holds another evaluation.
        DataError, ModelError: a prompt can't be used, or the model is not causal.
        PatchMismatch: the patch is another model's.
    """
    plan = make_plan(
        with_options(EvaluateSettings, settings, options), suite, judges,
        greedy=None if decoding is None else decoding.greedy,
    )  # fmt: skip
    engine = TransformersEngine(
        model, tokenizer, decoding or decoding_from(plan.settings),
        batch_size=plan.settings.batch_size,
    )  # fmt: skip
    encoder = Encoder(
        tokenizer, engine.decoding.prompt_format, plan.settings.max_length,
        engine.decoding.thinking,
    )  # fmt: skip
    subject = Subject(plan.suite, plan.settings, model, tokenizer, encoder)
    measures = asked_measures(subject)
    notes = _looked_at(subject, measures)
    directory = Path(out) if out is not None else None
    # The suite's name is not among these: what is in it counts, and that is its hash.
    content = {"suite_sha256": plan.suite.sha256(), "max_length": plan.settings.max_length}
    with locked(directory):
        # Measured without dropout, whatever the caller was doing.
        with evaluation_mode(model), _patched(model, patch) as (patch_record, base):
            identity = _identity(model, model_info, base or fingerprint)
            run = {
                "fingerprint": identity.fingerprint,
                "dtype": identity.dtype,
                "patch": patch_record.checksum if patch_record else None,
                **content,
            }
            store = ReplyStore(directory, {**run, **engine.settings, **_several(plan)})
            ledger = Ledger(directory, {**run, "prompt_format": engine.decoding.prompt_format})
            for measure in measures:
                ledger.measure(measure, measure.parts(subject))
            collect_replies(engine, plan.asked, store)
        return _finished(
            plan, engine, store, ledger, measures, identity, patch_record, content, notes
        )


def evaluate_engine(
    engine: ReplyEngine,
    suite: SuiteLike | None = None,
    *,
    model: str | ModelRecord,
    judges: Sequence[str | Judge] | None = None,
    settings: EvaluateSettings | None = None,
    out: Path | str | None = None,
    **options: Any,
) -> Results:
    """Evaluate whatever an engine asks: a deployed model whose weights are not at hand.

    What needs the weights is left out; the results say so.

    Args:
        model: what it is called. With a name alone, nothing else is known of it, and two models
            of one name can't be told apart: give each evaluation a folder of its own.
        suite, judges, settings, out, options: see :func:`evaluate`.

    Raises:
        SettingsError: an option is wrong, or ``out`` holds another evaluation.
        DataError: a prompt can't be used.
        ServerError: a server failed for good.
    """
    plan = make_plan(
        with_options(EvaluateSettings, settings, options), suite, judges,
        weights=False, greedy=engine.settings.get("decoding") == "greedy",
    )  # fmt: skip
    subject = Subject(plan.suite, plan.settings)
    asked = [measure for measure in asked_measures(subject) if measure.needs == "replies"]
    if isinstance(model, str):
        model = ModelRecord(id=model, fingerprint=NOT_READ, dtype=NOT_READ)
    content = {"suite_sha256": plan.suite.sha256()}
    known = {"model": model.id, **model.model_dump(include={"revision", "fingerprint"}), **content}
    directory = Path(out) if out is not None else None
    notes = _looked_at(subject, asked)
    cuts(engine, plan.settings.lengths)  # an engine that can't say so before it is asked
    left_out = [m.facts.title.lower() for m in all_measures() if m.needs == "weights"]
    notes.append(f"Only replies were measured: {', '.join(left_out)} need the model's weights.")
    with locked(directory):
        store = ReplyStore(directory, {**known, **engine.settings, **_several(plan)})
        ledger = Ledger(directory, known)
        collect_replies(engine, plan.asked, store)
        for measure in asked:
            ledger.measure(measure, measure.parts(subject))
        return _finished(plan, engine, store, ledger, asked, model, None, content, notes)


def _looked_at(subject: Subject, measures: Sequence[Measure[Any]]) -> list[str]:
    """What is wrong with the options shows here, before the long work; and what is to be said."""
    notes = [*subject.suite.notes]
    for measure in measures:
        notes += measure.check(subject) or []
    for note in notes:
        log.warning("%s", note)
    return notes


def _finished(
    plan: Plan,
    engine: ReplyEngine,
    store: ReplyStore,
    ledger: Ledger,
    measures: Sequence[Measure[Any]],
    identity: ModelRecord,
    patch: PatchRecord | None,
    content: Mapping[str, Any],
    notes: Sequence[str],
) -> Results:
    """Ask the judges, and make the results, written where there is a folder."""
    for cut in (None, *cuts(engine, plan.settings.lengths)):
        for judge in plan.judges:
            judge_replies(judge, plan.suite, store, cut)
    store.save(suite_keys(plan.asked))
    evidence = plan.evidence(replies=list(store), items=ledger.items, facts=ledger.facts)
    settings = plan.settings
    results = Results(
        model=identity,
        patch=patch,
        settings={
            "suite": plan.suite.name,
            **content,
            "batch_size": settings.batch_size,
            "limit": settings.limit,
            "seed": settings.seed,
            **_several(plan),
            **({"capability": list(settings.capability)} if settings.capability else {}),
            **({"dependence": settings.dependence} if settings.dependence else {}),
            "decoding": dict(engine.settings),
            "judges": {judge.name: dict(judge.settings) for judge in plan.judges},
            "manner_judges": evidence.manner_judges,
            **({"lengths": evidence.lengths} if evidence.lengths else {}),
            **({"notes": list(notes)} if notes else {}),
            "sets": [each.model_dump(mode="json") for each in evidence.sets],
        },
        measures={measure.facts.name: measure.facts for measure in measures},
        metrics=tuple(
            metric for measure in measures for metric in measure.metrics(evidence, settings.seed)
        ),
    )
    if store.directory is not None:
        for measure in measures:
            for name, rows in measure.files(evidence).items():
                if rows is None:  # what an earlier evaluation left there is of other judges
                    (store.directory / name).unlink(missing_ok=True)
                else:
                    write_jsonl(store.directory / name, rows)
        results.save(store.directory)
    return results


def _several(plan: Plan) -> dict[str, int]:
    """How many replies a prompt gets, where it is not one."""
    number = plan.settings.num_replies
    return {"num_replies": number} if number > 1 else {}


def _identity(model: Any, info: ModelInfo | None, fingerprint: str | None) -> ModelRecord:
    from declutch.models.identity import describe

    found = (info or describe(model, known=fingerprint)).model_dump()
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

    path, loaded = (None, patch) if isinstance(patch, Patch) else (str(patch), Patch.load(patch))
    info = loaded.info
    record = PatchRecord(
        path=path, rule=info.rule, ratio=info.ratio, scale=info.scale, weights=len(loaded),
        checksum=info.checksum,
    )  # fmt: skip
    carried = loaded.verify(model) == "patched"
    with contextlib.nullcontext() if carried else loaded.applied(model, check=False):
        yield record, info.model.fingerprint
