"""Every family of causal models in transformers, scored and compared with autograd alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from declutch.models.forward import collate, token_losses
from tests.families.measure import measure, outcome_of
from tests.families.page import PAGE, TOLERANCE, is_wrong, read_page, row
from tests.families.tiny import HIDDEN, all_families, tiny_family
from tests.scoring.test_importance import make_examples

# Scales a head; adapted blocks; routers in attention; stacked gates; no plain MLP.
FEW = (
    "cohere, norms of queries and keys", "gemma3n_text", "jetmoe", "recurrent_gemma", "xlstm",
)  # fmt: skip


def check(family: str) -> None:
    """Right, or refused; and what the page says."""
    outcome = outcome_of(family)
    assert not is_wrong(outcome), f"{outcome.error} > {TOLERANCE}"
    if rows := read_page():  # with other versions the page is no yardstick
        assert row(outcome) == rows.get(family), f"{PAGE.name} says otherwise: make families"


@pytest.mark.parametrize("family", FEW)
def test_a_few_families(family: str) -> None:
    check(family)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(all_families()) - set(FEW)))
def test_family(family: str) -> None:
    check(family)


class Attending(nn.Module):
    """A decoder block of PyTorch's own attention, whose weights no module of their own applies."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(HIDDEN, 2, batch_first=True)
        self.mlp = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, hidden: Tensor, **_: Any) -> Tensor:
        later = torch.ones(hidden.shape[1], hidden.shape[1]).triu(1).bool()
        attended, _ = self.self_attn(hidden, hidden, hidden, attn_mask=later, need_weights=False)
        after: Tensor = hidden + self.mlp(hidden + attended)
        return after


@pytest.mark.slow
def test_pytorch_s_attention() -> None:
    model = tiny_family("llama")
    torch.manual_seed(1)
    model.model.layers = nn.ModuleList(Attending() for _ in range(2))
    outcome = measure("PyTorch's own", model.eval())
    assert outcome.matrices == (2, 4, 0, 0)
    assert not is_wrong(outcome)
    assert outcome.path == "one by one"


@torch.no_grad()
def test_a_head_that_sees_several_streams() -> None:
    model = tiny_family("prophetnet")
    (example,) = make_examples(1)
    losses = token_losses(model, collate([example]))
    ids = torch.tensor([example.input_ids])
    logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
    counted = torch.tensor(example.loss_mask[1:])
    expected = functional.cross_entropy(logits[counted], ids[0, 1:][counted], reduction="none")
    torch.testing.assert_close(losses, expected)


def test_the_page_has_every_family() -> None:
    rows = read_page()
    assert not rows or set(rows) == set(all_families())
    assert not rows or sum(path != "untried" for *_, path in rows.values()) >= 180
