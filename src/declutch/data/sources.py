"""Where a data set comes from, in one line of text or in a mapping of a configuration file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, unquote

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from declutch.data import bundled
from declutch.data.cells import as_list, shown
from declutch.data.filters import Condition
from declutch.errors import DataError
from declutch.files import expanded, is_file

ENDINGS: Final = (".csv", ".json", ".jsonl", ".ndjson", ".parquet")
_FILES: Final = (*ENDINGS, *(f"{ending}.gz" for ending in ENDINGS if ending != ".parquet"))
KEYS: Final = ("split", "config", "revision", "prompt", "response", "bad_response", "where")

_HUB = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>\S+))?")
_REVISION = re.compile(r"[\w./+-]+")
_COLUMN_FIELDS = {"prompt_column", "response_column", "bad_response_column"}


def _column(key: str, remark: str) -> Any:
    return Field(
        default=None,
        validation_alias=AliasChoices(f"{key}_column", key),
        description=f"column of the {key.replace('_', ' ')}s; {remark}",
    )


class Source(BaseModel):
    """A file, a hub data set or a bundled set, and which part of it is taken.

    As text it reads ``PATH?key=value&key=value``, PATH being a file (.csv, .json, .jsonl,
    .ndjson, .parquet; all but the last may be packed with gzip: .csv.gz), ``hub:OWNER/NAME`` (with
    ``@REVISION`` if one is wanted) or ``bundled:NAME``; the keys are split, config, revision,
    prompt, response, bad_response (the three columns) and where (any number of times, see
    :mod:`declutch.data.filters`). In a value, ``&`` is written ``%26`` and ``%`` is written
    ``%25``; in a file's name a «?» may be written ``%3F``, and must be where it could be taken for
    the start of the keys of a file that is not there. A mapping has the key ``path`` and the same
    keys, ``where`` being one condition, a list of them, or a mapping from column to value or list
    of values. ``str()`` gives the text back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="a file, hub:OWNER/NAME or bundled:NAME")
    split: str = Field(default="train", description="split of a hub data set")
    config: str | None = Field(default=None, description="configuration of a hub data set")
    revision: str | None = Field(default=None, description="branch, tag or commit on the hub")
    prompt_column: str | None = _column("prompt", "found by the usual names if left out")
    response_column: str | None = _column("response", "found by the usual names if left out")
    bad_response_column: str | None = _column("bad_response", "where there is one")
    where: tuple[str, ...] = Field(
        default=(), description="conditions column=value or column~=text; all must hold"
    )

    @classmethod
    def parse(cls, value: Source | str | Path | Mapping[str, Any]) -> Source:
        """Understand a source given as text, path or mapping.

        Raises:
            DataError: an unknown key or file ending, a wrong name, or a condition without «=».
        """
        if isinstance(value, Source):
            return value
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in problem['loc']) or 'the whole'}: {problem['msg']}"
                for problem in error.errors()
            )
            raise DataError(
                f"The data source {_described(value)} can't be understood ({problems}). Give a "
                "text such as «data.csv?prompt=question», or a mapping with the key path and, "
                f"where needed, {', '.join(KEYS)}."
            ) from error

    @model_validator(mode="before")
    @classmethod
    def _from_any_form(cls, value: Any) -> Any:
        if isinstance(value, Path):
            return {"path": str(value)}
        if isinstance(value, str):
            _check_utf8(value)
            return _from_text(value)
        if isinstance(value, Mapping):
            return _from_mapping(value)
        return value

    @model_validator(mode="after")
    def _check(self) -> Source:
        _check_utf8(str(self))
        for text in self.where:
            Condition.parse(text)
        if self.path.startswith("bundled:"):
            bundled_names = (*bundled.PAIRS, *bundled.HARMLESS)
            if self.name not in bundled_names:
                raise DataError(
                    f"There is no bundled data set «{self.name}» to take examples from. Write "
                    f"bundled: and one of {', '.join(bundled_names)}."
                )
        elif self.path.startswith("hub:"):
            self._check_hub()
        elif not self.path.lower().endswith(_FILES):
            raise DataError(_unknown_ending(self.path))
        if self.kind != "hub":
            self._refuse_hub_keys()
        return self

    def _check_hub(self) -> None:
        found = _HUB.fullmatch(self.path)
        if not found or found["revision"]:
            raise DataError(
                f"«{self.path}» is not the name of a hub data set. Write hub:OWNER/NAME, for "
                "example hub:yahma/alpaca-cleaned, or hub:OWNER/NAME@REVISION."
            )
        if self.revision is not None and not _REVISION.fullmatch(self.revision):
            raise DataError(
                f"«{self.revision}» is not a revision of {self.path}. A revision is a branch, a "
                "tag or a commit, for example main or refs/convert/parquet."
            )

    def _refuse_hub_keys(self) -> None:
        usual = {"split": "train", "config": None, "revision": None}
        values = {key: getattr(self, key) for key in usual}
        if given := [f"{key}={value}" for key, value in values.items() if value != usual[key]]:
            raise DataError(
                f"{self.path} is not a hub data set, and only those have splits, configurations "
                f"and revisions: leave out {' and '.join(given)}, or take a part of the file "
                "with where=COLUMN=VALUE."
            )

    @property
    def kind(self) -> Literal["file", "hub", "bundled"]:
        """What the path names."""
        if self.path.startswith("hub:"):
            return "hub"
        return "bundled" if self.path.startswith("bundled:") else "file"

    @property
    def name(self) -> str:
        """The path without ``hub:`` or ``bundled:``."""
        return self.path if self.kind == "file" else self.path.partition(":")[2]

    def __str__(self) -> str:
        """The text form, which :meth:`parse` understands."""
        path = self.path
        if self.kind == "file":
            path = path.replace("%", "%25").replace("?", "%3F")
        elif self.revision:
            path = f"{path}@{self.revision}"
        pairs = [
            ("split", self.split if self.split != "train" else None),
            ("config", self.config),
            ("prompt", self.prompt_column),
            ("response", self.response_column),
            ("bad_response", self.bad_response_column),
            *(("where", condition) for condition in self.where),
        ]
        query = "&".join(f"{key}={_encoded(value)}" for key, value in pairs if value is not None)
        return f"{path}?{query}" if query else path


