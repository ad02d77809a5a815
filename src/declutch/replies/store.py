"""The replies of one evaluation, on disk as they come, so that an interrupted one goes on.

``replies.json`` beside them holds all that they depend on. A folder where it says otherwise is
refused: replies of two models, or of two ways of decoding, never get mixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from declutch.errors import FileFormatError, SettingsError
from declutch.files import append_jsonl, read_json, read_jsonl, write_json, write_jsonl
from declutch.items import item_id, refuse_doubled
from declutch.records import differing
from declutch.replies.engine import Finish, Reply, strip_reasoning
from declutch.replies.flags import ReplyFlags, reply_kinds
from declutch.replies.verdicts import SAID, Verdict

FORMAT_VERSION = 1
RUN_FILE = "replies.json"
REPLIES_FILE = "replies.jsonl"

Key = tuple[str, str, str]


@dataclass
class ReplyRow:
    """One row of ``replies.jsonl``; replies of one ``cluster`` are not independent."""

    suite: str
    set: str
    id: str
    prompt: str
    reply: str
    finish: Finish
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    cluster: str = ""

    @property
    def key(self) -> Key:
        """What makes the row one of a kind."""
        return self.suite, self.set, self.id

    @property
    def pairing(self) -> str:
        """What two evaluations are paired by: the key, and what the prompt says."""
        return item_id("/".join(self.key), self.prompt)

    @property
    def shown(self) -> str:
        """What a judge is shown: the reply without its reasoning."""
        return strip_reasoning(self.reply)

    @property
    def kinds(self) -> ReplyFlags:
        """What kind of reply it is."""
        return reply_kinds(self.shown, self.finish)

    def as_json(self) -> dict[str, Any]:
        """The row as it stands in the file."""
        return {
            "suite": self.suite,
            "set": self.set,
            "id": self.id,
            **({"cluster": self.cluster} if self.cluster else {}),
            "prompt": self.prompt,
            **({"facts": self.facts} if self.facts else {}),
            "reply": self.reply,
            "finish": self.finish,
            "kinds": self.kinds.as_dict(),
            "verdicts": {
                judge: {"verdict": v.verdict, "raw": v.raw, "reason": v.reason}
                for judge, v in self.verdicts.items()
            },
        }


def read_replies(directory: Path, *, drop_torn_tail: bool = False) -> list[ReplyRow]:
    """Read ``replies.jsonl`` from a folder.

    Raises:
        FileFormatError: it is missing or damaged.
    """
    path = Path(directory) / REPLIES_FILE
    rows = []
    for number, value in enumerate(read_jsonl(path, drop_torn_tail=drop_torn_tail), start=1):
        try:
            rows.append(_row(value))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(
                f"{path}, row {number}: not a reply as declutch writes it ({error!r}). Remove that "
                "line and evaluate again: only its reply is asked for anew."
            ) from error
    refuse_doubled(path, [row.key for row in rows])
    return rows


def _row(value: Any) -> ReplyRow:
    texts = [value[key] for key in ("suite", "set", "id", "prompt", "reply")]
    if not all(isinstance(text, str) for text in (*texts, value.get("cluster", ""))):
        raise TypeError("a field is not text")
    if value["finish"] not in ("stop", "length"):
        raise ValueError(f"finish is {value['finish']!r}")
    verdicts = {}
    for judge, each in value["verdicts"].items():
        if not any(each["verdict"] in names for names in SAID.values()):
            raise ValueError(f"verdict is {each['verdict']!r}")
        verdicts[judge] = Verdict(each["verdict"], each["reason"], each["raw"])
    facts = {key: value["facts"][key] for key in value.get("facts", ())}
    if not all(isinstance(text, str) for text in facts.values()):
        raise TypeError("a fact is not text")
    suite, name, item, prompt, reply = texts
    finish, cluster = cast(Finish, value["finish"]), value.get("cluster", "")
    return ReplyRow(suite, name, item, prompt, reply, finish, verdicts, facts, cluster)


class ReplyStore:
    """Replies by (suite, set, id), kept in a folder, or in memory alone for ``directory=None``.

    Args:
        directory: where ``replies.json`` and ``replies.jsonl`` are.
        run: all that the replies depend on, by plain names: the model, the patch, decoding, the
            suite. JSON values only.

    Raises:
        SettingsError: the folder holds the replies of another run; the message says what differs.
        FileFormatError: a file there is damaged.
    """

    def __init__(self, directory: Path | None, run: Mapping[str, Any]) -> None:
        self.directory = Path(directory) if directory is not None else None
        self._rows: dict[Key, ReplyRow] = {}
        self._judges: dict[str, Any] = {}
        self._run = dict(run)
        if self.directory is not None:
            self._open(self.directory)

    def _open(self, directory: Path) -> None:
        replies, run = directory / REPLIES_FILE, directory / RUN_FILE
        if (directory / "run.json").exists():
            raise SettingsError(
                f"{directory} holds a whole run, with evaluations of its own in "
                f"{directory / 'before'} and {directory / 'after'}. Give this one a folder of its "
                f"own with -o, such as {directory / 'evaluation'}."
            )
        if run.exists():
            self._judges = check_run(directory, self._run)
        elif replies.exists():
            raise FileFormatError(
                f"{replies} is there without its {RUN_FILE}, so it can't be told what the replies "
                "depend on. Choose another folder with -o."
            )
        if replies.exists():
            # The last line may be torn: the process was ended while it wrote.
            rows = read_replies(directory, drop_torn_tail=True)
            self._rows = {row.key: row for row in rows}
            write_jsonl(replies, [row.as_json() for row in rows])
        self._write_run()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def __getitem__(self, key: Key) -> ReplyRow:
        return self._rows[key]

    def __iter__(self) -> Iterator[ReplyRow]:
        return iter(self._rows.values())

    def add(
        self,
        suite: str,
        name: str,
        item: str,
        prompt: str,
        reply: Reply,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """Keep a reply, on disk at once."""
        row = ReplyRow(suite, name, item, prompt, reply.text, reply.finish, {}, dict(facts or {}))
        self._rows[row.key] = row
        if self.directory is not None:
            append_jsonl(self.directory / REPLIES_FILE, [row.as_json()])

    def unjudged(self, judge: str, settings: Mapping[str, Any]) -> list[ReplyRow]:
        """Rows that this judge has not judged; what it said with other settings is dropped."""
        if self._judges.get(judge) != dict(settings):
            for row in self._rows.values():
                row.verdicts.pop(judge, None)
            self._judges[judge] = dict(settings)
            self.save()
        return [row for row in self._rows.values() if judge not in row.verdicts]

    def save(self, clusters: Mapping[Key, str] | None = None) -> None:
        """Write all rows with their verdicts: those given, in that order, or as they came.

        Args:
            clusters: for each row the cluster that it belongs to.
        """
        if clusters is not None:
            self._rows = {
                key: replace(self._rows[key], cluster=name) for key, name in clusters.items()
            }
        if self.directory is not None:
            write_jsonl(self.directory / REPLIES_FILE, [row.as_json() for row in self])
            self._write_run()

    def _write_run(self) -> None:
        assert self.directory is not None
        write_json(
            self.directory / RUN_FILE,
            {"format_version": FORMAT_VERSION, "run": self._run, "judges": self._judges},
        )


def check_run(directory: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """Check that a folder was made by the same run; return the settings of its judges.

    Raises:
        SettingsError: something differs.
        FileFormatError: ``replies.json`` is damaged or of an unknown version.
    """
    path = directory / RUN_FILE
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format_version") != FORMAT_VERSION:
        raise FileFormatError(
            f"{path} is not a run file of version {FORMAT_VERSION}. Update declutch, or choose "
            "another folder with -o."
        )
    found, judges = value.get("run"), value.get("judges")
    if not isinstance(found, dict) or not isinstance(judges, dict):
        raise FileFormatError(f"{path} is damaged. Choose another folder with -o.")
    differences = differing(found, run)
    if differences:
        raise SettingsError(
            f"{directory} already holds an evaluation with other settings: "
            f"{'; '.join(differences)}. Choose another folder with -o, or give the same settings "
            "to go on with it."
        )
    return judges
