"""``apply --on-disk`` beside ``apply``: peak memory, seconds, and whether the bytes are the same.

    python -m benchmarks.on_disk FOLDER [--layers 9]

Makes a sharded bfloat16 checkpoint with random weights in Llama's shape (4 GB at 9 layers) and a
patch of it in FOLDER, and runs each command in a process of its own. Peak memory is the greatest
resident set, sampled every 10 ms: with the Python packages, and the pages of mapped files.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import LlamaConfig, PreTrainedTokenizerFast

from benchmarks.record import RESULTS, machine
from declutch.files import changed_files, hash_files, write_json
from declutch.models.identity import MatrixInfo, ModelInfo
from declutch.models.loading import empty_model
from declutch.models.matrices import find_matrices
from declutch.models.on_disk import open_weights
from declutch.patching import Patch, PatchInfo
from declutch.settings import ModelSettings
from declutch.versions import versions

_SHARD = 1 << 30  # bytes, about
_NUMBERS = 1_000_003
_EACH = 20  # weights of the patch in each matrix


def make_checkpoint(folder: Path, layers: int, hidden: int = 4096, inner: int = 11008) -> None:
    """Random weights, shard by shard, so that no more than one is in memory."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, num_key_value_heads=hidden // 256, dtype="bfloat16",
    )  # fmt: skip
    config.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)
    places: dict[str, str] = {}
    shard: dict[str, Tensor] = {}
    shapes = list(empty_model(config, False).named_parameters())
    # The same ones for every tensor, from another place on.
    some = torch.empty(_NUMBERS).normal_(0, 0.02).to(torch.bfloat16)
    for turn, (name, parameter) in enumerate(shapes):
        numbers = some.roll(turn).repeat(parameter.numel() // _NUMBERS + 1)
        shard[name] = numbers[: parameter.numel()].reshape(parameter.shape)
        full = sum(one.nbytes for one in shard.values()) >= _SHARD
        if full or name == shapes[-1][0]:
            file = f"model-{len(set(places.values())) + 1:05}.safetensors"
            save_file(shard, folder / file, metadata={"format": "pt"})
            places |= dict.fromkeys(shard, file)
            shard = {}
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    write_json(folder / "model.safetensors.index.json", index)


def make_patch(source: Path, folder: Path) -> Patch:
    """A patch of random weights in every MLP matrix."""
    weights = open_weights(str(source), ModelSettings())
    coverage = find_matrices(weights.shell, "mlp", empty=True)
    generator = torch.Generator().manual_seed(0)
    indices, original = {}, {}
    for one in coverage.matrices:
        chosen = torch.randint(one.numel, (_EACH,), generator=generator).unique()
        indices[one.name], original[one.name] = chosen, weights.read(one, chosen)
    info = PatchInfo(
        model=ModelInfo(
            id=str(source), fingerprint=weights.fingerprint({}), dtype="bfloat16"
        ),
        rule="random", ratio=None, coupled=("a", "b"), target_modules="mlp",
        matrices={
            one.name: MatrixInfo(shape=one.shape, layer=one.layer, kind=one.kind)
            for one in coverage.matrices
        },
    )  # fmt: skip
    patch = Patch(info, indices, original).changed(indices, original)
    patch.save(folder)
    return patch


def run(*arguments: str) -> dict[str, float]:
    """Seconds and peak memory of a Python process."""
    started = time.monotonic()
    process = psutil.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            peak = max(peak, process.memory_info().rss)
        time.sleep(0.01)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed.")
    return {"seconds": round(time.monotonic() - started, 2), "peak_bytes": peak}


def differing(first: Path, second: Path) -> list[str]:
    """Files whose bytes differ."""
    return changed_files(second, hash_files(first))


def main() -> None:
    """Make, run, compare, record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=9)
    parser.add_argument("--output", type=Path, default=RESULTS / "on-disk-cpu.json")
    options = parser.parse_args()
    root: Path = options.folder
    source, patch = root / "source", root / "patch"
    make_checkpoint(source, options.layers)
    weights = len(make_patch(source, patch))
    size = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    ways: dict[str, Any] = {"imports alone": run("-c", "import declutch.checkpoint")}
    out, back = root / "out", root / "back"
    command = ("-m", "declutch", "apply", str(source), str(patch), "-q", "-o")
    ways["apply --on-disk"] = run(*command, str(out), "--on-disk")
    changed = differing(source, out)
    reverting = ("-m", "declutch", "revert", str(out), str(patch), "-q", "-o", str(back))
    ways["revert --on-disk"] = run(*reverting, "--on-disk")
    not_back = differing(source, back)
    shutil.rmtree(back)
    ways["apply"] = run(*command, str(root / "loaded"))
    result = {
        "kind": "on_disk", "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "layers": options.layers, "bytes": size, "patched_weights": weights, "ways": ways,
        "files_changed_by_the_patch": changed, "files_not_back_after_revert": not_back,
        "files_that_differ_from_apply": differing(root / "loaded", out),
        "machine": machine(), "versions": versions(),
    }  # fmt: skip
    write_json(options.output, result)
    for name, way in ways.items():
        print(f"{name}: {way['seconds']} s, peak {way['peak_bytes'] / 2**30:.2f} GiB")
    print(
        f"not back after revert: {not_back}; other than apply's: "
        f"{result['files_that_differ_from_apply']}"
    )


if __name__ == "__main__":
    main()
