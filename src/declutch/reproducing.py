"""Do a run again from its record, and say what came out otherwise.

What is compared is what ``run.json`` says of each stage: what it was made from, and the SHA-256 of
each file that it left. So the record alone is enough; where the first run's files are there too,
facts that carry a date, seconds or versions are compared without those, and a patch weight by
weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from declutch.errors import DeclutchError, SettingsError
from declutch.files import expanded, is_file, read_json, write_json
from declutch.patching import Patch
from declutch.pipeline import AUTO, run
from declutch.records import Record, differing, read_record
from declutch.settings import PARTS, RunSettings, with_options
from declutch.stages import FORMAT_VERSION, MEMORY, RUN_FILE, RunRecord

FILE_NAME = "reproduction.json"
# What is another each time, or only a hash of what is compared itself.
_PASSING = ("created", "seconds", "versions", "checksum", "items")
_WORDS = ("in the record", "here")


class Artefact(Record):
    """One file of a stage.

    Attributes:
        same: None where the record alone can't tell.
        differences: what is otherwise, in words.
    """

    name: str
    same: bool | None
    differences: tuple[str, ...] = ()


class Reproduction(Record):
    """What came of doing a run again.

    Attributes:
        inputs: what went into a stage and is otherwise: data, model, patch, suite.
        artefacts: every file of every stage.
        circumstances: versions and machine, where they differ: why results may.
    """

    inputs: tuple[str, ...]
    artefacts: tuple[Artefact, ...]
    circumstances: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing that can be compared is otherwise."""
        return not self.inputs and all(one.same is not False for one in self.artefacts)


def reproduce(folder: Path | str, out: Path | str) -> Reproduction:
    """Do a run again in another folder, from its record, and compare.

    Args:
        folder: of the run; ``run.json`` in it is enough.
        out: the folder to write; a stopped reproduction goes on there.

    Returns:
        What differs; also in ``reproduction.json`` in ``out``.

    Raises:
        SettingsError: the record does not hold all that went in, or the folders are one.
        FileFormatError: the record is damaged or of another version.
        DeclutchError: see :func:`declutch.run`.
    """
    folder, out = expanded(folder), expanded(out)
    if folder.resolve() == out.resolve():
        raise SettingsError(f"{out} is the run that is to be done again. Give another -o.")
    settings = recorded_settings(folder)
    run(settings, out=out)
    found = compare_runs(folder, out)
    write_json(out / FILE_NAME, {"same": found.same, **found.model_dump(mode="json")})
    return found


def recorded_settings(folder: Path) -> RunSettings:
    """The settings of a run, from its record.

    Raises:
        SettingsError: the run can't be done again from its record.
    """
    record = read_record(folder / RUN_FILE, RunRecord, FORMAT_VERSION)
    given = record.settings
    sources = {**given.get("couple", {}), **given.get("exclude", {})}
    if unknown := [name for name, source in sources.items() if source == MEMORY]:
        raise SettingsError(
            f"{folder} can't be done again from its record: the examples of {', '.join(unknown)} "
            "were rows in memory, which no record holds. Write them to a file, and run with that."
        )
    parts = {
        part: with_options(kind, None, {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.get(part, {}).items()
        })
        for part, kind in PARTS.items()
    }  # fmt: skip
    if parts["locate"].rule == AUTO:
        raise SettingsError(
            f"{folder} is a search, which goes as far as its minutes reach on a machine: it can't "
            "be done again step by step. Do a run with the edit that it found (the rule and "
            "options in tune.json), and reproduce that."
        )
    return RunSettings(
        model=given["model"], couple=given["couple"], exclude=given["exclude"], **parts
    )


def compare_runs(folder: Path, out: Path) -> Reproduction:
    """Compare the records of two runs, and of the other samples that they drew."""
    inputs: list[str] = []
    artefacts: list[Artefact] = []
    circumstances: list[str] = []
    for path in sorted(folder.rglob(RUN_FILE)):
        part = path.parent.relative_to(folder)
        then, now = (
            read_record(root / part / RUN_FILE, RunRecord, FORMAT_VERSION) for root in (folder, out)
        )
        circumstances += differing(then.circumstances, now.circumstances, _WORDS)
        for stage, record in then.stages.items():
            other = now.stages[stage]
            inputs += [
                f"{part / stage}: {text}"
                for text in differing(record.made_from, other.made_from, _WORDS)
            ]
            for name, digest in (record.files or {}).items():
                at = part / stage / name
                same = (other.files or {}).get(name) == digest
                artefacts.append(
                    Artefact(name=str(at), same=True) if same else _otherwise(folder, out, at)
                )
    return Reproduction(
        inputs=tuple(inputs),
        artefacts=tuple(artefacts),
        circumstances=tuple(dict.fromkeys(circumstances)),
    )


def _otherwise(folder: Path, out: Path, at: Path) -> Artefact:
    """A file whose bytes are others."""
    if not is_file(out / at):
        return Artefact(name=str(at), same=False, differences=("it was not made",))
    if at.suffix == ".json":
        if not is_file(folder / at):
            return Artefact(name=str(at), same=None)
        then, now = (dict(_facts(read_json(root / at))) for root in (folder, out))
        found = tuple(differing(then, now, _WORDS))
        return Artefact(name=str(at), same=not found, differences=found)
    return Artefact(name=str(at), same=False, differences=_weights(folder, out, at))


def _facts(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What a JSON value holds, place by place, without what is another each time."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key not in _PASSING:
                yield from _facts(one, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        for number, one in enumerate(value):
            yield from _facts(one, f"{name}.{one.get('name', number)}")
    else:
        yield name, value


def _weights(folder: Path, out: Path, at: Path) -> tuple[str, ...]:
    """How many weights two patches share, where both are there."""
    if at.name != "patch.safetensors":
        return ()
    try:
        then, now = (Patch.load((root / at).parent) for root in (folder, out))
        shared = sum(
            len(set(one.tolist()) & set(now.indices[name].tolist()))
            for name, one in then.indices.items()
            if name in now.indices
        )
    except DeclutchError:
        return ()
    return (f"{shared} weights are in both, of {len(then)} {_WORDS[0]} and {len(now)} {_WORDS[1]}",)
