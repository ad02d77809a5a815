"""Theorem 1 in numbers that are exact: jointly Gaussian variables.

    python examples/theorem1.py

The theorem (arXiv 2410.16672): if I(Z1;Z2 | X,Y) > 0 then I(X;Y) < I((X,Z1);(Y,Z2)). X and Y
stand for what a model represents of fairness and of privacy, Z1 and Z2 for coupled neurons. By
the chain rule the right side is a sum of four terms, none of them below 0:

    I((X,Z1);(Y,Z2)) = I(X;Y) + I(X;Z2|Y) + I(Z1;Y|X) + I(Z1;Z2|X,Y)

Of Gaussian variables every term is a difference of log-determinants of covariances, so nothing
here is estimated. What it shows, and what it does not, is discussed in docs/theory.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NAMES = ("X", "Y", "Z1", "Z2")


@dataclass(frozen=True)
class Gaussian:
    """Jointly Gaussian X, Y, Z1, Z2 of the same dimension each, in this order."""

    covariance: Floats
    size: int

    def places(self, names: Iterable[str]) -> list[int]:
        """Rows of some variables in the covariance."""
        return [
            NAMES.index(name) * self.size + offset for name in names for offset in range(self.size)
        ]

    def information(self, left: str, right: str, given: str = "") -> float:
        """I(left; right | given) in nats; each argument names variables, blanks between them."""
        a, b, c = left.split(), right.split(), given.split()
        return 0.5 * (
            self._log_det(a + c)
            + self._log_det(b + c)
            - self._log_det(a + b + c)
            - self._log_det(c)
        )

    def _log_det(self, names: list[str]) -> float:
        places = self.places(names)
        return float(np.linalg.slogdet(self.covariance[np.ix_(places, places)])[1])

    def terms(self) -> dict[str, float]:
        """The four terms of the chain rule, by name."""
        return {
            "I(X;Y)": self.information("X", "Y"),
            "I(X;Z2|Y)": self.information("X", "Z2", "Y"),
            "I(Z1;Y|X)": self.information("Z1", "Y", "X"),
            "I(Z1;Z2|X,Y)": self.information("Z1", "Z2", "X Y"),
        }

    def whole(self) -> float:
        """I((X,Z1);(Y,Z2)), from the definition and not from the terms."""
        return self.information("X Z1", "Y Z2")

    def scaled(self, factor: float) -> Gaussian:
        """The same, but with the covariance of Z1 and Z2 given X and Y multiplied by a factor.

        The three other terms do not see it, since none of them holds Z1 and Z2 together.
        """
        shared, z1, z2 = self.places(["X", "Y"]), self.places(["Z1"]), self.places(["Z2"])
        sigma = self.covariance
        explained = (
            sigma[np.ix_(z1, shared)]
            @ np.linalg.inv(sigma[np.ix_(shared, shared)])
            @ sigma[np.ix_(shared, z2)]
        )
        block = explained + factor * (sigma[np.ix_(z1, z2)] - explained)
        changed = sigma.copy()
        changed[np.ix_(z1, z2)] = block
        changed[np.ix_(z2, z1)] = block.T
        return Gaussian(changed, self.size)


def random_gaussian(generator: np.random.Generator, size: int) -> Gaussian:
    """A random covariance (Wishart, twice as many degrees of freedom as variables)."""
    total = len(NAMES) * size
    sample = generator.standard_normal((2 * total, total))
    return Gaussian(sample.T @ sample / len(sample), size)


def independent_sides(generator: np.random.Generator, size: int) -> Gaussian:
    """X and Z2 independent given Y, Z1 and Y given X: the two mixed terms are 0."""
    base = random_gaussian(generator, size)
    x, y = base.places(["X"]), base.places(["Y"])
    joint = base.covariance[np.ix_(x + y, x + y)]
    # Z1 is X and Z2 is Y, each with a noise added, and the two noises depend on each other.
    noise = np.kron(np.array([[1.0, 0.6], [0.6, 1.0]]), np.eye(size))
    covariance = np.block([[joint, joint], [joint, joint + noise]])
    return Gaussian(covariance, size)


def show_terms(gaussian: Gaussian) -> None:
    """Print the four terms, their sum, and the whole they should add up to."""
    terms = gaussian.terms()
    for name, value in terms.items():
        print(f"  {name:<14} {value:8.4f}")
    print(f"  {'sum':<14} {sum(terms.values()):8.4f}")
    print(f"  {'whole':<14} {gaussian.whole():8.4f}   I((X,Z1);(Y,Z2)), computed directly")


def shown(value: float) -> float:
    """Rounded as it is printed; a zero that rounding made negative loses its sign."""
    return round(value, 6) + 0.0


def main() -> None:
    """Print the demonstration."""
    parser = argparse.ArgumentParser(description="Theorem 1 on Gaussian variables, exact.")
    parser.add_argument("--size", type=int, default=3, help="dimension of each variable")
    parser.add_argument("--trials", type=int, default=1000, help="random covariances")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)

    print("1. The four terms for one random covariance, in nats")
    one = random_gaussian(generator, options.size)
    show_terms(one)

    drawn = [random_gaussian(generator, options.size) for _ in range(options.trials)]
    gains = [each.whole() - each.terms()["I(X;Y)"] for each in drawn]
    errors = [abs(each.whole() - sum(each.terms().values())) for each in drawn]
    lowest = min(min(each.terms().values()) for each in drawn)
    holds = sum(gain > 0 for gain in gains)
    print(f"\n2. {options.trials} random covariances")
    print(f"  I(X;Y) < I((X,Z1);(Y,Z2)) in {holds} of {len(gains)}; least gain {min(gains):.4f}")
    print(f"  least of all terms {lowest:.4f}; largest error of the sum {max(errors):.1e}")

    print("\n3. I(Z1;Z2|X,Y) goes to 0, all else as it is")
    print("  factor   I(Z1;Z2|X,Y)   whole - I(X;Y)")
    for factor in (1.0, 0.5, 0.1, 0.01, 0.0):
        terms = one.scaled(factor).terms()
        gain = one.scaled(factor).whole() - terms["I(X;Y)"]
        print(f"  {factor:6.2f}   {shown(terms['I(Z1;Z2|X,Y)']):12.6f}   {shown(gain):14.6f}")
    print("  The inequality stays strict: the two mixed terms are still above 0.")

    print("\n4. The same where both mixed terms are 0")
    print("  factor   I(Z1;Z2|X,Y)   whole - I(X;Y)")
    apart = independent_sides(generator, options.size)
    for factor in (1.0, 0.5, 0.1, 0.01, 0.0):
        scaled = apart.scaled(factor)
        terms = scaled.terms()
        gain = scaled.whole() - terms["I(X;Y)"]
        print(f"  {factor:6.2f}   {shown(terms['I(Z1;Z2|X,Y)']):12.6f}   {shown(gain):14.6f}")
    print("  Only here the gain is the coupled term itself, and goes to 0 with it.")


if __name__ == "__main__":
    main()
