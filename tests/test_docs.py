"""Every example in the README and the docs is tried: commands parse, code runs, data is read.

What is no example (a formula, a drawing, output) stands in a ``text`` block and is not tried.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from benchmarks.scoring import parser as benchmark_parser
from cyclopts import App
from cyclopts.config import Dict

import declutch
from declutch.cli import build_app
from declutch.cli.config import read_config
from declutch.data.filters import Condition
from declutch.data.loading import load_examples
from declutch.data.sources import Source
from declutch.suites.loading import load_suite
from tests.conftest import build_model, build_tokenizer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN = {
    "README.md": "run in test_readme.py",
    "capability.md": "needs data sets from the hub; names and arguments are looked up",
    "extend.md": "files of examples/plugin, installed and used in test_extend.py",
}
SOURCE_FLAGS = ("--data", "--couple", "--exclude", "--suite", "--aware", "--unaware")


class Block(NamedTuple):
    """A block of a page: its language (empty where it is indented) and its text."""

    page: str
    line: int
    language: str
    text: str


def blocks_of(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").split("\n")
    at = 0
    while at < len(lines):
        start = at
        if fence := re.fullmatch(r"```(\w*)", lines[at]):
            at = next(n for n in range(at + 1, len(lines)) if lines[n] == "```")
            text = "\n".join(map(included, lines[start + 1 : at])) + "\n"
            yield Block(page.name, start + 2, fence[1], text)
        elif lines[at].startswith("    ") and not lines[at - 1]:
            while lines[at].startswith("    ") or (not lines[at] and lines[at + 1][:4] == "    "):
                at += 1
            text = "\n".join(line[4:] for line in lines[start:at])
            yield Block(page.name, start + 1, "", f"{text}\n")
            continue
        at += 1


def included(line: str) -> str:
    """The file that stands in place of a line when the site is built, or the line itself."""
    found = re.fullmatch(r'--8<-- "(.+)"', line)
    return (ROOT / found[1]).read_text(encoding="utf-8") if found else line


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def blocks(*languages: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{block.page}:{block.line}")
        for block in BLOCKS
        if block.language in languages
    ]


def test_every_block_is_of_a_kind_that_is_tried_or_plain_text() -> None:
    known = {"", "bash", "python", "yaml", "json", "jsonl", "csv", "text"}
    assert {block.language for block in BLOCKS} <= known
    assert len([block for block in BLOCKS if block.language == "text"]) <= len(BLOCKS) / 5
    assert set(NOT_RUN) <= {block.page for block in BLOCKS if block.language == "python"}


# Commands


def command_lines(block: Block) -> Iterator[list[str]]:
    for line in block.text.replace("\\\n", " ").split("\n"):
        if tokens := shlex.split(line, comments=True):
            yield tokens


def check_command(tokens: list[str]) -> None:
    """Whether a command line is one that its program would take."""
    first, rest = tokens[0], tokens[1:]
    if first == "declutch":
        check_declutch(rest)
    elif first == "torchrun":
        check_declutch(arguments_after_declutch(rest))
    elif first.startswith("--"):  # options of an evaluation
        check_declutch(["evaluate", "MODEL", "-o", "OUT", *tokens])
    elif tokens[:3] == ["python", "-m", "benchmarks.scoring"]:
        assert isinstance(benchmark_parser().parse_args(tokens[3:]), argparse.Namespace)
    elif first == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(rest) <= set(targets)
    elif first == "pip":
        check_pip(rest)
    else:  # the source of a --data
        assert len(tokens) == 1
        name, equals, source = first.partition("=")
        Source.parse(source if equals and name.isidentifier() else first)


def arguments_after_declutch(tokens: list[str]) -> list[str]:
    """Of a launcher's arguments those for declutch, also out of a quoted command."""
    if "declutch" in tokens:
        return tokens[tokens.index("declutch") + 1 :]
    (quoted,) = (token for token in tokens if "declutch" in token)
    return arguments_after_declutch(shlex.split(quoted))


def check_declutch(arguments: list[str]) -> None:
    """Whether a command line can be parsed; brackets («or not») and dots («more») are taken out."""
    tokens: list[str] = []
    for token in arguments:
        token = token.strip("[]")
        if token != "..." or tokens[-1].startswith("--"):
            tokens.append(token)
    build_app().parse_args(tokens, exit_on_error=False, print_error=False)
    for flag, value in pairwise(tokens):
        name, equals, source = value.partition("=")
        name = name.removeprefix("harmless:")
        if flag in SOURCE_FLAGS and equals and name.islower() and name.isidentifier():
            if "." in source or ":" in source:
                Source.parse(source)
            else:
                assert source.isupper() or source == "…", f"{source} is no source"


