"""Token perplexity of one long text in windows of the model's full context."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declutch.errors import DataError
from declutch.extras import require
from declutch.progress import log, track

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Tokens whose logits are held at once: a window of 32,768 tokens over 150,000 entries would fill
# 20 GB in float32.
_CHUNK = 1024
# For a model whose configuration names no context.
_USUAL_CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class Window:
    """A window's tokens, and its summed NLL (nats) over all but the first."""

    ids: tuple[int, ...]
    nll: float

    @property
    def tokens(self) -> int:
        """Predicted tokens."""
        return len(self.ids) - 1


def read_text(path: str) -> str:
    """The text of a file, or of wikitext-2's test set from the hub for an empty path.

    Raises:
        DataError: it can't be read.
        MissingExtra: the hub data set needs ``datasets``.
    """
    if path:
        try:
            return Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} can't be read as UTF-8 text: {error}.") from error
    datasets = require("datasets", extra="capability", why="the wikitext-2 test set")
    try:
        rows = datasets.load_dataset("Salesforce/wikitext", "wikitext-2-raw-v1", split="test")
    except Exception as error:  # the hub's clients raise many kinds
        raise DataError(
            f"The wikitext-2 test set can't be loaded from the hub ({error}). Check the network, "
            "or give a text file: --capability wikitext=PATH."
        ) from error
    return "\n\n".join(rows["text"])


def context_length(model: Any) -> int:
    """The most tokens that a model's configuration says it takes."""
    from declutch.models.positions import stated_positions

    config = model.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    if stated := stated_positions(config):
        return stated
    log.warning("The model names no context length; windows of %d tokens.", _USUAL_CONTEXT)
    return _USUAL_CONTEXT


def window_nll(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    context: int | None = None,
    limit: int | None = None,
    chunk: int = _CHUNK,
) -> list[Window]:
    """What was measured of each window.

    The whole text is encoded once and cut into windows of ``context`` tokens; a rest shorter than
    a window is left out, unless it is all there is. In each window the first token is given and
    all others are predicted. A window is read in chunks with the model's cache: the same numbers
    as in one pass, with the logits of ``chunk`` tokens in memory.

    Args:
        context: tokens of a window; the model's full context by default.
        limit: the first so many windows only.

    Raises:
        DataError: the text has fewer than two tokens.
    """
    import torch

    from declutch.models.forward import evaluation_mode, input_device

    size = context or context_length(model)
    # Not a warning to the user: the text is meant to be longer than the context.
    ids = tokenizer(text, verbose=False)["input_ids"]
    if len(ids) < 2:
        raise DataError("The text for the perplexity has fewer than two tokens.")
    windows = [ids[start : start + size] for start in range(0, len(ids), size)]
    if len(windows) > 1 and len(windows[-1]) < size:
        windows.pop()
    # transformers renames the argument, and the output's attribute, in 5.40.
    keyword = "cache" if "cache" in signature(model.forward).parameters else "past_key_values"
    results = []
    with torch.no_grad(), evaluation_mode(model):
        for window in track(windows[:limit], "Measuring perplexity in windows"):
            tokens = torch.tensor([window], device=input_device(model))
            cache, total = None, 0.0
            for start in range(0, len(window) - 1, chunk):
                part = tokens[:, start : start + chunk]
                output = model(input_ids=part, use_cache=True, **{keyword: cache})
                cache = getattr(output, keyword)
                targets = tokens[0, start + 1 : start + 1 + part.shape[1]]
                logits = output.logits[0, : len(targets)].float()
                losses = torch.nn.functional.cross_entropy(
                    logits, targets.to(logits.device), reduction="none"
                )
                total += float(losses.double().sum())
            results.append(Window(tuple(window), total))
    return results
