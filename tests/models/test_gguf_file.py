"""GGUF files: exactly the values wanted, and not a bit of another weight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from declutch.checkpoint import write, write_gguf
from declutch.errors import FileFormatError, ModelError, PatchMismatch, SettingsError
from declutch.models import gguf_file
from declutch.models.loading import load_model
from declutch.patching import Patch
from declutch.settings import ModelSettings
from tests.models import checkpoints
from tests.patching.builders import make_patch

gguf = pytest.importorskip("gguf")
CPU = ModelSettings(device="cpu")
HOLD_ZERO = ("F32", "F16", "BF16", "Q8_0", "Q5_0", "Q4_0")


def values(path: Path) -> dict[str, NDArray[np.float32]]:
    return {
        one.name: gguf.dequantize(one.data, one.tensor_type)
        for one in gguf.GGUFReader(path).tensors
    }


def patched(folder: Path, kind: str, scale: float = 0.0) -> tuple[Path, Path, Patch]:
    """A model, the file to write, and a patch of the model."""
    source = folder / "tiny.gguf"
    checkpoints.write_gguf(source, kind)
    return source, folder / "out.gguf", make_patch(load_model(source, CPU).model, scale)


@pytest.mark.parametrize("kind", HOLD_ZERO)
def test_there_and_back(kind: str, tmp_path: Path) -> None:
    source, out, patch = patched(tmp_path, kind)
    assert write_gguf(source, patch, out, "patched", CPU) == len(patch) > 50
    before, after = values(source), values(out)
    changed = {name: before[name] != after[name] for name in before}
    # Where the quantised value was zero already nothing changes.
    known = sum(int((one != 0).sum()) for one in patch.original.values())
    assert sum(int(one.sum()) for one in changed.values()) == known
    assert not any(after[name][where].any() for name, where in changed.items())
    assert patch.verify(load_model(out, CPU).model) == "patched"
    back = tmp_path / "back.gguf"
    write(str(out), patch, back, "original", CPU)
    assert back.read_bytes() == source.read_bytes()


def test_queries_are_found_in_their_other_order(tmp_path: Path) -> None:
    source, out, patch = patched(tmp_path, "F32")
    write_gguf(source, patch, out, "patched", CPU)
    chosen = patch.indices["model.layers.1.self_attn.q_proj"].tolist()
    zero = np.argwhere(values(out)["blk.1.attn_q.weight"] == 0).tolist()
    # Within a head of 8 rows llama.cpp has rows n and n + 4 side by side.
    places = [(8 * (row // 8) + row % 8 // 2 + row % 2 * 4, column) for row, column in zero]
    assert sorted(32 * row + column for row, column in places) == chosen
    assert sorted(32 * row + column for row, column in zero) != chosen


def test_a_minimum_leaves_zero_out(tmp_path: Path) -> None:
    source, out, patch = patched(tmp_path, "Q4_1")
    with pytest.raises(ModelError, match=r"of its \d+ weights \(\d+ in Q4_1\).*-o FOLDER"):
        write_gguf(source, patch, out, "patched", CPU)
    assert [one.name for one in tmp_path.iterdir()] == ["tiny.gguf"]


def test_a_scale_that_is_no_step_is_refused(tmp_path: Path) -> None:
    source, out, patch = patched(tmp_path, "Q8_0", scale=0.3)
    with pytest.raises(ModelError, match=r"weights \(\d+ in Q8_0\)"):
        write_gguf(source, patch, out, "patched", CPU)
    source, out, patch = patched(tmp_path, "F32", scale=0.3)
    assert write_gguf(source, patch, out, "patched", CPU) == len(patch)


def test_zero_is_a_step_where_the_minimum_is_a_multiple_of_the_scale() -> None:
    kind = gguf.GGMLQuantizationType.Q4_1
    steps = np.arange(16, dtype=np.uint8)
    for minimum, right in ((-0.75, True), (-0.8, False)):
        head = np.array([0.25, minimum], np.float16).view(np.uint8)
        block = np.concatenate([head, steps | steps[::-1] << 4])
        changed = gguf_file._with_value(block, kind, 9, np.float32(0))
        assert (changed is not None) == right


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q5_1", "IQ4_NL"])
def test_blocks_of_other_kinds(kind: str) -> None:
    """Another step of the same weight is found, in every place of the block."""
    quantisation = gguf.GGMLQuantizationType[kind]
    size, width = gguf.GGML_QUANT_SIZES[quantisation]
    block = np.tile(np.array([17, 50], np.uint8), width)[:width]  # scales that are numbers
    before = gguf.dequantize(block, quantisation).ravel()
    for within in (0, 1, size // 2, size - 1):
        own = gguf_file._own_bits(quantisation)[within]
        bits = np.unpackbits(block)
        bits[own] ^= 1
        other = gguf.dequantize(np.packbits(bits), quantisation).ravel()
        assert (other != before).nonzero()[0].tolist() == [within]
        found = gguf_file._with_value(block, quantisation, within, other[within])
        np.testing.assert_array_equal(gguf.dequantize(found, quantisation).ravel(), other)


def test_weights_that_share_bits_are_left_alone() -> None:
    quantisation = gguf.GGMLQuantizationType.TQ1_0  # five weights in a byte
    block = np.full(gguf.GGML_QUANT_SIZES[quantisation][1], 50, np.uint8)
    assert gguf_file._with_value(block, quantisation, 0, np.float32(3.5)) is None


def test_another_model_and_other_places_are_refused(tmp_path: Path) -> None:
    source, out, patch = patched(tmp_path, "Q8_0")
    with pytest.raises(PatchMismatch, match="not applied"):
        write_gguf(source, patch, out, "original", CPU)
    out.write_text("mine")
    with pytest.raises(SettingsError, match="exists"):
        write_gguf(source, patch, out, "patched", CPU)
    folder = checkpoints.write_model(tmp_path / "folder")
    with pytest.raises(ModelError, match=r"is no \.gguf file: give -o a folder"):
        write(str(folder), patch, tmp_path / "x.gguf", "patched", CPU)
    with pytest.raises(ModelError, match="without --on-disk"):
        write(str(source), patch, tmp_path / "x.gguf", "patched", ModelSettings(), on_disk=True)


def test_what_was_written_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out, patch = patched(tmp_path, "Q8_0")
    right: Callable[..., NDArray[np.uint8]] = gguf_file._with_value

    def careless(block: NDArray[np.uint8], kind: object, within: int, value: float) -> object:
        changed = right(block, kind, within, value).copy()
        changed[-1] ^= 1
        return changed

    monkeypatch.setattr(gguf_file, "_with_value", careless)
    with pytest.raises(FileFormatError, match=r"\d+ values of blk"):
        write_gguf(source, patch, out, "patched", CPU)
    assert not out.exists()
