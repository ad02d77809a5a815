"""Fit the embedding judge on labelled replies, and measure it on prompts it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from declutch.comparing.results import Metric
from declutch.data.example import Example
from declutch.errors import DataError, ModelError, SettingsError
from declutch.extras import require
from declutch.files import atomic_path, sha256_json, write_json
from declutch.judges.accuracy import label_metrics
from declutch.judges.embedding import FACTS, WEIGHTS, EmbeddingFacts, Fitted
from declutch.judges.sentence_vectors import SentenceEncoder
from declutch.progress import log
from declutch.versions import versions as installed_versions

# Inverse of the penalty; unit vectors need a weaker one than scikit-learn's default of 1.
STRENGTH = 10.0
FOLDS = 5
_LEAST = 20


@dataclass(frozen=True, slots=True)
class LabelledReplies:
    """Replies of one dimension with their labels, without doublets and contradictions."""

    prompts: tuple[str, ...]
    replies: tuple[str, ...]
    aware: tuple[bool, ...]
    duplicates: int = 0
    contradicted: int = 0

    @classmethod
    def of(
        cls, aware: Sequence[Example], unaware: Sequence[Example], dropped: int = 0
    ) -> LabelledReplies:
        """Join the two; a pair that stands in both is dropped from both.

        Args:
            dropped: doublets that were left out before.
        """
        labels: dict[tuple[str, str], set[bool]] = {}
        for examples, label in ((aware, True), (unaware, False)):
            for example in examples:
                labels.setdefault((example.prompt, example.response), set()).add(label)
        clear = {pair: label for pair, label in labels.items() if len(label) == 1}
        return cls(
            tuple(prompt for prompt, _ in clear),
            tuple(reply for _, reply in clear),
            tuple(next(iter(label)) for label in clear.values()),
            duplicates=dropped + len(aware) + len(unaware) - sum(map(len, labels.values())),
            contradicted=len(labels) - len(clear),
        )


def fit_judge(
    sources: Mapping[str, tuple[str, str]],
    out: Path,
    *,
    encoder: SentenceEncoder | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> EmbeddingFacts:
    """Fit one classifier a dimension, and write the judge's folder.

    Args:
        sources: for each dimension, where its aware and its unaware replies are.

    Raises:
        DataError: a source can't be read, or holds too few replies or prompts.
        SettingsError: no dimension is given, the number of folds is below 2, or something is in
            the folder.
        ModelError: the encoder gives no finite vectors.
        MissingExtra: scikit-learn or the encoder is not installed.
    """
    from declutch.data.loading import load_examples
    from declutch.models.saving import refuse_existing  # loads transformers, as the encoder does

    refuse_existing(Path(out))
    if not sources:
        raise SettingsError("Give --aware NAME=SOURCE and --unaware NAME=SOURCE.")
    if folds < 2:
        raise SettingsError(f"--folds must be at least 2, not {folds}.")
    from safetensors.numpy import save

    require("sklearn", extra="embedding", why="fitting a judge")
    encoder = encoder or SentenceEncoder()
    fitted: dict[str, Fitted] = {}
    tensors: dict[str, NDArray[np.float32]] = {}
    for dimension, (aware, unaware) in sources.items():
        good, bad = (load_examples(one, num_samples=None) for one in (aware, unaware))
        labelled = LabelledReplies.of(
            good.examples, bad.examples, good.report.duplicates + bad.report.duplicates
        )
        _check(dimension, labelled, folds)
        log.info("Embedding %d replies of %s", len(labelled.replies), dimension)
        vectors = encoder.encode(labelled.replies)
        if not np.isfinite(vectors).all():
            raise ModelError(
                f"The encoder {encoder.reference} gives vectors that are not finite for replies of "
                f"{dimension}: its weights are damaged, or too large for their type. Take another."
            )
        held_out, auc = _held_out(dimension, vectors, labelled, folds, seed)
        weight, bias = _fit(vectors, np.array(labelled.aware))
        tensors[f"{dimension}/weight"] = weight.astype(np.float32)
        tensors[f"{dimension}/bias"] = np.array([bias], dtype=np.float32)
        fitted[dimension] = Fitted(
            sources={"aware": aware, "unaware": unaware},
            sha256=sha256_json([labelled.prompts, labelled.replies, labelled.aware]),
            aware=sum(labelled.aware),
            unaware=len(labelled.aware) - sum(labelled.aware),
            prompts=len(set(labelled.prompts)),
            duplicates=labelled.duplicates,
            contradicted=labelled.contradicted,
            folds=folds,
            held_out=held_out,
            auc=auc,
        )
    weights = save(tensors)
    facts = EmbeddingFacts(
        encoder=encoder.reference,
        encoder_sha256=encoder.sha256,
        max_length=encoder.max_length,
        size=len(next(iter(tensors.values()))),
        strength=STRENGTH,
        seed=seed,
        versions=installed_versions(),
        dimensions=fitted,
        weights_sha256=sha256(weights).hexdigest(),
    ).sealed()
    with atomic_path(Path(out)) as temporary:
        temporary.mkdir()
        (temporary / WEIGHTS).write_bytes(weights)
        write_json(temporary / FACTS, facts.model_dump(mode="json"))
    return facts


def _check(dimension: str, labelled: LabelledReplies, folds: int) -> None:
    for word, label in (("aware", True), ("unaware", False)):
        rows = [n for n, found in enumerate(labelled.aware) if found is label]
        prompts = len({labelled.prompts[n] for n in rows})
        if len(rows) < _LEAST or prompts < folds:
            raise DataError(
                f"{dimension}: {len(rows)} different {word} replies to {prompts} prompts; at "
                f"least {_LEAST} replies and {folds} prompts are needed on each side."
            )


def _held_out(
    dimension: str, vectors: NDArray[np.float32], labelled: LabelledReplies, folds: int, seed: int
) -> tuple[tuple[Metric, ...], float]:
    """Predictions for each fold by a classifier that has seen none of the fold's prompts."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold

    aware = np.array(labelled.aware)
    numbers = {prompt: n for n, prompt in enumerate(dict.fromkeys(labelled.prompts))}
    groups = np.array([numbers[prompt] for prompt in labelled.prompts])
    logits = np.zeros(len(aware))
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in split.split(vectors, aware, groups):
        weight, bias = _fit(vectors[train], aware[train])
        logits[test] = vectors[test] @ weight + bias
    said, labels = (["aware" if one else "unaware" for one in side] for side in (logits > 0, aware))
    metrics = label_metrics("held_out", dimension, said, labels)
    return metrics, float(roc_auc_score(aware, logits))


def _fit(vectors: NDArray[np.float32], aware: NDArray[np.bool_]) -> tuple[Any, float]:
    """Weight ``[D]`` and bias of a logistic regression in which both labels weigh the same."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
    model.fit(vectors, aware)
    return model.coef_[0], float(model.intercept_[0])
