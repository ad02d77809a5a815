"""Every error that a user can cause.

The command line prints one as a single paragraph and exits with status 2; a library caller may
catch :class:`DeclutchError`, or a subclass where the cases must be told apart.
"""

from __future__ import annotations


class DeclutchError(Exception):
    """Something the user gave is wrong; the message says what, where, and what to do."""


class SettingsError(DeclutchError):
    """An option or a configuration file is wrong, or contradicts what is already on disk."""


class DataError(DeclutchError):
    """A data source can't be read, has the wrong columns, or holds too few examples."""


class ModelError(DeclutchError):
    """A model can't be loaded, or its weights can't be scored or changed."""


class MatrixNotFound(ModelError):
    """A weight matrix that was asked for by name is not in the model."""


class FileFormatError(DeclutchError):
    """A file that declutch wrote is damaged, incomplete, or of an unknown version."""


class ShortlistTooShort(DeclutchError):
    """A ratio reaches past the shortlists on disk."""


class PatchMismatch(DeclutchError):
    """A patch does not fit the model it was given: fingerprint, shape or original values."""


class MissingExtra(DeclutchError):
    """An optional package is needed and is not installed."""


class OutOfMemory(DeclutchError):
    """The memory at hand, or the stated limit, is too small even for the smallest step."""
