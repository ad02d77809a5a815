"""A measure: how long replies are."""

from __future__ import annotations

from declutch.comparing.kinds import MEAN
from declutch.comparing.results import MeasureFacts
from declutch.comparing.series import Series
from declutch.items import Item
from declutch.measures.base import Evidence, Measure


class ReplyLength(Measure[Item]):
    """Words of the replies to each set of prompts."""

    facts = MeasureFacts(
        name="reply_length",
        title="Length of replies",
        note="words of a reply, on average",
        family="reply_length",  # its tests are adjusted among themselves
        items="reply",
    )
    order = 35  # after the kinds of replies

    def series(self, evidence: Evidence) -> list[Series]:
        """One mean for each set; interval, test, table and picture follow from the kind."""
        return [
            Series(
                f"reply_length/{each.set}",
                MEAN,
                {row.pairing: float(len(row.shown.split())) for row in evidence.rows(each)},
                each.dimension,
                note="words",
            )
            for each in evidence.sets
        ]
