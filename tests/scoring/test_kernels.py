"""The Triton kernel: in the interpreter against float64, compiled for two GPUs, and on a real one.

Without a GPU the interpreter checks what the kernel computes, and the compiler checks that it can
be built and keeps its tiles in registers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from declutch.scoring import kernels, products
from tests.scoring.interpreted_kernel import CASES, expected, make_inputs

needs_triton = pytest.mark.skipif(not kernels.INSTALLED, reason="triton is not installed")
ROOT = Path(__file__).parents[2]


@needs_triton
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_interpreted_kernel_equals_float64(dtype: str) -> None:
    # The kernel multiplies the rounded inputs exactly and sums in float32, for every dtype.
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "tests.scoring.interpreted_kernel", dtype],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    errors = json.loads(run.stdout)
    assert errors.keys() == CASES.keys()
    assert {name: error for name, error in errors.items() if not error < 2e-6} == {}


@needs_triton
@pytest.mark.parametrize("architecture", [80, 90])
def test_kernel_compiles_for_ampere_and_hopper(architecture: int) -> None:
    assembly = build(architecture, "bf16", kernels.HALF_TILES[0]).asm["ptx"]
    assert ("wgmma" if architecture == 90 else "mma.sync") in assembly  # tensor cores
    assert "cp.async" in assembly  # loads run ahead of the products


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("architecture", [80, 90])
def test_no_tile_spills_registers(architecture: int, tmp_path: Path) -> None:
    tiles = [("bf16", tile) for tile in kernels.HALF_TILES]
    tiles += [("fp16", tile) for tile in kernels.HALF_TILES]
    tiles += [("fp32", tile) for tile in kernels.FLOAT_TILES]
    spills = {}
    for dtype, tile in tiles:
        cubin = tmp_path / "kernel.cubin"
        cubin.write_bytes(build(architecture, dtype, tile).asm["cubin"])
        found = re.search(r"STACK:(\d+)", resource_usage(cubin))
        assert found
        if int(found[1]):
            spills[dtype, tile] = int(found[1])
    assert spills == {}


def build(architecture: int, dtype: str, tile: tuple[int, int, int, int, int]) -> Any:
    """Compile for a GPU that need not be there."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = kernels._compiled()
    pointers = {
        "total_ptr": "*fp32", "x_ptr": f"*{dtype}", "delta_ptr": f"*{dtype}",
        "lengths_ptr": "*i32", "coefficients_ptr": "*fp32",
    }  # fmt: skip
    out, inner, tokens, warps, stages = tile
    constants = {
        "absolute": True, "upcast": False, "group": 8,
        "block_out": out, "block_in": inner, "block_tokens": tokens,
    }  # fmt: skip
    signature = {
        name: pointers.get(name, "constexpr" if name in constants else "i32")
        for name in kernel.arg_names
    }
    # What a launch finds out by itself: real models' sizes and strides are multiples of 16.
    multiples = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(kernel.arg_names)
        if name in pointers or "size" in name or "stride" in name
    }
    return triton.compile(
        ASTSource(kernel, signature, constants, multiples),
        target=GPUTarget("cuda", architecture, 32),
        options={"num_warps": warps, "num_stages": stages},
    )


def resource_usage(cubin: Path) -> str:
    import triton.backends.nvidia

    tool = Path(triton.backends.nvidia.__file__).parent / "bin" / "cuobjdump"
    return subprocess.run(
        [tool, "--dump-resource-usage", cubin], capture_output=True, text=True, check=True
    ).stdout


def test_module_imports_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    spec = importlib.util.spec_from_file_location("kernels_without_triton", kernels.__file__)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.available("cuda")
    ones = torch.ones(1, 2, 3)
    with pytest.raises(RuntimeError, match="not installed"):
        module.add_products(torch.zeros(3, 3), ones, ones, [2], [1.0], absolute=True)


def test_cpu_uses_the_torch_path() -> None:
    assert not kernels.available("cpu")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_path_equals_float64(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    monkeypatch.setattr(products, "_CPU_TILE", 7 * case.inner)  # several tiles, the last one short
    total, x, delta = make_inputs(case, dtype)
    for row, length in enumerate(case.lengths if case.layout != "expanded" else ()):
        delta[row, length:] = 0  # the contract: zero at padding
    reference = expected(case, total, x, delta)
    coefficients = case.coefficients or (1.0,) * len(case.lengths)
    products.add_products(total, x, delta, case.lengths, coefficients, absolute=case.absolute)
    torch.testing.assert_close(total.double(), reference, rtol=2e-5, atol=2e-5)


@pytest.mark.gpu
@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("absolute", [True, False])
def test_gpu_kernel_equals_the_torch_path(dtype: torch.dtype, absolute: bool) -> None:
    device = torch.device("cuda")
    assert kernels.available(device)
    generator = torch.Generator(device).manual_seed(0)
    lengths, coefficients = (150, 0, 97, 1), (1.0, 1.0, -1.0, 2.0)
    for out, inner in ((1000, 520), (37, 3584)):
        x = torch.randn(4, 150, inner, generator=generator, device=device).to(dtype)
        delta = torch.randn(4, 150, out, generator=generator, device=device).to(dtype)
        for row, length in enumerate(lengths):
            delta[row, length:] = 0
        ours, fallback = (torch.ones(out, inner, device=device) for _ in range(2))
        kernels.add_products(ours, x, delta, lengths, coefficients, absolute=absolute)
        if absolute:
            products._add_tiles(fallback, x.float(), delta.float(), lengths, coefficients)
        else:
            products._add_signed(fallback, x, delta, coefficients)
        torch.testing.assert_close(ours, fallback, rtol=1e-4, atol=1e-3)
