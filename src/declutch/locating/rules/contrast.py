"""``contrast``: good against bad responses."""

from __future__ import annotations

from dataclasses import replace

from declutch.errors import SettingsError
from declutch.locating.request import RULES, Request, Selection
from declutch.locating.rules.coupled import coupled


@RULES.register("contrast")
def contrast(request: Request) -> Selection:
    """Against the bad response on every coupled dimension, and important for no excluded one.

    A coupled dimension is scored on good and bad responses, signed: to first order, zeroing a
    neuron of high score lowers the loss of the good responses against that of the bad ones. An
    excluded dimension is scored by absolute importance, whichever way a neuron acts.
    """
    wanted = {**dict.fromkeys(request.couple, "contrast"), **dict.fromkeys(request.exclude, "abs")}
    for name, statistic in wanted.items():
        found = "contrast" if name in request.contrasts else request.statistics.get(name, "abs")
        if found != statistic:
            raise SettingsError(
                f"--rule contrast needs {name} scored by «{statistic}», and it was scored by "
                f"«{found}». Score again with --contrast for each coupled dimension (its data need "
                "a bad_response column) and --statistic abs."
            )
    return coupled(replace(request, tops={**request.tops, **request.contrasts}))
