"""What is searched: rules with their ratios, budgets and weights, scopes, targets and scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from declutch.settings import LocateSettings

if TYPE_CHECKING:
    from optuna.trial import Trial

_SCOPES = ("matrix", "layer", "model")
# What was tried first, by hand, is tried first again: budgets in what the paper's rule spends at a
# ratio of 1e-5, weights as a share of all that were scored.
_UNIT = 1e-5  # the ratio at which the paper's rule spends one budget
_FIRST_BUDGETS, _FIRST_HARMLESS = (0.4, 0.8, 1.2), (0.0, 0.3, 1.0)
_FIRST_SHARES = (4e-6, 8e-6, 2e-5)
_FIRST_RATIOS = (3e-6, 1e-5, 3e-5)
_SHARES, _BUDGETS, _HARMLESS = (5e-7, 5e-5), (0.1, 2.0), (0.0, 2.0)
_SCALES = (0.0, 0.5)


@dataclass(frozen=True)
class Candidate:
    """One edit to be tried."""

    settings: LocateSettings
    target_modules: str | None

    def __str__(self) -> str:
        chosen = self.settings
        parts = [chosen.rule]
        if chosen.rule == "balanced":
            parts += [f"{chosen.weights} weights", f"budget {chosen.budget:.2g}"]
            parts += [f"harmless {chosen.harmless_weight:.2g}"]
        else:
            parts += [f"ratio {chosen.ratio:.2g}", f"by {chosen.scope}"]
        if chosen.scale:
            parts.append(f"scale {chosen.scale:.2g}")
        if self.target_modules:
            parts.append(self.target_modules)
        return ", ".join(parts)


@dataclass(frozen=True)
class Space:
    """The bounds of the search.

    Attributes:
        numel: weights that were scored.
        shortlist: the largest ratio that the scores know.
        signed: whether the coupled dimensions have contrast scores, which ``balanced`` and
            ``contrast`` need.
        targets: narrower ones than what was scored, None among them.
    """

    numel: int
    shortlist: float
    signed: bool
    targets: tuple[str | None, ...] = (None,)

    @property
    def rules(self) -> tuple[str, ...]:
        return ("coupled", "balanced") if self.signed else ("coupled",)

    def first(self) -> Iterator[dict[str, Any]]:
        """Parameters of the trials that stand at the beginning of every search."""
        if self.signed:
            for harmless in _FIRST_HARMLESS:
                for budget, share in zip(_FIRST_BUDGETS, _FIRST_SHARES, strict=True):
                    yield {
                        "rule": "balanced", "weights": self._weights(share), "budget": budget,
                        "harmless_weight": harmless, **self._common(),
                    }  # fmt: skip
        for ratio in _FIRST_RATIOS:
            if ratio <= self.shortlist:
                yield {"rule": "coupled", "ratio": ratio, "scope": "matrix", **self._common()}

    def suggest(self, trial: Trial) -> Candidate:
        """The next candidate, as the sampler draws it."""
        params: dict[str, Any] = {"rule": trial.suggest_categorical("rule", self.rules)}
        if params["rule"] == "balanced":
            low, high = (self._weights(share) for share in _SHARES)
            params["weights"] = trial.suggest_int("weights", low, high, log=True)
            params["budget"] = trial.suggest_float("budget", *_BUDGETS, log=True)
            params["harmless_weight"] = trial.suggest_float("harmless_weight", *_HARMLESS)
        else:
            most = min(1e-4, self.shortlist)
            params["ratio"] = trial.suggest_float("ratio", most / 200, most, log=True)
            params["scope"] = trial.suggest_categorical("scope", _SCOPES)
        params["scale"] = trial.suggest_categorical("scale", _SCALES)
        params["target"] = trial.suggest_categorical("target", self.targets)
        return self.candidate(params)

    def candidate(self, params: Mapping[str, Any]) -> Candidate:
        """The candidate of a trial's parameters."""
        options = {name: value for name, value in params.items() if name != "target"}
        options.setdefault("ratio", min(_UNIT, self.shortlist))
        return Candidate(LocateSettings(**options), params["target"])

    def _weights(self, share: float) -> int:
        return max(2, round(share * self.numel))

    def _common(self) -> dict[str, Any]:
        return {"scale": 0.0, "target": None}
