"""The README's Python block runs as pasted; here on a tiny model, and on the demo model if slow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import build_model, build_tokenizer

README = Path(__file__).parents[1] / "README.md"


def python_block() -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


def test_block_on_a_tiny_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    build_model("llama", max_position_embeddings=2048).save_pretrained("model")
    build_tokenizer().save_pretrained("model")
    code = python_block()
    # Matrices of 1,536 neurons give nothing at the ratio for a real model.
    for old, new in (('"demo"', '"model"'), ("ratio=1e-4", "ratio=1e-3")):
        assert old in code
        code = code.replace(old, new)
    exec(compile(code, "README.md", "exec"), {})
    assert "awareness/fairness" in capsys.readouterr().out
    assert (tmp_path / "my-patch" / "patch.json").exists()


@pytest.mark.slow
def test_block_as_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(python_block(), "README.md", "exec"), {})
    assert (tmp_path / "my-patch" / "patch.safetensors").exists()


def test_links_lead_somewhere() -> None:
    root = README.parent
    for page in (README, *sorted((root / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
