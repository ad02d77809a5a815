"""What other people's code says about a model's files, in words that help."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from declutch.errors import DeclutchError, ModelError, OutOfMemory
from declutch.models.batches import is_out_of_memory
from declutch.models.quiet import quiet_transformers

_KINDS = {"model": "a causal language model", "classifier": "a classifier of texts"}


@contextlib.contextmanager
def readable(
    reference: str, part: Literal["model", "tokenizer", "classifier"], remedy: str | None = None
) -> Iterator[None]:
    """Translate whatever is raised over a model's files.

    Args:
        remedy: what to do, where it is known beforehand.

    Raises:
        ModelError: the files can't be used, and what to do.
        OutOfMemory: the model does not fit.
    """
    try:
        with quiet_transformers():
            yield
    except DeclutchError as error:
        if remedy is None:
            raise
        raise type(error)(f"{error} {remedy}") from error
    except BaseException as error:
        # The Rust side of tokenizers panics on some files, with no ordinary exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"{reference} does not fit into memory. Load it in half precision (--dtype "
                "checkpoint or bfloat16), over several GPUs (--device-map auto), or on a machine "
                "with more memory."
            ) from error
        first = str(error).strip().split("\n")[0][:300] or type(error).__name__
        if isinstance(error, KeyError):
            first = f"{first} is missing or unknown"
        text = (
            f"The tokenizer of {reference} could not be loaded: {first}"
            if part == "tokenizer"
            else f"{reference} could not be loaded as {_KINDS[part]}: {first}"
        )
        stop = "" if text.endswith((".", "!", "?")) else "."
        raise ModelError(f"{text}{stop} {remedy or _remedy(reference, part, error)}") from error


def _remedy(reference: str, part: str, error: BaseException) -> str:
    text = str(error).lower()
    if "trust_remote_code" in text:
        return "It needs code of its own: if you trust it, add --trust-remote-code."
    if isinstance(error, ImportError):
        return "Install what it names."
    if not os.path.exists(reference) and not reference.endswith(".gguf"):
        return _of_the_hub(reference, text)
    if reference.endswith(".gguf"):
        return "Get the file again and compare its size with the original's: it may be cut."
    if part == "tokenizer":
        return (
            "Copy the tokenizer's files (tokenizer.json or tokenizer.model, "
            "tokenizer_config.json) from the model that this one was made from."
        )
    return (
        f"Give a folder with the config.json and safetensors of {_KINDS[part]}, a hub id"
        f"{', or a .gguf file' if part == 'model' else ''}; if it is one, compare its config.json "
        "with the original's."
    )


def _of_the_hub(reference: str, text: str) -> str:
    if "gated" in text or "401" in text or "403" in text:
        return "Accept its terms on the hub, then log in with: hf auth login"
    here = f"There is no folder {reference} here{_nearest(reference)}"
    if "connect" in text or "offline" in text or "resolve" in text:
        return (
            f"{here}, and the hub can't be reached: give a folder, or a model in the hub's cache."
        )
    return f"{here}: give a folder, the id of a model on the hub (OWNER/NAME), or a .gguf file."


def _nearest(reference: str) -> str:
    """The name that may have been meant."""
    path = Path(reference)
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {path.parent / near[0]}?)" if near else ""
