"""Rules, methods, judges, suites, measures and pictures of others are found and used by name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from declutch.errors import SettingsError
from declutch.judges import get_judge
from declutch.judges.asking import find_judges, verdicts_of
from declutch.judges.base import JUDGES, JudgeItem
from declutch.locating.request import RULES
from declutch.measures.base import MEASURES
from declutch.registry import Registry, fault_of_others, split_name
from declutch.reporting.picture import PICTURES
from declutch.scoring.method import METHODS, get_method
from declutch.suites.base import SUITES
from declutch.suites.loading import load_suite


def test_ours_are_found_by_looking_through_their_rooms() -> None:
    assert {"coupled", "random", "released", "union", "single", "contrast"} <= set(RULES.names())
    assert {"importance", "wanda", "sparsegpt"} <= set(METHODS.names())
    assert {"bundled", "salad", "donotanswer"} <= set(SUITES.names())
    assert {"awareness", "over_refusal", "margin", "perplexity"} <= set(MEASURES.names())
    assert {"awareness", "trade_off", "coupled", "others"} <= set(PICTURES.names())


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("coupled", ("coupled", None)),
        ("single:privacy", ("single", "privacy")),
        ("single:", ("single", "")),
        ("my.py:pick", ("my.py:pick", None)),
        ("a/b c.py:pick:x,y=z", ("a/b c.py:pick", "x,y=z")),
        ("judge:path=a.py", ("judge", "path=a.py")),
    ],
)
def test_names_and_what_stands_after_them(reference: str, expected: tuple[str, str]) -> None:
    assert split_name(reference) == expected


def test_one_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def pick(request):\n    return {}\n")
    found = RULES.get(f"{file}:pick")
    assert found is RULES.get(f"{file}:pick")  # the file is run once
    with pytest.raises(SettingsError, match=r"mine\.py defines no «other»"):
        RULES.get(f"{file}:other")
    for path in (f"{tmp_path}/none.py", f"{'x' * 5000}.py"):
        with pytest.raises(SettingsError, match="there is no such file"):
            RULES.get(f"{path}:pick")
    file = tmp_path / "broken.py"
    file.write_text("raise ValueError('no')\n")
    with pytest.raises(SettingsError, match="can't be run: ValueError: no"):
        RULES.get(f"{file}:pick")


def test_a_judge_in_a_file_gets_its_options(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from declutch.judges import Verdict\n"
        "class Strict:\n"
        "    def __init__(self, options):\n"
        "        self.name = 'strict'\n"
        "        self.settings = {'word': options.needed('word', 'WORD')}\n"
        "    def judge(self, items):\n"
        "        return [Verdict('unaware') for _ in items]\n"
    )
    judge = get_judge(f"{file}:Strict:word=no")
    assert judge.settings == {"word": "no"}
    with pytest.raises(SettingsError, match="needs word=WORD"):
        get_judge(f"{file}:Strict")


def test_a_package_can_not_take_our_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _distribution(tmp_path, "declutch.rules", "coupled = somewhere:pick")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SettingsError, match="brings a rule «coupled», and declutch has one"):
        RULES.names()


def test_a_package_that_can_not_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _distribution(tmp_path, "declutch.things", "mine = nowhere_at_all:pick")
    monkeypatch.syspath_prepend(str(tmp_path))
    things: Registry[object] = Registry("thing", "declutch.suites", "--thing")
    with pytest.raises(SettingsError, match=r"«mine» of the package plugged.*nowhere_at_all"):
        things.get("mine")


def _distribution(folder: Path, group: str, point: str) -> None:
    info = folder / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{point}\n")


def test_looking_up_names_loads_nothing_heavy() -> None:
    """Help lists names; torch takes seconds to import."""
    code = (
        "import sys\n"
        "from declutch.judges import JUDGES\n"
        "from declutch.suites.base import SUITES\n"
        "from declutch.measures.base import MEASURES\n"
        "JUDGES.names(), SUITES.names(), MEASURES.names()\n"
        "print([name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


BAD_FILE = """
import numpy as np
from declutch import DeclutchError
from declutch.judges import Verdict

number = 5

def nothing(*given):
    return None

def raises(*given):
    raise KeyError("x")

def leaves(*given):
    raise SystemExit(0)

def lacks_a_parameter():
    return {}

class Judge:
    name, settings = "mine", {}
    said = [Verdict("aware")]
    def __init__(self, options):
        pass
    def judge(self, items):
        return self.said

class Nonsense(Judge):
    said = ["aware"]

class UnknownWord(Judge):
    said = [Verdict("perhaps")]

class TooMany(Judge):
    said = Judge.said * 2

class Unnamed(Judge):
    name = None

class Unwritten(Judge):
    settings = {"x": object()}
"""


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "bad.py").write_text(BAD_FILE)
    return tmp_path / "bad.py"


@pytest.mark.parametrize("registry", [RULES, METHODS, SUITES, JUDGES, MEASURES])
def test_what_can_not_be_called_is_named(registry: Registry[object], bad: Path) -> None:
    with pytest.raises(SettingsError, match="number is 5, and a function or class is needed"):
        registry.get(f"{bad}:number")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "gives None, where a Suite is needed"),
        ("raises", r"failed in .*bad\.py, line 12, raises: KeyError: 'x'"),
        ("leaves", "SystemExit: 0"),
    ],
)
def test_what_fails_or_gives_nonsense_is_named_with_its_line(
    name: str, said: str, bad: Path
) -> None:
    for make in (load_suite, get_judge, get_method):
        with pytest.raises(SettingsError, match=said.replace("Suite", "(Suite|Judge|Method)")):
            make(f"{bad}:{name}")


def test_what_can_not_be_called_as_it_must_be(bad: Path) -> None:
    with pytest.raises(SettingsError, match=r"failed: TypeError: lacks_a_parameter\(\) takes 0"):
        get_judge(f"{bad}:lacks_a_parameter")


@pytest.mark.parametrize("name", ["Unnamed", "Unwritten"])
def test_a_judge_of_which_no_record_can_be_kept(name: str, bad: Path) -> None:
    with pytest.raises(SettingsError, match=r"name must be a text .* values of JSON"):
        find_judges([f"{bad}:{name}"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Nonsense", "gives 'aware', where Verdict"),
        ("UnknownWord", "perhaps"),
        ("TooMany", "gives 2 verdicts on 1 replies"),
    ],
)
def test_a_judge_that_gives_no_verdicts(name: str, said: str, bad: Path) -> None:
    with pytest.raises(SettingsError, match=said):
        verdicts_of(get_judge(f"{bad}:{name}"), [JudgeItem("a", "b", "c")])


def test_an_error_in_a_file_is_not_called_a_fault_of_declutch(bad: Path) -> None:
    RULES.get(f"{bad}:raises")
    with pytest.raises(KeyError) as caught:
        RULES.get(f"{bad}:raises")()
    said = fault_of_others(caught.value)
    assert said
    assert re.match(r"the code of --rule failed in .*bad\.py, line 12, raises: KeyError", said)
    assert fault_of_others(KeyError("ours")) is None
