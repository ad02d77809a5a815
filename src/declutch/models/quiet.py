"""Keep transformers' own progress bars and tables off the terminal and out of log files."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from functools import partialmethod

from tqdm.std import tqdm
from transformers.utils import logging as transformers_logging

_REPORTER = "transformers.modeling_utils"


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars of transformers inside the block, nor its table of tensors; as before after it."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    reporter = logging.getLogger(_REPORTER)
    reporter.addFilter(_no_report)
    try:
        with _silent_bars():
            yield
    finally:
        reporter.removeFilter(_no_report)
        if shown:
            transformers_logging.enable_progress_bar()


def _no_report(record: logging.LogRecord) -> bool:
    # What the causal class does not hold is kept in the files, and said there.
    return "LOAD REPORT" not in record.getMessage()


@contextlib.contextmanager
def _silent_bars() -> Iterator[None]:
    """Bars that don't say whether they are shown are not: the reader of GGUF files has such."""
    plain = tqdm.__init__
    tqdm.__init__ = partialmethod(plain, disable=True)
    try:
        yield
    finally:
        tqdm.__init__ = plain
