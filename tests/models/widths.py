"""A tiny model in another dtype."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel


def in_dtype(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The same model, its weights converted in place."""
    nn.Module.to(model, dtype)
    return model
