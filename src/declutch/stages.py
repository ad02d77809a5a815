"""``OUT/run.json``: what each stage of a run was made from, and the files that it left.

Settings are compared stage by stage, each with what that stage depends on: an option that only a
later stage reads spoils nothing that an earlier one left. A file that is not as its stage wrote it
is found, whichever it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from declutch.errors import FileFormatError, SettingsError
from declutch.files import changed_files, hash_files, write_json
from declutch.progress import log
from declutch.records import Record, differences, read_record, same_json
from declutch.versions import machine, versions
from declutch.words import joined

FORMAT_VERSION = 2  # 2: stages
RUN_FILE = "run.json"
MEMORY = "memory"  # what is said of a dimension whose examples were rows in memory
_CARD = "README.md"  # the report writes it into the checkpoint, and its owner may reword it


@dataclass(frozen=True)
class Stage:
    """A stage and its folder in OUT.

    Attributes:
        resumes: it uses itself what it left when it was interrupted; another begins anew.
        before: the stages that are made from it.
    """

    name: str
    resumes: bool
    before: tuple[str, ...] = ()


SCORES = Stage("scores", True, ("patch", "model", "after"))
PATCH = Stage("patch", False, ("model", "after"))
BEFORE = Stage("before", True)
MODEL = Stage("model", False)
AFTER = Stage("after", True)


class StageRecord(Record):
    """A stage that was begun.

    Attributes:
        made_from: settings, and checksums of what went in. With others it is another artefact.
        asked: settings that it takes anew from what is there, as other judges of the same replies.
        files: SHA-256 by name, once it is finished.
    """

    made_from: dict[str, Any]
    asked: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str] | None = None


class RunRecord(Record):
    """``run.json``: the settings of the last command, and the stages.

    Attributes:
        circumstances: versions and machine, on which numbers can depend in their last digits.
    """

    format_version: int = FORMAT_VERSION
    settings: dict[str, Any]
    circumstances: dict[str, str] = Field(default_factory=dict)
    stages: dict[str, StageRecord] = Field(default_factory=dict)


class RunFolder:
    """The folder of a run, new or to go on with.

    Args:
        settings: of this command, JSON values only.

    Raises:
        SettingsError: it holds something else.
        FileFormatError: ``run.json`` is damaged or of another version.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        refuse_other(out)
        self.out = out
        stages: dict[str, StageRecord] = {}
        if (out / RUN_FILE).exists():
            stages = read_record(out / RUN_FILE, RunRecord, FORMAT_VERSION).stages
            log.info("Going on with the run in %s", out)
        self._record = RunRecord(
            settings=dict(settings), circumstances={**versions(), **machine()}, stages=stages
        )

    def check(self, stage: Stage, made_from: Mapping[str, Any]) -> None:
        """See that a finished stage was made from these, of all that it was made from.

        Raises:
            SettingsError: it was made from something else; the message names it.
        """
        record = self._record.stages.get(stage.name)
        if record is None or record.files is None or not _filled(self.out / stage.name):
            return
        then = {key: record.made_from.get(key) for key in made_from}
        if changed := list(differences(then, dict(made_from))):
            again = [name for name in (stage.name, *stage.before) if _filled(self.out / name)]
            raise SettingsError(
                f"{self.out / stage.name} was made with other settings: {'; '.join(changed)}. "
                "Give the same settings to go on with it, or another -o; or remove "
                f"{_listed(self.out / name for name in again)}, and the same command makes "
                f"{'it' if len(again) == 1 else 'them'} again from the rest."
            )

    def done(
        self, stage: Stage, made_from: Mapping[str, Any], asked: Mapping[str, Any] | None = None
    ) -> bool:
        """Whether a stage is there, whole and made from just this; if not, it is begun.

        Raises:
            SettingsError: it was made from something else, or is none of this run's.
            FileFormatError: a file of it is not as it was written.
        """
        self.check(stage, made_from)
        folder = self.out / stage.name
        record = self._record.stages.get(stage.name)
        if record is None and _filled(folder):
            raise SettingsError(
                f"{folder} is there, and this run did not make it. Move it away, or give another "
                "-o."
            )
        known = (record.files if record else None) or {}
        changed = [name for name in changed_files(folder, known) if (folder / name).exists()]
        if changed:
            raise FileFormatError(
                f"{_listed(folder / name for name in changed)} "
                f"{'is' if len(changed) == 1 else 'are'} not as this run wrote "
                f"{'it' if len(changed) == 1 else 'them'}: damaged, changed or exchanged since. "
                "Put back what was there, or remove it, and the same command makes it again."
            )
        whole = bool(known) and all((folder / name).exists() for name in known)
        if whole and record is not None and same_json(record.asked, asked or {}):
            return True
        if not stage.resumes and folder.exists():
            if others := sorted(set(hash_files(folder)) - {*known, _CARD} if known else ()):
                raise SettingsError(
                    f"{folder} must be made again, and {', '.join(others)} in it is none of this "
                    "run's. Move that away first."
                )
            shutil.rmtree(folder)
        self._keep(stage, StageRecord(made_from=dict(made_from), asked=dict(asked or {})))
        return False

    def finish(self, stage: Stage) -> None:
        """Write down the files that a stage left."""
        record = self._record.stages[stage.name]
        files = hash_files(self.out / stage.name)
        self._keep(stage, record.model_copy(update={"files": files}))

    def _keep(self, stage: Stage, record: StageRecord) -> None:
        stages = {**self._record.stages, stage.name: record}
        self._record = self._record.model_copy(update={"stages": stages})
        write_json(self.out / RUN_FILE, self._record.model_dump(mode="json"))


def refuse_other(out: Path) -> None:
    """Refuse a folder that holds something else than a run.

    Raises:
        SettingsError: it does.
    """
    if (out / RUN_FILE).exists():
        return  # damage shows where it is read
    if (out / "replies.json").exists():
        raise SettingsError(
            f"{out} holds an evaluation, not a run. Give another -o, and leave it as it is."
        )
    if _filled(out):
        raise SettingsError(
            f"{out} exists, is not empty and holds no run. Give another -o, or remove it."
        )


def _filled(folder: Path) -> bool:
    """Whether anything is there; hidden files (a lock) don't count."""
    return folder.exists() and (
        not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir())
    )


def _listed(paths: Iterable[Path]) -> str:
    return joined([str(path) for path in paths])
