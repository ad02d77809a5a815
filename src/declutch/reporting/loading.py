"""Fill a :class:`ReportInput` from the folder that a run leaves."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from declutch.errors import FileFormatError
from declutch.evaluation.rows import item_id
from declutch.files import read_json, read_jsonl
from declutch.reporting.values import PatchSummary, Reply, ReplyPair, ReportInput, Row, ScoredData

# What must be there, and the command that makes it.
_NEEDED = {
    "patch/patch.json": "declutch locate {out}/scores … -o {out}/patch",
    "patch/patch.safetensors": "declutch locate {out}/scores … -o {out}/patch",
    "before/results.json": "declutch evaluate MODEL -o {out}/before",
    "after/results.json": "declutch evaluate MODEL --patch {out}/patch -o {out}/after",
}
# No tensor table of a real checkpoint comes near it; a damaged length would ask for exabytes.
_LONGEST_HEADER = 100_000_000


def load_input(out: Path) -> ReportInput:
    """Read ``patch``, ``before`` and ``after``, and where present ``scores`` and ``model``.

    Raises:
        FileFormatError: something needed is missing or damaged; the message names it.
    """
    # Imported here: comparing loads scipy, and a page made from values needs none of it.
    from declutch.evaluation.compare import compare
    from declutch.evaluation.results import Results
    from declutch.patching import Patch

    out = Path(out)
    check_complete(out)
    before, after = Results.load(out / "before"), Results.load(out / "after")
    comparison = compare(out / "before", out / "after")
    scores = _scores(out / "scores" / "scores.json")
    return ReportInput(
        out=out,
        created=after.created,
        model_id=before.model.id,
        revision=before.model.revision,
        fingerprint=before.model.fingerprint,
        dtype=before.model.dtype,
        patch=PatchSummary.of(Patch.load(out / "patch")),
        rows=tuple(Row.of(row) for row in comparison.rows),
        notes=comparison.notes,
        replies=reply_pairs(out),
        margins=margin_pairs(out),
        scored=scored_data(scores),
        settings={
            name: settings
            for name, settings in (
                ("score", scores.get("settings") or {}),
                ("evaluate", after.settings),
            )
            if settings
        },
        versions=after.versions,
        model_parameters=count_parameters(out / "model"),
    )


def check_complete(out: Path) -> None:
    """See that what a report needs is there.

    Raises:
        FileFormatError: it names all that is missing and the commands that make it.
    """
    if not out.is_dir():
        raise FileFormatError(
            f"There is no folder {out}. Give the folder that «declutch run … -o OUT» wrote."
        )
    missing = [name for name in _NEEDED if not (out / name).is_file()]
    if missing:
        commands = dict.fromkeys(_NEEDED[name].format(out=out) for name in missing)
        raise FileFormatError(
            f"{out} is not complete, so no report can be made: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing. Run «declutch run» on this folder "
            f"again (it goes on where it stopped), or make them with: {'; '.join(commands)}."
        )


def reply_pairs(out: Path) -> tuple[ReplyPair, ...]:
    """Replies to the same prompt before and after, in the order of the first."""
    before, after = _by_id(out / "before/replies.jsonl"), _by_id(out / "after/replies.jsonl")
    return tuple(
        ReplyPair(
            suite=row.get("suite", ""),
            set=row["set"],
            id=row["id"],
            prompt=row["prompt"],
            before=_reply(row),
            after=_reply(after[key]),
        )
        for key, row in before.items()
        if key in after
    )


def margin_pairs(out: Path) -> dict[str, tuple[tuple[float, float], ...]]:
    """For each set the margin of each pair, before and after."""
    before, after = _by_id(out / "before/margins.jsonl"), _by_id(out / "after/margins.jsonl")
    sets: dict[str, list[tuple[float, float]]] = {}
    for key, row in before.items():
        if key not in after:
            continue
        pair = row["margin"], after[key]["margin"]
        if all(isinstance(value, int | float) and math.isfinite(value) for value in pair):
            sets.setdefault(row["set"], []).append(pair)
    return {name: tuple(pairs) for name, pairs in sets.items()}


def scored_data(scores: Mapping[str, Any]) -> tuple[ScoredData, ...]:
    """What each dimension was scored on, from ``scores.json``."""
    return tuple(
        ScoredData(
            name=name,
            source=str(facts.get("source", "")),
            sha256=str(facts.get("sha256", "")),
            examples=count if isinstance(count := facts.get("examples"), int) else 0,
            tokens=facts.get("tokens"),
            seconds=facts.get("seconds"),
        )
        for name, facts in _records(scores.get("dimensions")).items()
    )


def count_parameters(folder: Path) -> int | None:
    """Entries of all tensors of a checkpoint, read from the headers of its safetensors files.

    Raises:
        FileFormatError: a file there is not safetensors.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    total = 0
    for path in files:
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                if length > _LONGEST_HEADER:
                    raise ValueError(f"a header of {length} bytes")
                header = json.loads(file.read(length))
            total += sum(
                math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__"
            )
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise FileFormatError(f"{path} is not a whole safetensors file: {error}.") from error
    return total


def _scores(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    scores = read_json(path)
    return scores if isinstance(scores, dict) else {}


def _records(value: Any) -> dict[str, dict[str, Any]]:
    """Named objects, without what is something else."""
    entries = value.items() if isinstance(value, dict) else ()
    return {name: one for name, one in entries if isinstance(one, dict)}


def _by_id(path: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Rows of a JSONL file by suite, set and item; none where there is no such file."""
    if not path.is_file():
        return {}
    rows = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            # Of replies the id is the user's own; those to another prompt are not their pair.
            rows[row.get("suite", ""), row["set"], item_id(row["id"], row.get("prompt"))] = row
        except (KeyError, AttributeError, TypeError) as error:
            raise FileFormatError(
                f"{path}, row {number}: «set» and «id» are needed. Evaluate again."
            ) from error
    return rows


def _reply(row: Mapping[str, Any]) -> Reply:
    verdicts = {judge: each["verdict"] for judge, each in (row.get("verdicts") or {}).items()}
    return Reply(row["reply"], verdicts, cut=row.get("finish") == "length")
