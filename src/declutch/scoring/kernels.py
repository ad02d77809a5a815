"""``Σ_s c_s·|δ_sᵀ x_s|`` on a GPU: one Triton launch for a matrix and a batch.

Each program owns one tile of the sum. It goes through the examples; for each it multiplies the
example's tokens into a float32 tile of that example's gradient, and folds the absolute value into
a second float32 tile. Both tiles live in registers, so the sum is read and written once a batch
and no example's gradient ever reaches memory. (The tiled product itself is the textbook one;
what is particular is the fold between examples.)

The module can be imported without Triton; :func:`available` then says no.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

try:
    import triton
    from triton import language as tl
except ImportError:  # optional: the «kernels» extra, or CUDA builds of torch, bring it
    triton = None

INSTALLED = triton is not None

log = logging.getLogger("declutch")

# Tensor cores for bf16 begin with Ampere; older GPUs use the PyTorch path.
_OLDEST_CAPABILITY = (8, 0)
# Tile sizes and launch options where nothing is to be tuned: the probe, and the interpreter.
_SMALL = {"block_out": 32, "block_in": 32, "block_tokens": 16, "group": 2}
# Mean tokens of an example are tuned for in these classes, not for each length anew.
_LENGTH_CLASSES = (64, 256)

# Out tile, in tile, tokens, warps, stages. Two float32 tiles (the example's and the sum's) share
# the registers, so a tile is at most half of what a plain matrix product would take: none of
# these spills on sm_80 or sm_90 (tests/scoring/test_kernels.py compiles them all and checks).
HALF_TILES = (
    (128, 128, 32, 8, 4),
    (128, 128, 64, 8, 3),
    (64, 128, 32, 4, 4),
    (64, 128, 64, 4, 3),
    (128, 64, 32, 4, 4),
    (128, 64, 64, 8, 3),
    (64, 256, 32, 8, 3),
    (64, 64, 64, 4, 3),
)
# Exact float32 products run on the plain cores, and their operands fill registers sooner.
FLOAT_TILES = (
    (64, 64, 16, 4, 3),
    (64, 64, 32, 8, 2),
    (64, 128, 16, 8, 2),
)


def _products(  # type: ignore[no-untyped-def]  # Triton evaluates annotations
    total_ptr,
    x_ptr,
    delta_ptr,
    lengths_ptr,
    coefficients_ptr,
    examples,
    out_size,
    in_size,
    total_stride,
    x_stride_example,
    x_stride_token,
    delta_stride_example,
    delta_stride_token,
    length_class,  # a key of the tuner
    absolute: tl.constexpr,
    upcast: tl.constexpr,
    group: tl.constexpr,
    block_out: tl.constexpr,
    block_in: tl.constexpr,
    block_tokens: tl.constexpr,
) -> None:
    """The kernel; one program for each tile ``[block_out, block_in]`` of ``total``."""
    # Programs that run together take a compact patch of tiles, so that what they read of x and δ
    # is shared in the L2 cache.
    program = tl.program_id(0)
    tiles_out = tl.cdiv(out_size, block_out)
    tiles_in = tl.cdiv(in_size, block_in)
    band = program // (group * tiles_in)
    first = band * group
    height = tl.minimum(tiles_out - first, group)
    place = program - band * group * tiles_in
    outs = (first + place % height) * block_out + tl.arange(0, block_out)
    ins = (place // height) * block_in + tl.arange(0, block_in)

    sums = tl.zeros((block_out, block_in), tl.float32)
    for row in range(examples):
        length = tl.load(lengths_ptr + row)
        product = tl.zeros((block_out, block_in), tl.float32)
        for start in range(0, length, block_tokens):
            tokens = start + tl.arange(0, block_tokens)
            delta = tl.load(  # δᵀ: the axis of outputs is the contiguous one
                delta_ptr + tokens[None, :] * delta_stride_token + outs[:, None],
                mask=(tokens[None, :] < length) & (outs[:, None] < out_size),
                other=0.0,
            )
            x = tl.load(
                x_ptr + tokens[:, None] * x_stride_token + ins[None, :],
                mask=(tokens[:, None] < length) & (ins[None, :] < in_size),
                other=0.0,
            )
            if upcast:
                delta = delta.to(tl.float32)
                x = x.to(tl.float32)
            product = tl.dot(delta, x, product, input_precision="ieee")
        if absolute:
            product = tl.abs(product)
        sums += tl.load(coefficients_ptr + row) * product
        # Stepping the pointers keeps offsets within an example, where 32 bits are enough.
        x_ptr += x_stride_example
        delta_ptr += delta_stride_example

    places = total_ptr + outs.to(tl.int64)[:, None] * total_stride + ins[None, :]
    mask = (outs[:, None] < out_size) & (ins[None, :] < in_size)
    tl.store(places, tl.load(places, mask=mask, other=0.0) + sums, mask=mask)


def add_products(
    total: Tensor,
    x: Tensor,
    delta: Tensor,
    lengths: Sequence[int],
    coefficients: Sequence[float],
    *,
    absolute: bool,
) -> None:
    """As :func:`declutch.scoring.products.add_products`, with rows of ``total`` contiguous.

    Products are of the inputs' own dtype (bf16, fp16; float32 without TF32), sums are float32.

    Raises:
        RuntimeError: Triton is not installed, or ``total`` is not float32 with contiguous rows.
    """
    if triton is None:
        raise RuntimeError("Triton is not installed; ask kernels.available() first.")
    if total.dtype != torch.float32 or total.stride(1) != 1:
        raise RuntimeError("The sum must be float32 with contiguous rows.")
    if not lengths or not total.numel():
        return
    kernel, options = (_tuned(), {}) if total.is_cuda else (_compiled(), _SMALL)
    _launch(kernel, options, total, x, delta, lengths, coefficients, absolute)


def available(device: torch.device | str) -> bool:
    """Whether the kernel runs on a device; found out once by running it on a few numbers."""
    device = torch.device(device)
    if triton is None or device.type != "cuda" or not torch.cuda.is_available():
        return False
    index = torch.cuda.current_device() if device.index is None else device.index
    return _runs_on(index)


@functools.cache
def _runs_on(index: int) -> bool:
    """Try the kernel on a GPU: Triton needs a C compiler and a driver that fit, and may not."""
    device = torch.device("cuda", index)
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < _OLDEST_CAPABILITY:
        return False
    ones = torch.ones(2, 16, 16, dtype=torch.bfloat16, device=device)
    total = torch.zeros(16, 16, device=device)
    try:
        _launch(_compiled(), _SMALL, total, ones, ones, (16, 3), (1.0, 1.0), True)
        works = bool((total == 19).all())
        reason = "a wrong result"
    except Exception as error:  # whatever it is, the PyTorch path gives the same scores
        works, reason = False, (str(error).strip() or repr(error)).splitlines()[-1]
    if not works:
        log.warning(
            "Triton is installed, but its kernel does not run on %s (%s); scoring uses plain "
            "PyTorch there, which is slower and exact all the same.",
            torch.cuda.get_device_name(device), reason,
        )  # fmt: skip
    return works


def _launch(
    kernel: Any,
    options: dict[str, int],
    total: Tensor,
    x: Tensor,
    delta: Tensor,
    lengths: Sequence[int],
    coefficients: Sequence[float],
    absolute: bool,
) -> None:
    dtype = torch.promote_types(x.dtype, delta.dtype)
    if dtype not in (torch.bfloat16, torch.float16):
        dtype = torch.float32
    x, delta = _rows(x.to(total.device, dtype)), _rows(delta.to(total.device, dtype))
    out_size, in_size = total.shape
    sizes, factors = _on_device(tuple(lengths), tuple(map(float, coefficients)), total.device)

    def grid(meta: dict[str, int]) -> tuple[int]:
        return (-(-out_size // meta["block_out"]) * -(-in_size // meta["block_in"]),)

    # Triton launches on the current device, which need not be the tensors' own.
    cuda = torch.cuda.device(total.device) if total.is_cuda else contextlib.nullcontext()
    with cuda:
        kernel[grid](
            total, x, delta, sizes, factors,
            len(lengths), out_size, in_size,
            total.stride(0), x.stride(0), x.stride(1), delta.stride(0), delta.stride(1),
            _length_class(lengths),
            absolute=absolute,
            # The interpreter would multiply the bit patterns of bf16 (triton issue 11584).
            upcast=interpreted() and dtype == torch.bfloat16,
            **options,
        )  # fmt: skip


def _rows(tensor: Tensor) -> Tensor:
    """The kernel steps over examples and tokens; only the last axis must be contiguous."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _length_class(lengths: Sequence[int]) -> int:
    mean = sum(lengths) / len(lengths)
    return sum(mean > bound for bound in _LENGTH_CLASSES)


