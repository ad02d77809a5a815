"""The judge that a user fits: logistic regression on frozen sentence embeddings of replies.

It sees the reply alone. A classifier that saw the prompt too would learn which prompts its labelled
data happens to call safe. ``judge.json`` holds what it was fitted on and how well it did on replies
to prompts it had not seen; ``judge.safetensors`` holds the weights. Nothing is pickled, and judging
needs no scikit-learn.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from declutch.comparing.results import Metric
from declutch.errors import FileFormatError, SettingsError
from declutch.files import expanded, require_file, sha256_file, sha256_json
from declutch.judges.base import JudgeItem, register_judge
from declutch.judges.options import Options
from declutch.judges.sentence_vectors import SentenceEncoder
from declutch.records import Record, read_record
from declutch.replies.flags import is_empty
from declutch.replies.verdicts import Verdict

FORMAT_VERSION = 1
FACTS, WEIGHTS = "judge.json", "judge.safetensors"


class Fitted(Record):
    """What one dimension's classifier was fitted on, and how it did on prompts it had not seen.

    Attributes:
        sources: of the aware and the unaware replies, as the user named them.
        sha256: of the labelled replies used, in order.
        aware, unaware: replies used.
        prompts: different prompts among them; a fold never shares one with another.
        duplicates, contradicted: rows left out: the same reply again, or labelled both ways.
        folds: of the cross-validation.
        held_out: accuracy, precision and recall of aware, with counts and intervals.
        auc: area under the curve over all held-out replies.
    """

    sources: dict[Literal["aware", "unaware"], str]
    sha256: str
    aware: int
    unaware: int
    prompts: int
    duplicates: int
    contradicted: int
    folds: int
    held_out: tuple[Metric, ...]
    auc: float


class EmbeddingFacts(Record):
    """All that ``judge.json`` holds.

    Attributes:
        weights_sha256: of ``judge.safetensors``.
        checksum: of all else here, so that neither file can be changed or swapped unseen.
    """

    format_version: Literal[1] = 1
    kind: Literal["embedding"] = "embedding"
    encoder: str
    encoder_sha256: str
    max_length: int
    size: int
    strength: float
    seed: int
    versions: dict[str, str]
    dimensions: dict[str, Fitted]
    weights_sha256: str
    checksum: str = ""

    def sealed(self) -> EmbeddingFacts:
        """With the checksum of what it holds."""
        facts = self.model_dump(mode="json", exclude={"checksum"})
        return self.model_copy(update={"checksum": sha256_json(facts)})


class EmbeddingJudge:
    """Judges by a classifier in a folder that ``declutch judge fit`` wrote.

    Args:
        directory: the folder.
        name: how metrics call it.
        encoder: in place of the one named in the folder, which must have the same weights.

    Raises:
        FileFormatError: a file is missing or damaged.
        SettingsError: the encoder is another one.
    """

    def __init__(
        self, directory: Path, name: str = "embedding", encoder: SentenceEncoder | None = None
    ) -> None:
        self.directory = Path(directory)
        self.name = name
        if not os.path.isdir(self.directory):  # False, too, for a name longer than any folder's
            raise SettingsError(
                f"There is no embedding judge at {directory}. Fit one with: declutch judge fit "
                "--aware fairness=FILE --unaware fairness=FILE -o DIR"
            )
        self.facts = read_record(self.directory / FACTS, EmbeddingFacts, FORMAT_VERSION)
        if self.facts != self.facts.sealed():
            raise FileFormatError(
                f"{self.directory / FACTS} was changed since it was written: its checksum differs. "
                "Fit again, or take both files from one place."
            )
        self._weights = _read_weights(self.directory / WEIGHTS, self.facts)
        self.encoder = encoder or SentenceEncoder(self.facts.encoder)
        if self.encoder.sha256 != self.facts.encoder_sha256:
            raise SettingsError(
                f"{directory} was fitted on other weights of the encoder {self.facts.encoder} than "
                "those that are here now. Fit it again, or bring the old encoder back."
            )

    @property
    def settings(self) -> Mapping[str, Any]:
        """The classifier's weights and the encoder's."""
        return {
            "version": 1,
            "sha256": self.facts.weights_sha256,
            "encoder": self.facts.encoder_sha256,
        }

    def judge(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """One verdict an item; empty replies are ``unparsed``.

        Raises:
            SettingsError: it was not fitted for a dimension.
        """
        for item in items:
            if item.dimension not in self._weights:
                raise SettingsError(
                    f"The judge in {self.directory} was fitted for "
                    f"{', '.join(sorted(self._weights))}, not for «{item.dimension}»."
                )
        filled = [n for n, item in enumerate(items) if not is_empty(item.reply)]
        verdicts = [Verdict("unparsed", "empty reply")] * len(items)
        if filled:
            vectors = self.encoder.encode([items[n].reply for n in filled])
            for n, vector in zip(filled, vectors, strict=True):
                weight, bias = self._weights[items[n].dimension]
                verdicts[n] = _verdict(float(vector @ weight) + bias)
        return verdicts


def _verdict(logit: float) -> Verdict:
    if not np.isfinite(logit):  # the encoder gave no finite vector
        return Verdict("unparsed", "no finite score")
    share = 1 / (1 + float(np.exp(-np.clip(logit, -500, 500))))
    return Verdict("aware" if logit > 0 else "unaware", f"P(aware) {share:.3f}", f"{share:.6f}")


def _read_weights(
    path: Path, facts: EmbeddingFacts
) -> dict[str, tuple[NDArray[np.float32], float]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    require_file(path)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise FileFormatError(f"{path} is damaged: {error}.") from error
    if sha256_file(path) != facts.weights_sha256:
        raise FileFormatError(
            f"{path} does not belong to the {FACTS} beside it, or was changed since: its hash "
            "differs. Fit again, or take both files from one place."
        )
    found = {}
    for dimension in facts.dimensions:
        weight, bias = tensors.get(f"{dimension}/weight"), tensors.get(f"{dimension}/bias")
        if weight is None or bias is None or weight.shape != (facts.size,) or bias.shape != (1,):
            raise FileFormatError(f"{path} does not fit its {FACTS}: see {dimension}. Fit again.")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise FileFormatError(
                f"{path} has weights of {dimension} that are no numbers. Fit again."
            )
        found[dimension] = weight, float(bias[0])
    return found


@register_judge("embedding")
def _embedding(options: Options) -> EmbeddingJudge:
    path = options.needed("path", "FOLDER (that declutch judge fit wrote)", first=True)
    return EmbeddingJudge(expanded(path), options.judge)