def _described(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number too long to be written
        return f"of type {type(value).__name__}"
    return text if len(text) <= 300 else f"{text[:300]}…"


def _check_utf8(source: str) -> None:
    """Refuse a name that no file of ours could record: bytes of another encoding."""
    try:
        source.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"The data source {source[:300]!a} holds a byte that is not UTF-8. Give the file a "
            "name that is."
        ) from error


def _from_text(text: str) -> dict[str, Any]:
    path, query = _split(text.strip())
    if not path:
        raise DataError(
            f"A data source is empty. Give a file ({', '.join(ENDINGS)}), hub:OWNER/NAME or "
            "bundled:NAME."
        )
    found: dict[str, Any] = {"path": path}
    where: list[str] = []
    for part in query.split("&") if query else []:
        key, equals, value = part.partition("=")
        key, value = key.strip(), unquote(value)
        if not equals or key not in (*KEYS, *_COLUMN_FIELDS):
            raise DataError(
                f"The data source «{text}» has the unknown key «{key}». The keys possible after "
                f"the «?» are {', '.join(KEYS)}, each with «=» and a value, with «&» between "
                "them (a «&» inside a value is written %26)."
            )
        if not value.strip():
            raise DataError(f"The data source «{text}» has no value after «{key}=».")
        if key == "where":
            where.append(value)
        elif key in found:
            raise DataError(
                f"The data source «{text}» has the key «{key}» twice; only where may be repeated."
            )
        else:
            found[key] = value
    return _with_revision({**found, "where": tuple(where)})


def _from_mapping(value: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(value)
    if unknown := [str(key) for key in found if key not in ("path", *KEYS, *_COLUMN_FIELDS)]:
        raise DataError(
            f"A data source has the unknown key «{unknown[0]}». The keys possible are path, "
            f"{', '.join(KEYS)}."
        )
    where = found.get("where", ())
    if isinstance(where, Mapping):
        where = [_condition(column, cell) for column, cell in where.items()]
    elif isinstance(where, str):
        where = [where]
    found["where"] = where
    if isinstance(found.get("path"), Path):
        found["path"] = str(found["path"])
    return _with_revision(found)


def _encoded(value: str) -> str:
    """A value as the text form writes it; a blank at its end would else be lost."""
    value = value.replace("%", "%25").replace("&", "%26")
    return re.sub(r"\s\Z", lambda blank: quote(blank[0]), value)


def _condition(column: object, cell: object) -> str:
    """A condition of a configuration file, as text."""
    if not isinstance(column, str):
        raise DataError(
            f"A data source has the key {column!r} in where, which is no text. Put the name of the "
            "column in quotes."
        )
    return f"{column}={'|'.join(_written(one) for one in (as_list(cell) or [cell]))}"


def _written(cell: object) -> str:
    """A value of a configuration file as a condition writes it."""
    if isinstance(cell, (list, tuple, Mapping)):
        raise DataError(
            "A data source has a list or a mapping as a value in where, where a value or a list of "
            "values is needed. Reach into named values with a dot: category.privacy: true."
        )
    return shown(cell)


def _with_revision(found: dict[str, Any]) -> dict[str, Any]:
    """Move the revision of ``hub:OWNER/NAME@REVISION`` to its own key."""
    path = found.get("path")
    match = _HUB.fullmatch(path) if isinstance(path, str) else None
    if match and match["revision"]:
        other = found.get("revision")
        if other not in (None, match["revision"]):
            raise DataError(
                f"The data source {path} names one revision after «@» and another, «{other}», as "
                "a key. Leave one out."
            )
        found |= {"path": f"hub:{match['repo']}", "revision": match["revision"]}
    return found


def _split(text: str) -> tuple[str, str]:
    """The path and the keys of a source's text."""
    if text.startswith(("hub:", "bundled:")):
        path, _, query = text.partition("?")
        return path, query
    if is_file(expanded(text)):
        return text, ""
    for match in re.finditer(r"\?", text):
        head, tail = text[: match.start()], text[match.end() :]
        if head.lower().endswith(_FILES) and ("=" in tail or not tail):
            return _decoded(head), tail
    if text.lower().endswith(_FILES):
        return _decoded(text), ""
    path, _, query = text.partition("?")
    return path, query


def _decoded(path: str) -> str:
    """A file's name with %3F and %25 read as «?» and «%», unless a file has the name as it is."""
    if is_file(expanded(path)):
        return path
    return re.sub(r"%(25|3F|3f)", lambda match: "%" if match[1] == "25" else "?", path)


def _unknown_ending(path: str) -> str:
    hint = ""
    if page := re.search(r"huggingface\.co/datasets/([\w.-]+/[\w.-]+)", path):
        hint = f" For this page of the hub write hub:{page[1]}."
    elif re.fullmatch(r"[\w.-]+/[\w-]+", path):
        hint = f" If you mean a data set on the hub, write hub:{path}."
    elif path in (*bundled.PAIRS, *bundled.HARMLESS):
        hint = f" If you mean the bundled set, write bundled:{path}."
    return (
        f"«{path}» is not a data source. Possible are a file ending in {', '.join(ENDINGS)}, a "
        f"data set on the hub (hub:OWNER/NAME), or a bundled set (bundled:NAME).{hint}"
    )