def check_pip(arguments: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert arguments[0] in ("install", "download")
    for extra in re.findall(r"(?:declutch|\.)\[(\w+)\]", " ".join(arguments)):
        assert extra in project["optional-dependencies"]


@pytest.mark.parametrize("block", blocks("", "bash"))
def test_commands_parse(block: Block) -> None:
    for tokens in command_lines(block):
        check_command(tokens)


def options(app: App) -> set[str]:
    """The names of all options of all commands."""
    names = {"--help", "--version"}
    for name in app:
        if name.startswith("-"):
            continue
        command = app[name]
        names |= options(command)
        if command.default_command is not None:
            for argument in command.assemble_argument_collection():
                names |= set(argument.names)
    return names


OF_OTHERS = {"--no-deps", "--repo-type", "--local-dir", "--nproc-per-node"}
"""Options in the text that belong to pip, hf and torchrun."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_options_and_commands_in_the_text_exist(page: Path) -> None:
    known, commands = options(build_app()) | OF_OTHERS, set(build_app())
    known |= set(re.findall(r"--[a-z][a-z-]+", benchmark_parser().format_help()))
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    for span in re.findall(r"`([^`]+)`", text):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", span):
            assert option in known, f"{option} in `{span}`"
        if match := re.match(r"declutch (\w+)", span):
            assert match[1] in commands, span


# Data


@pytest.mark.parametrize("block", blocks("yaml"))
def test_configurations_are_taken(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text(block.text, encoding="utf-8")
    read = read_config(path)
    for source in read["data"]:
        Source.parse(source.partition("=")[2])
    app = build_app()
    app.config = (Dict(read, source=str(path), use_commands_as_keys=False),)
    _, bound, _ = app.parse_args(
        ["score", "MODEL", "-o", "OUT"], exit_on_error=False, print_error=False
    )
    assert bound.arguments["data"] == read["data"]


@pytest.mark.parametrize("block", blocks("json", "jsonl", "csv"))
def test_data_is_read(block: Block, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{block.language}"
    path.write_text(block.text, encoding="utf-8")
    report = load_examples(path, num_samples=None).report
    assert report.used == report.rows


def test_conditions_are_understood() -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    conditions = re.findall(r"`where=([^`]+)`", text)
    assert len(conditions) > 10
    for condition in conditions:
        if condition != "CONDITION":
            Condition.parse(condition.replace("\\|", "|"))


# Python


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, Any]]:
    """What the blocks take for given: a model, a patch of it, and two evaluations."""
    folder = tmp_path_factory.mktemp("docs")
    model, tokenizer = build_model("llama", max_position_embeddings=2048), build_tokenizer()
    data = {name: f"bundled:{name}" for name in ("fairness", "privacy")}
    scores = declutch.score(model, tokenizer, data, num_samples=4, shortlist=0.1)
    patch, other = (
        declutch.locate(scores, couple=["fairness", "privacy"], ratio=ratio, scale=0.99)
        for ratio in (0.01, 0.02)
    )
    patch.save(folder / "my-patch")
    bundled = load_suite("bundled")
    suite = replace(bundled.limited(2), passages=bundled.passages)
    for name, applied in (("before", None), ("after", folder / "my-patch")):
        declutch.evaluate(
            model, tokenizer, suite, out=folder / name, max_new_tokens=4, patch=applied
        )

    def given() -> dict[str, Any]:
        return {"folder": folder, "model": model, "tokenizer": tokenizer, "other": other}

    return given


@pytest.mark.parametrize("block", blocks("python"))
def test_python_is_true_to_the_library(block: Block) -> None:
    """Whatever is imported is there, and takes the arguments that it is given."""
    tree = ast.parse(block.text)
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {name.name: importlib.import_module(name.name) for name in node.names}
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            known |= {name.name: getattr(module, name.name) for name in node.names}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in calls:
        function = found(call.func, known)
        if function is not None and not any(isinstance(each, ast.Starred) for each in call.args):
            keywords = {str(keyword.arg): None for keyword in call.keywords}
            inspect.signature(function).bind(*call.args, **keywords)


def found(node: ast.expr, known: dict[str, Any]) -> Any:
    """The object that a name or attribute of something imported stands for; None for others."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = found(node.value, known)
        return None if owner is None else getattr(owner, node.attr)
    return None


@pytest.mark.parametrize(
    "block", [each for each in blocks("python") if each.values[0].page not in NOT_RUN]
)
def test_python_runs(
    block: Block, names: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = names()
    monkeypatch.chdir(given["folder"])
    exec(compile(block.text, f"{block.page}:{block.line}", "exec"), given)
