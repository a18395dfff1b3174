"""The laws by name."""

from __future__ import annotations

from probscale.errors import LawError
from probscale.laws.annealing import Annealing
from probscale.laws.bnsl import BrokenPowerLaw
from probscale.laws.chinchilla import Chinchilla
from probscale.laws.data_constrained import DataConstrained
from probscale.laws.kaplan import Kaplan
from probscale.laws.law import Law
from probscale.laws.loss_to_loss import LossToLoss
from probscale.laws.multi_power import MultiPower
from probscale.laws.pass_at_k import PassAtK
from probscale.laws.power import Power
from probscale.laws.step_law import StepBatch, StepLearningRate
from probscale.spelling import close_names, did_you_mean

__all__ = ["available_laws", "find_law"]

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        Annealing(),
        BrokenPowerLaw(),
        Chinchilla(),
        DataConstrained(),
        Kaplan(),
        LossToLoss(),
        MultiPower(),
        PassAtK(),
        Power(),
        StepBatch(),
        StepLearningRate(),
    )
}


def available_laws() -> tuple[str, ...]:
    """Names that `fit_law` accepts.

    Example:
        >>> "chinchilla" in available_laws()
        True
    """
    return tuple(sorted(LAWS))


def find_law(law: str | Law) -> Law:
    """The law of a name; a `Law` passes through.

    Raises:
        LawError: if no law has that name.
    """
    if isinstance(law, Law):
        return law
    name = law if isinstance(law, str) else repr(law)
    if name not in LAWS:
        hint = did_you_mean(close_names(name, LAWS, most=2), f"available: {', '.join(available_laws())}")
        raise LawError(f"there is no law {name!r}; {hint}", law=law)
    return LAWS[name]
