"""The model that patches are made for."""

from __future__ import annotations

import pytest
from transformers import PreTrainedModel

from tests.conftest import build_model


@pytest.fixture
def llama() -> PreTrainedModel:
    return build_model("llama")