@functools.lru_cache(maxsize=16)
def _on_device(
    lengths: tuple[int, ...], coefficients: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Copied once a batch: all its matrices share them."""
    return (
        torch.tensor(lengths, dtype=torch.int32, device=device),
        torch.tensor(coefficients, dtype=torch.float32, device=device),
    )


def interpreted() -> bool:
    """Whether Triton runs its kernels in Python, on the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@functools.cache
def _compiled() -> Any:
    """The kernel, compiled at its first launch for each dtype."""
    return triton.jit(_products, do_not_specialize=["examples", "length_class"])


@functools.cache
def _tuned() -> Any:
    """The kernel with the tile sizes that are fastest for a shape, dtype and class of lengths."""

    def config(block_out: int, block_in: int, tokens: int, warps: int, stages: int) -> Any:
        tile = {"block_out": block_out, "block_in": block_in, "block_tokens": tokens, "group": 8}
        return triton.Config(tile, num_warps=warps, num_stages=stages)

    half = [config(*tile) for tile in HALF_TILES]
    full = [config(*tile) for tile in FLOAT_TILES]

    def by_dtype(_: Any, arguments: dict[str, Any], **__: Any) -> list[Any]:
        return full if arguments["x_ptr"].dtype == torch.float32 else half

    tune = triton.autotune(
        configs=half + full,
        key=["out_size", "in_size", "length_class"],
        prune_configs_by={"early_config_prune": by_dtype},
        restore_value=["total_ptr"],  # tuning runs the kernel many times
    )
    return tune(_compiled())
