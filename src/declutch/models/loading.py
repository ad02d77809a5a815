"""Load a causal language model: a folder, a hub id, a GGUF file, or the demo model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from declutch.errors import ModelError, SettingsError
from declutch.extras import require
from declutch.models.demo import DEMO, DEMO_ID, demo_folder
from declutch.models.explain import readable
from declutch.models.identity import ModelInfo, describe
from declutch.models.matrices import refuse_unusable
from declutch.models.stored import StoredCheckpoint, rounds, stored_checkpoint
from declutch.models.vocabulary import fit_vocabulary
from declutch.progress import log
from declutch.settings import ModelSettings


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for scoring, its tokenizer, what it is, and the files that it came from.

    ``stored`` is None where there are none to keep to: a GGUF file, a model made in Python.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: ModelInfo
    stored: StoredCheckpoint | None = None


def load_model(reference: str | Path, options: ModelSettings | None = None) -> LoadedModel:
    """Load a model and its tokenizer.

    Args:
        reference: a folder, a hub id, a ``.gguf`` file (a path, or ``OWNER/NAME/FILE.gguf`` on
            the hub), or ``demo``.

    Raises:
        ModelError: it can't be loaded, or its weights can't be scored or changed.
        SettingsError: an option is wrong.
        OutOfMemory: it does not fit.
    """
    options = options or ModelSettings()
    reference = str(reference)
    if options.device and options.device_map:
        raise SettingsError("Give --device or --device-map, not both.")
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(f"--device {device}: PyTorch finds no CUDA device here. Use cpu.")
    demo = reference in (DEMO, DEMO_ID)
    source = str(demo_folder()) if demo else reference
    remedy = f"Remove {source}: the demo model is then converted again." if demo else None
    with readable(reference, "model", remedy):
        where, arguments = find_source(source, options)
        log.info("Loading %s", reference)
        files = "gguf_file" not in arguments
        stored = stored_checkpoint(where, arguments.get("revision")) if files else None
    # First, since it takes no time: a large model is not read in vain.
    with readable(reference, "tokenizer", remedy):
        tokenizer = AutoTokenizer.from_pretrained(where, **arguments)
    with readable(reference, "model", remedy):
        if stored:
            _refuse_larger(reference, where, stored, arguments)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            where,
            dtype=_dtype(options, device, stored),
            device_map=options.device_map or device,
            output_loading_info=True,
            use_safetensors=True,
            **arguments,
        )
        model: PreTrainedModel = loaded[0]
        _refuse_missing(reference, model, loaded[1]["missing_keys"])
    with readable(reference, "tokenizer", remedy):
        fit_vocabulary(reference, model, tokenizer)
    forget_gguf(model)
    refuse_unusable(model)
    _refuse_not_finite(reference, model, stored.dtype if stored else None)
    info = describe(model, DEMO_ID if demo else reference)
    return LoadedModel(model.eval(), tokenizer, info, stored)


def load_classifier(reference: str, options: ModelSettings) -> LoadedModel:
    """Load a classifier of texts, in float32, and its tokenizer.

    Raises:
        ModelError: it can't be loaded, or has no head of its own.
        OutOfMemory: it does not fit.
    """
    with readable(reference, "classifier"):
        where, arguments = find_source(reference, options)
        log.info("Loading %s", reference)
        tokenizer = AutoTokenizer.from_pretrained(where, **arguments)
        loaded: Any = AutoModelForSequenceClassification.from_pretrained(
            where,
            dtype=torch.float32,
            device_map=options.device or ("cuda" if torch.cuda.is_available() else "cpu"),
            output_loading_info=True,
            use_safetensors=True,
            **arguments,
        )
        model: PreTrainedModel = loaded[0]
        _refuse_missing(reference, model, loaded[1]["missing_keys"])
    return LoadedModel(model.eval(), tokenizer, describe(model, reference))


def _refuse_missing(reference: str, model: PreTrainedModel, missing: Iterable[str]) -> None:
    if names := sorted(missing):
        raise ModelError(
            f"{reference} is incomplete: {len(names)} weights of {type(model).__name__} are not "
            f"in it ({', '.join(names[:3])}{', ...' if names[3:] else ''}), and would be "
            "random. Get the whole checkpoint, of a model of that kind."
        )


@torch.no_grad()
def _refuse_not_finite(reference: str, model: nn.Module, stored: torch.dtype | None) -> None:
    """Refuse weights that are NaN or infinite: every loss would be, in any dtype.

    Args:
        stored: the dtype of the files, if known.
    """
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point() or not parameter.numel():
            continue
        # Without a mask as large as the parameter: both ends hand on NaN.
        if all(bool(end.isfinite()) for end in parameter.aminmax()):
            continue
        wrong = ~parameter.isfinite()
        first = [int(index) for index in wrong.nonzero()[0]]
        value = float(parameter[tuple(first)])
        remedy = (
            f"Values of {str(stored).removeprefix('torch.')} may not fit: load it with --dtype "
            "checkpoint."
            if rounds(stored, parameter.dtype)
            else "The file is damaged, or the training that made it went wrong, and no --dtype "
            "helps: get the checkpoint again, or an earlier one."
        )
        raise ModelError(
            f"{name}{first} of {reference} is {value} ({int(wrong.sum()):,} of "
            f"{parameter.numel():,} values there are no finite numbers). {remedy}"
        )


def _refuse_larger(
    reference: str, where: str, stored: StoredCheckpoint, arguments: Mapping[str, Any]
) -> None:
    """Refuse a configuration of another, larger model before memory is taken for it."""
    config = AutoConfig.from_pretrained(where, **arguments)
    if getattr(config, "quantization_config", None) is not None:
        return  # several numbers are packed into one
    model = empty_model(config, arguments["trust_remote_code"])
    described = sum(parameter.numel() for parameter in model.parameters())
    if described > 2 * stored.numel:
        raise ModelError(
            f"{reference} is incomplete, or its config.json is of another model: that describes "
            f"{described:,} weights, and the files hold {stored.numel:,}. Get the whole "
            "checkpoint."
        )


def empty_model(
    config: Any, trust_remote_code: bool, dtype: torch.dtype | None = None
) -> PreTrainedModel:
    """The causal language model of a configuration, of shapes alone (on the meta device)."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, trust_remote_code=trust_remote_code, dtype=dtype
        )
    return model


