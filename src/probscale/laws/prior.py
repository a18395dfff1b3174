"""Published values of the laws, as data: starting points, mean functions and informative priors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from probscale.errors import LawError

__all__ = ["PUBLISHED", "PublishedLaw", "published_law"]


@dataclass(frozen=True)
class PublishedLaw:
    """A law as its authors fitted it.

    Attributes:
        key: Short name.
        law: Name of the law.
        values: Parameters.
        std: Standard errors, where published.
        source: Where.
        note: What the inputs mean there.
    """

    key: str
    law: str
    values: Mapping[str, float]
    source: str
    note: str
    std: Mapping[str, float] = field(default_factory=dict)

    def prior(self, spread: float = 0.3) -> dict[str, tuple[float, float]]:
        """Median and spread per parameter, as `fit_law(prior=...)` takes them.

        Args:
            spread: Standard deviation of the logarithm where no standard error was published; .3 is a third.

        Example:
            >>> published_law("hoffmann").prior()["alpha"]
            (0.3392, 0.3)
        """
        found = {}
        for name, value in self.values.items():
            known = self.std.get(name)
            found[name] = (value, known / abs(value) if known else spread)
        return found


def _multi_power(size: str, *numbers: float) -> PublishedLaw:
    names = ("L0", "A", "alpha", "B", "C", "beta", "gamma")
    return PublishedLaw(
        f"luo_{size.lower()}",
        "multi_power",
        dict(zip(names, numbers, strict=True)),
        "Luo et al. 2025, arXiv 2503.12811, released constants",
        f"{size} Llama-2-style model, peak rate 3e-4, warm-up of 2160 steps counted as changes of the rate",
    )


PUBLISHED: tuple[PublishedLaw, ...] = (
    PublishedLaw(
        "kaplan",
        "kaplan",
        {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
        "Kaplan et al. 2020, arXiv 2001.08361, table 2",
        "params without embeddings; WebText2, nats per token",
    ),
    PublishedLaw(
        "hoffmann",
        "chinchilla",
        {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849},
        "Hoffmann et al. 2022, arXiv 2203.15556, section D.3, unrounded as in its LaTeX source",
        "all params; MassiveText; does not reproduce from the paper's own figure",
    ),
    PublishedLaw(
        "besiroglu",
        "chinchilla",
        {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
        "Besiroglu et al. 2024, arXiv 2404.10102, table 1",
        "refit of 240 points read off the figure of Hoffmann et al.",
        {"E": 0.03, "A": 124.58, "B": 1293.23, "alpha": 0.02, "beta": 0.02},
    ),
    PublishedLaw(
        "muennighoff",
        "data_constrained",
        {
            "E": 1.87,
            "A": 521.0,
            "B": 1488.0,
            "alpha": 0.353,
            "beta": 0.353,
            "R_D": 15.387756,
            "R_N": 5.309743,
        },
        "Muennighoff et al. 2023, arXiv 2305.16264, section 6 and appendix A",
        "C4, GPT-2 style; alpha and beta tied",
    ),
    PublishedLaw(
        "step_learning_rate",
        "step_learning_rate",
        {"coefficient": 1.79, "params_exponent": -0.713, "tokens_exponent": 0.307},
        "Li et al. 2025, arXiv 2503.04715, eq. 1",
        "params without embeddings; peak rate of a cosine schedule with fixed final rate",
    ),
    PublishedLaw(
        "step_batch",
        "step_batch",
        {"coefficient": 0.58, "tokens_exponent": 0.571},
        "Li et al. 2025, arXiv 2503.04715, eq. 1",
        "batch in tokens",
    ),
    _multi_power("25M", 3.040, 0.525, 0.508, 363.788, 2.066, 0.583, 0.641),
    _multi_power("100M", 2.651, 0.601, 0.453, 437.946, 2.132, 0.598, 0.655),
    _multi_power("400M", 2.375, 0.654, 0.429, 523.425, 2.025, 0.594, 0.635),
)


def published_law(key: str) -> PublishedLaw:
    """Published values by short name.

    Raises:
        LawError: if there are none under that name.
    """
    for entry in PUBLISHED:
        if entry.key == key:
            return entry
    known = ", ".join(entry.key for entry in PUBLISHED)
    raise LawError(f"there are no published values called {key!r}; available: {known}", key=key)
