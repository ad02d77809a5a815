"""What declutch does with a family: what it covers, which way it goes, and whether it is right."""

from __future__ import annotations

import copy
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from declutch.data.encoding import EncodedExample, Encoder
from declutch.data.example import Example
from declutch.errors import DeclutchError
from declutch.models.matrices import Coverage, find_matrices
from declutch.models.matrix_kinds import Kind
from declutch.scoring.score import score
from declutch.scoring.shortlists import Scores
from tests.conftest import build_tokenizer
from tests.families.tiny import tiny_family

KINDS: tuple[Kind, ...] = ("mlp", "attention", "router", "other")
EXAMPLES = tuple(
    Example(prompt=prompt, response=response, id=str(number))
    for number, (prompt, response) in enumerate(
        [
            ("the lazy dog tells", "a quick secret to the brown fox"),
            ("quick fox", "to the dog a secret"),
            ("a brown secret", "lazy"),
            ("the dog", "tells the fox"),
            ("dog", "the fox"),
        ]
    )
)
BATCH = 3


@dataclass(frozen=True)
class Outcome:
    """What was found of one family.

    Attributes:
        matrices: how many of each kind, in the order of :data:`KINDS`; none if all is refused.
        default_path, path: ``batched``, ``one by one``, ``refused``, ``none`` (the target covers
            nothing) or ``untried``: with the default target, and with ``all``.
        error: the largest error of any matrix's scores, relative to its largest score.
        remarks: why, and what is not covered.
    """

    family: str
    matrices: tuple[int, ...] = (0, 0, 0, 0)
    default_path: str = "refused"
    path: str = "refused"
    error: float | None = None
    remarks: tuple[str, ...] = ()


def outcome_of(family: str) -> Outcome:
    """Build a family's tiny model and measure it; one that transformers can't run is untried."""
    try:
        model = tiny_family(family)
        alone = copy.deepcopy(model)
        alone(input_ids=torch.arange(7, 17)[None], use_cache=False).logits.sum().backward()
    except Exception as error:  # whatever a model's own code raises
        return Outcome(
            family, default_path="untried", path="untried", remarks=(_first_sentence(error),)
        )
    return measure(family, model)


def measure(family: str, model: PreTrainedModel) -> Outcome:
    """Score a model with the default target and with ``all``, and compare with autograd alone."""
    tokenizer = build_tokenizer()
    encoder = Encoder(tokenizer, "raw")
    encoded = [encoder.encode(example) for example in EXAMPLES]
    try:
        coverage = find_matrices(model, "all")
    except DeclutchError as error:
        return Outcome(family, remarks=(_first_sentence(error),))
    expected = _by_autograd(model, coverage, encoded)
    counts = Counter(matrix.kind for matrix in coverage.matrices)
    paths: list[str] = []
    errors: list[float] = []
    remarks: list[str] = []
    reasons: list[str] = []
    for target in ("mlp", "all"):
        if target == "mlp" and not counts["mlp"]:
            paths.append("none")
            continue
        with _watched(model) as seen:
            try:
                scores = score(
                    model, tokenizer, {"tried": EXAMPLES}, target_modules=target,
                    prompt_format="raw", shortlist=1.0,
                    batch_tokens=BATCH * max(map(len, encoded)),
                )  # fmt: skip
            except DeclutchError as error:
                paths.append("refused")
                remarks.append(_first_sentence(error))
                continue
        paths.append("batched" if seen.sizes[-1] > 1 else "one by one")
        reasons = [_plain(message) for message in seen.messages] or reasons
        errors.append(_largest_error(scores, expected))
    left_out = () if paths[-1] == "refused" else _not_covered(model, coverage)
    return Outcome(
        family=family,
        matrices=tuple(counts[kind] for kind in KINDS),
        default_path=paths[0],
        path=paths[1],
        error=max(errors, default=None),
        remarks=tuple(dict.fromkeys([*remarks, *reasons, *left_out])),
    )


def _by_autograd(
    model: PreTrainedModel, coverage: Coverage, examples: Sequence[EncodedExample]
) -> dict[str, Tensor]:
    """Mean |W·g| of each matrix from a plain pass over each example alone: no hooks, no batch.

    Each on a copy: some models remember the lengths that they have seen.
    """
    sums = {m.name: torch.zeros(m.shape, dtype=torch.float64) for m in coverage.matrices}
    for example in examples:
        alone = copy.deepcopy(model)
        parameters = dict(alone.named_parameters(remove_duplicate=False))
        ids = torch.tensor([example.input_ids])
        logits = alone(input_ids=ids, use_cache=False).logits[0, :-1].float()
        losses = functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        losses[torch.tensor(example.loss_mask[1:])].mean().backward()
        for matrix in coverage.matrices:
            parameter = parameters[matrix.parameter]
            if parameter.grad is not None:
                sums[matrix.name] += matrix.view(parameter.detach() * parameter.grad).abs()
    return {name: total / len(examples) for name, total in sums.items()}


def _largest_error(scores: Scores, expected: dict[str, Tensor]) -> float:
    largest = 0.0
    for name, shortlist in scores.dimension("tried").items():
        truth = expected[name].flatten()
        ours = torch.zeros_like(truth)
        ours[shortlist.indices] = shortlist.scores.double()
        difference = float((ours - truth).abs().max())
        if difference:
            largest = max(largest, difference / max(float(truth.max()), 1e-30))
    return largest


class _Seen(logging.Handler):
    """The batch size of each forward pass, and what the log said of going one by one."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.sizes: list[int] = []
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "one example at a time" in (message := record.getMessage()):
            self.messages.append(message)

    def note(self, _: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self.sizes.append(len(kwargs["input_ids"]))


@contextmanager
def _watched(model: nn.Module) -> Iterator[_Seen]:
    seen = _Seen()
    log = logging.getLogger("declutch")
    level = log.level
    handle = model.register_forward_pre_hook(seen.note, with_kwargs=True)
    log.addHandler(seen)
    log.setLevel(logging.INFO)
    try:
        yield seen
    finally:
        log.removeHandler(seen)
        log.setLevel(level)
        handle.remove()


def _plain(text: str) -> str:
    """A sentence of the log without numbers, and without its consequence."""
    text = re.sub(r"(?<=\.)\d+(?=\.)", "N", text.partition(": one example at a time")[0])
    text = re.sub(r"^\d+ matrices \((.+?), \.\.\.\) are", r"\1: are", text)
    return re.sub(r" \([^()]* \d[^()]*\)", "", text)


def _first_sentence(error: Exception) -> str:
    first = re.split(r"(?<=\.)\s", " ".join(str(error).split()), maxsplit=1)[0]
    return _plain(first.rstrip("."))


def _not_covered(model: nn.Module, coverage: Coverage) -> Iterator[str]:
    """The parameters of two or more axes that ``all`` does not cover, by reason."""
    head = _head(model)
    tables = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding) or module is head
        for parameter in module.parameters(recurse=False)
    }
    parameters = dict(model.named_parameters(remove_duplicate=False))
    reasons: dict[str, list[str]] = {}
    for entry in coverage.skipped:
        tied = entry.reason.startswith(("the same as", "tied to"))
        if len(entry.shape) > 1 and not tied and id(parameters[entry.parameter]) not in tables:
            reasons.setdefault(entry.reason, []).append(entry.parameter)
    for reason, names in reasons.items():
        if reason != "a bias":
            yield f"not covered: {len(names)} × {reason} ({_plain(names[0])})"


def _head(model: nn.Module) -> nn.Module | None:
    getter: Any = getattr(model, "get_output_embeddings", None)
    return getter() if getter else None
