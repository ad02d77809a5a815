"""The patch: build, apply, revert, join, save, load, verify."""

from __future__ import annotations

from declutch.patching.patch import Patch, PatchInfo

__all__ = ["Patch", "PatchInfo"]
