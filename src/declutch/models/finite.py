"""Whether a model's weights are numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from declutch.errors import ModelError
from declutch.models.stored import rounds


@torch.no_grad()
def refuse_not_finite(reference: str, model: nn.Module, stored: torch.dtype | None) -> None:
    """Refuse weights that are NaN or infinite: every loss would be, in any dtype.

    Args:
        stored: the dtype of the files, if known.

    Raises:
        ModelError: some are.
    """
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point() or not parameter.numel() or _finite(parameter):
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


def _finite(parameter: Tensor) -> bool:
    # Without a mask as large as the parameter: both ends hand on NaN.
    low, high = parameter.aminmax()
    return bool(low.isfinite() & high.isfinite())