def find_source(reference: str, options: ModelSettings) -> tuple[str, dict[str, Any]]:
    """Where transformers finds a model, and with which arguments.

    Raises:
        ModelError: it is nowhere.
    """
    arguments: dict[str, Any] = {"trust_remote_code": options.trust_remote_code}
    path = Path(reference)
    if reference.endswith(".gguf"):
        require("gguf", extra="gguf", why="reading a GGUF file")
        if os.path.exists(path):
            return str(path.parent), {**arguments, "gguf_file": path.name}
        if reference.count("/") >= 2 and not reference.startswith(("/", ".", "~")):
            owner, name, file = reference.split("/", 2)
            return f"{owner}/{name}", {
                **arguments, "gguf_file": file, "revision": options.revision or "main",
            }  # fmt: skip
        raise ModelError(f"The GGUF file {reference} does not exist.")
    if os.path.isdir(reference) and reference:
        return reference, arguments
    if os.path.exists(reference) or not _may_be_on_the_hub(reference):
        raise ModelError(
            f"{reference} is not a model: there is no such folder. Give a folder with a "
            "config.json, a hub id (OWNER/NAME), a .gguf file, or «demo»."
        )
    return reference, {**arguments, "revision": options.revision or "main"}


def _may_be_on_the_hub(reference: str) -> bool:
    try:
        validate_repo_id(reference)
    except HFValidationError:
        return False
    return True


def _dtype(
    options: ModelSettings, device: str, stored: StoredCheckpoint | None
) -> torch.dtype | str:
    on_cpu = device == "cpu" and options.device_map in (None, "cpu")
    if options.dtype == "auto" and on_cpu:
        return torch.float32
    if options.dtype in ("auto", "checkpoint"):
        # What the files hold, not what the configuration says of them: nothing is rounded.
        return (stored and stored.dtype) or "auto"
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
