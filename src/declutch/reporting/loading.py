"""Fill a :class:`ReportInput` from the folder that a run leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from declutch.comparing.comparison import Comparison
from declutch.errors import FileFormatError
from declutch.files import read_json
from declutch.records import read_record
from declutch.reporting.values import PatchSummary, ReportInput, ScoredData

if TYPE_CHECKING:
    from declutch.training.record import TrainingRecord
    from declutch.tuning.record import TuneRecord

# What is known of a dimension, and what stands in its place where it is not.
_SCORED: dict[str, Any] = {
    "source": "", "sha256": "", "examples": 0, "tokens": None, "seconds": None,
}  # fmt: skip
# What must be there, and the command that makes it.
_NEEDED = {
    "patch/patch.json": "declutch locate {out}/scores … -o {out}/patch",
    "patch/patch.safetensors": "declutch locate {out}/scores … -o {out}/patch",
    "before/results.json": "declutch evaluate MODEL -o {out}/before",
    "after/results.json": "declutch evaluate MODEL --patch {out}/patch -o {out}/after",
}


def load_input(
    out: Path, comparison: Comparison | None = None, measures: Sequence[str] = ()
) -> ReportInput:
    """Read ``patch``, ``before`` and ``after``, and where present ``scores`` and ``model``.

    Raises:
        FileFormatError: something needed is missing or damaged; the message names it.
    """
    # Imported here: comparing loads scipy, and a page made from values needs none of it.
    from declutch.evaluating.compare import compare
    from declutch.patching import Patch
    from declutch.stability import Stability

    out = Path(out)
    check_complete(out)
    comparison = comparison or compare(out / "before", out / "after", measures=measures)
    path = out / "scores" / "scores.json"
    scores = _mapping(read_json(path) if path.is_file() else None)
    steps = {"score": scores.get("settings") or {}, "evaluate": comparison.after.settings}
    return ReportInput(
        out=out,
        comparison=comparison,
        patch=PatchSummary.of(Patch.load(out / "patch")),
        scored=tuple(
            ScoredData(name, **{fact: facts.get(fact, other) for fact, other in _SCORED.items()})
            for name, facts in _mapping(scores.get("dimensions")).items()
            if isinstance(facts, dict)
        ),
        settings={name: settings for name, settings in steps.items() if settings},
        model_parameters=count_parameters(out / "model"),
        stability=Stability.load(out),
        tuned=_tuned(out),
        training=_training(out),
    )


def _tuned(out: Path) -> TuneRecord | None:
    from declutch.tuning.record import FORMAT_VERSION, TUNE_FILE, TuneRecord

    path = out / TUNE_FILE
    return read_record(path, TuneRecord, FORMAT_VERSION) if path.is_file() else None


def _training(out: Path) -> TrainingRecord | None:
    from declutch.training.record import FORMAT_VERSION, TRAINING_FILE, TrainingRecord

    path = out / TRAINING_FILE
    return read_record(path, TrainingRecord, FORMAT_VERSION) if path.is_file() else None


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


def count_parameters(folder: Path) -> int | None:
    """Entries of all tensors of a checkpoint, read from the headers of its safetensors files.

    Raises:
        FileFormatError: a file there is not safetensors.
    """
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                names = list(file.keys())
                total += sum(math.prod(file.get_slice(key).get_shape()) for key in names)
        except (SafetensorError, OSError) as error:
            raise FileFormatError(f"{path} is not a whole safetensors file: {error}.") from error
    return total or None


def _mapping(value: Any) -> dict[str, Any]:
    """Nothing in place of what is something else: a report needs none of it."""
    return value if isinstance(value, dict) else {}
