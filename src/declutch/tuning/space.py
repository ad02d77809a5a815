"""What is searched: rules with their ratios, budgets and weights, scopes, targets and scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from declutch.errors import SettingsError
from declutch.settings import LocateSettings, RunSettings

if TYPE_CHECKING:
    from optuna.trial import Trial

_SCOPES = ("matrix", "layer", "model")
# In multiples of the unit: what the paper's rule takes, and spends, at its smallest useful ratio.
_WEIGHTS, _RATIOS = (0.125, 16.0), (0.1, 10.0)
_BUDGETS, _HARMLESS = (0.1, 2.0), (0.0, 2.0)
_FIRST_WEIGHTS, _FIRST_BUDGETS = (1.5, 3.0, 6.0), (0.4, 0.8, 1.2)
_FIRST_HARMLESS, _FIRST_RATIOS = (0.0, 0.3, 1.0), (0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Candidate:
    """One edit to be tried.

    Attributes:
        round: in which it is chosen; what it is added to depends on that.
    """

    settings: LocateSettings
    target_modules: str | None
    round: int = 1

    def __str__(self) -> str:
        chosen = self.settings
        parts = [chosen.rule]
        if chosen.rule == "balanced":
            parts += [f"{chosen.weights} weights", f"budget {chosen.budget:.2g}"]
            if chosen.harmless_weight is not None:
                parts += [f"harmless {chosen.harmless_weight:.2g}"]
        else:
            parts += [f"ratio {chosen.ratio:.2g}", f"by {chosen.scope}"]
        if chosen.scale:
            parts.append(f"scale {chosen.scale:.2g}")
        if self.target_modules:
            parts.append(self.target_modules)
        if self.round > 1:
            parts.append(f"round {self.round}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Space:
    """The bounds of the search.

    Attributes:
        unit: the ratio of which the others are multiples.
        weights: how many the paper's rule takes there.
        most: the largest ratio that the scores know.
        harmless: whether the scores know harmless prompts.
        round: of the candidates. After the first, scores are known at the candidates alone, and
            what is chosen joins an edit that sets to zero: for ``balanced`` with scale 0.
        targets: narrower ones than what was scored; None for all of it.
    """

    unit: float
    weights: int
    most: float
    harmless: bool
    round: int = 1
    targets: tuple[str | None, ...] = (None,)

    @property
    def rules(self) -> tuple[str, ...]:
        """Those that are tried."""
        return ("balanced", "coupled") if self.round == 1 else ("balanced",)

    @property
    def scales(self) -> tuple[float, ...]:
        """What chosen weights are multiplied by."""
        return (0.0, 0.5) if self.round == 1 else (0.0,)

    def first(self) -> Iterator[dict[str, Any]]:
        """Parameters of the trials that stand at the beginning of every search."""
        common = {"scale": 0.0, "target": None}
        for harmless in _FIRST_HARMLESS if self.harmless else (None,):
            asked = {} if harmless is None else {"harmless_weight": harmless}
            for times, budget in zip(_FIRST_WEIGHTS, _FIRST_BUDGETS, strict=True):
                weights = self._times(times)
                yield {"rule": "balanced", "weights": weights, "budget": budget, **asked, **common}
        for times in _FIRST_RATIOS if "coupled" in self.rules else ():
            ratio = min(times * self.unit, self.most)
            yield {"rule": "coupled", "ratio": ratio, "scope": "matrix", **common}

    def suggest(self, trial: Trial) -> Candidate:
        """The next candidate, as the sampler draws it."""
        params: dict[str, Any] = {"rule": trial.suggest_categorical("rule", self.rules)}
        if params["rule"] == "balanced":
            low, high = (self._times(times) for times in _WEIGHTS)
            params["weights"] = trial.suggest_int("weights", low, high, log=True)
            params["budget"] = trial.suggest_float("budget", *_BUDGETS, log=True)
            if self.harmless:
                params["harmless_weight"] = trial.suggest_float("harmless_weight", *_HARMLESS)
        else:
            least, most = (min(times * self.unit, self.most) for times in _RATIOS)
            params["ratio"] = trial.suggest_float("ratio", least, most, log=True)
            params["scope"] = trial.suggest_categorical("scope", _SCOPES)
        params["scale"] = trial.suggest_categorical("scale", self.scales)
        params["target"] = trial.suggest_categorical("target", self.targets)
        return self.candidate(params)

    def candidate(self, params: Mapping[str, Any]) -> Candidate:
        """The candidate of a trial's parameters."""
        options = {name: value for name, value in params.items() if name != "target"}
        options.setdefault("ratio", self.unit)
        return Candidate(LocateSettings(**options), params["target"], self.round)

    def _times(self, times: float) -> int:
        return max(2, round(times * self.weights))


def refuse_unsearchable(settings: RunSettings) -> None:
    """See that nothing is asked for that does not go with a search.

    Raises:
        SettingsError: something is.
    """
    if (granularity := settings.locate.granularity) != "weight":
        raise SettingsError(
            f"--granularity {granularity} does not go with a search, which is over single weights. "
            "Leave it out, or give a --rule."
        )
    if (number := settings.stability.calibration_seeds) > 1:
        raise SettingsError(
            f"--calibration-seeds {number} repeats one choice of weights on other samples, and a "
            "search makes many. Leave it out, or give the --rule and options that a search found."
        )
