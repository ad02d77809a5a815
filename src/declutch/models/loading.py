"""Load a causal language model: a folder, a hub id, a GGUF file, or the demo model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from declutch.errors import ModelError, SettingsError
from declutch.extras import require
from declutch.models.demo import DEMO, DEMO_ID, demo_folder
from declutch.models.identity import ModelInfo, describe
from declutch.models.matrices import refuse_unusable
from declutch.models.quiet import quiet_transformers

log = logging.getLogger("declutch")

DTYPES = ("auto", "checkpoint", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class ModelOptions:
    """How to load a model; names as in transformers.

    Attributes:
        dtype: ``auto`` is the checkpoint's own on a GPU and float32 on a CPU, where half
            precision is slow; ``checkpoint`` is always its own.
        device: ``cpu``, ``cuda``, ``cuda:1``; by default a GPU if there is one.
        device_map: ``auto`` and the like, for a model larger than one device.
        revision: branch, tag or commit on the hub.
        trust_remote_code: run code that comes with the model.
    """

    dtype: str = "auto"
    device: str | None = None
    device_map: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for scoring, its tokenizer, and what it is."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: ModelInfo


def load_model(reference: str | Path, options: ModelOptions | None = None) -> LoadedModel:
    """Load a model and its tokenizer.

    Args:
        reference: a folder, a hub id, a ``.gguf`` file (a path, or ``OWNER/NAME/FILE.gguf`` on
            the hub), or ``demo``.

    Raises:
        ModelError: it can't be loaded, or its weights can't be scored or changed.
        SettingsError: an option is wrong.
    """
    options = options or ModelOptions()
    reference = str(reference)
    if options.dtype not in DTYPES:
        raise SettingsError(f"--dtype «{options.dtype}» is unknown; give {', '.join(DTYPES)}.")
    if options.device and options.device_map:
        raise SettingsError("Give --device or --device-map, not both.")
    demo = reference in (DEMO, DEMO_ID)
    folder = str(demo_folder()) if demo else reference
    where, arguments = _locate(folder, options)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(f"--device {device}: PyTorch finds no CUDA device here. Use cpu.")
    log.info("Loading %s", reference)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(where, **arguments)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                where,
                dtype=_dtype(options, device),
                device_map=options.device_map or device,
                output_loading_info=True,
                **arguments,
            )
    except Exception as error:  # a damaged file makes transformers and tokenizers raise any kind
        raise ModelError(_explain(reference, error)) from error
    model: PreTrainedModel = loaded[0]
    if missing := sorted(loaded[1]["missing_keys"]):
        raise ModelError(
            f"{reference} is incomplete: {len(missing)} weights of {type(model).__name__} are not "
            f"in it ({', '.join(missing[:3])}{', ...' if missing[3:] else ''}), and would be "
            "random. Get the whole checkpoint, of a causal language model."
        )
    forget_gguf(model)
    refuse_unusable(model)
    return LoadedModel(model.eval(), tokenizer, describe(model, DEMO_ID if demo else reference))


def _locate(reference: str, options: ModelOptions) -> tuple[str, dict[str, Any]]:
    arguments: dict[str, Any] = {"trust_remote_code": options.trust_remote_code}
    path = Path(reference)
    if reference.endswith(".gguf"):
        require("gguf", extra="gguf", why="reading a GGUF file")
        if path.exists():
            return str(path.parent), {**arguments, "gguf_file": path.name}
        if reference.count("/") >= 2 and not reference.startswith(("/", ".", "~")):
            owner, name, file = reference.split("/", 2)
            return f"{owner}/{name}", {
                **arguments, "gguf_file": file, "revision": options.revision or "main",
            }  # fmt: skip
        raise ModelError(f"The GGUF file {reference} does not exist.")
    if path.is_dir():
        if not (path / "config.json").exists():
            held = ", ".join(sorted(entry.name for entry in path.iterdir())[:6]) or "nothing"
            raise ModelError(
                f"{reference} is a folder without a config.json (it holds {held}). Give the folder "
                "that transformers' save_pretrained wrote, a hub id, or a .gguf file."
            )
        return reference, arguments
    if path.exists() or reference.startswith(("/", ".", "~")) or reference.count("/") > 1:
        raise ModelError(
            f"{reference} is not a model: there is no such folder. Give a folder with a "
            "config.json, a hub id (OWNER/NAME), a .gguf file, or «demo»."
        )
    return reference, {**arguments, "revision": options.revision or "main"}


def _dtype(options: ModelOptions, device: str) -> torch.dtype | str:
    if options.dtype == "checkpoint":
        return "auto"
    if options.dtype == "auto":
        on_cpu = device == "cpu" and options.device_map in (None, "cpu")
        return torch.float32 if on_cpu else "auto"
    dtype: torch.dtype = getattr(torch, options.dtype)
    return dtype


def forget_gguf(model: PreTrainedModel) -> None:
    """Drop the quantiser that a GGUF file leaves on a model whose weights are real numbers now.

    With it transformers refuses to save the model.
    """
    if str(getattr(model, "quantization_method", "")).lower().endswith("gguf"):
        for name in ("hf_quantizer", "quantization_method", "is_quantized"):
            if name in vars(model):
                delattr(model, name)
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config


def _explain(reference: str, error: Exception) -> str:
    first = str(error).strip().split("\n")[0]
    text = str(error).lower()
    if "trust_remote_code" in text:
        remedy = "It needs code of its own: if you trust it, add --trust-remote-code."
    elif "gated" in text or "401" in text or "403" in text:
        remedy = "Accept its terms on the hub, then log in with: hf auth login"
    elif "connect" in text or "offline" in text or "resolve" in text:
        remedy = "The hub can't be reached: give a folder, or the name of a model in the cache."
    elif isinstance(error, ImportError):
        remedy = "Install what it names."
    else:
        remedy = "Give a folder with a config.json and safetensors, a hub id, or a .gguf file."
    return f"{reference} could not be loaded as a causal language model: {first} {remedy}"
