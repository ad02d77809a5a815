"""What is printed is text: no markup, no escape codes, no marks of direction."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.table import Table

from declutch.cli.printing import print_checkpoint, print_json
from declutch.progress import log, set_verbosity
from declutch.terminal import Terminal, json_visible, visible

NASTY = "out[v2]/[/]:smile:\x1b[31m\u202egpj.exe\x9b2J"


def printed(what: object) -> str:
    out = io.StringIO()
    Terminal(file=out, width=200, force_terminal=True, color_system="standard").print(what)
    return out.getvalue()


def test_markup_is_text() -> None:
    assert printed("out[v2]/[/] :smile: [bold]x[/bold]") == "out[v2]/[/] :smile: [bold]x[/bold]\n"


def test_no_control_reaches_the_terminal() -> None:
    table = Table()
    table.add_column("[red]name\x1b[2J")
    table.add_row(NASTY)
    for what in (NASTY, table):
        text = printed(what)
        assert "out[v2]/[/]:smile:" in text
        assert not {"\x1b[31m", "\x1b[2J", "\u202e", "\x9b"} & {
            text[at : at + size] for at in range(len(text)) for size in (1, 4, 5)
        }


def test_json_stays_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": NASTY})
    text = capsys.readouterr().out
    assert text == visible(text)
    assert json.loads(text) == {"a": NASTY}
    assert json.loads(json_visible(json.dumps("é\n"))) == "é\n"


def test_other_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_checkpoint(Path(NASTY), 1, "patched", as_json=False)
    assert "\x1b" not in capsys.readouterr().out
    before = log.handlers, log.level, log.propagate
    try:
        set_verbosity(0)
        log.warning("%s", NASTY)
    finally:
        log.handlers, log.level, log.propagate = before
    said = capsys.readouterr().err
    assert "out[v2]/[/]:smile:[31mgpj.exe2J" in said
