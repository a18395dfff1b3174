"""Mean functions: a parametric law on the modelled scale, or a plane; both with Gaussian uncertainty."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from gpytorch.means import Mean
from torch import Tensor

from probscale.laws import find_law
from probscale.model.law_prior import CURVES_PRIOR, FINALS_PRIOR, LawPrior
from probscale.model.law_slopes import with_slopes, written_out
from probscale.model.priors import declare
from probscale.model.repeats import REPEATS, UniqueData, effective, overfitting, repeat_priors
from probscale.model.transforms import LogFloor


@dataclass(frozen=True)
class Rows:
    """Points as the model sees them.

    Attributes:
        x: Kernel coordinates, (rows, columns of the layout).
        size: Logarithm of model size, (rows,); zero without a params role.
        progress: Logarithm of the axis value, (rows,).
    """

    x: Tensor
    size: Tensor
    progress: Tensor

    def __len__(self) -> int:
        return self.x.shape[0]

    def take(self, index: Tensor | slice) -> Rows:
        """Some of the rows."""
        return Rows(self.x[index], self.size[index], self.progress[index])

    def to(self, device: torch.device) -> Rows:
        """The same rows on a device."""
        return Rows(self.x.to(device), self.size.to(device), self.progress.to(device))

    def cat(self, other: Rows) -> Rows:
        """Rows of both."""
        pairs = ((self.x, other.x), (self.size, other.size), (self.progress, other.progress))
        return Rows(*(torch.cat(pair) for pair in pairs))


class CurveMean(Mean):
    """A mean function whose parameters `names` are uncertain, each with a normal prior on its raw scale."""

    names: tuple[str, ...]

    def declare(self, name: str, mean: float, std: float) -> None:
        """Register a raw parameter at its prior mean."""
        declare(self, name, mean, mean, std)

    def values(self) -> Tensor:
        """Raw parameters, in the order of `names`."""
        return torch.stack([self.get_parameter(name) for name in self.names])

    def prior(self) -> tuple[Tensor, Tensor]:
        """Prior means and standard deviations of the raw parameters."""
        priors = [getattr(self, f"{name}_prior") for name in self.names]
        return torch.stack([p.loc for p in priors]), torch.stack([p.scale for p in priors])

    def evaluate(self, values: Tensor, rows: Rows) -> Tensor:
        """Mean of each row under given raw parameters."""
        raise NotImplementedError

    def described(self) -> dict[str, float]:
        """Fitted parameters in user units, for the report."""
        return {name: float(value) for name, value in zip(self.names, self.values().detach(), strict=True)}

    def __call__(self, rows: Rows) -> Tensor:
        """Mean of each row under the current parameters."""
        return self.evaluate(self.values(), rows)

    def linearised(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """First-order view of the mean under its prior.

        Returns:
            The mean at the prior mean, (rows,), and the standard deviations along each parameter, (rows,
            parameters): their outer product is the covariance that unknown parameters contribute, so that the
            uncertainty of floor and exponents enters every prediction in closed form.

        Source: universal kriging, e.g. Rasmussen and Williams 2006, section 2.7, around the fitted values.
        """
        values = self.values().detach()
        location, std = self.prior()
        mean, jacobian = self.with_slopes(values, rows)
        return mean + jacobian @ (location - values), jacobian * std

    def with_slopes(self, values: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """Mean of each row under given raw parameters, and its derivatives by these.

        Returns:
            Shapes (rows,) and (rows, parameters).
        """
        outer = torch.is_grad_enabled() and asked_of(rows)
        with torch.enable_grad():
            # One copy of the parameters per row: a single backward pass then yields every row's derivatives.
            each = values[:, None].expand(-1, len(rows)).clone().requires_grad_()
            mean = self.evaluate(each, rows)
            (transposed,) = torch.autograd.grad(mean.sum(), each, create_graph=outer)
        return (mean, transposed.mT) if outer else (mean.detach(), transposed.mT.detach())


def asked_of(rows: Rows) -> bool:
    """Whether derivatives by the rows themselves are asked for."""
    return rows.size.requires_grad or rows.progress.requires_grad


@dataclass(frozen=True)
class LawScale:
    """Where a law is centred, so that its raw parameters are near zero and comparable between data sets.

    Attributes:
        size: Logarithm of the central model size.
        progress: Logarithm of the central axis value.
        smallest: Smallest u (loss, or upper minus score).
        typical: Median u near the centre.
        varies_in_size: Whether model size differs between runs.
        varies_in_progress: Whether the axis value differs between points.
        onset: Logarithm of an early axis value, for curves: before some such value loss has not begun to
            follow a power law of the axis. None when every run has one point.
        top: Logarithms of the largest model size and axis value observed; beyond them the slopes may break.
            None: they do not.
        shortest: Logarithm of the smallest axis value per parameter observed; what is shorter may not follow
            the law yet. None: it does.
        unique: Where rows tell how much of the data is unique, for runs that repeat theirs.
        common: Whether curves of all sizes begin at the same loss, that of guessing; sizes then come to
            matter as training goes on.
        one_length: Whether finals all have the same axis value: a prior then says what data is worth.
    """

    size: float
    progress: float
    smallest: float
    typical: float
    varies_in_size: bool
    varies_in_progress: bool
    onset: float | None = None
    top: tuple[float, float] | None = None
    unique: UniqueData | None = None
    common: bool = False
    shortest: float | None = None
    one_length: bool = False


@dataclass(frozen=True)
class SizeBelief:
    """Normal priors of the size term of a law, in place of those for any data.

    Attributes:
        level: Logarithm of the term at the law's centre.
        exponent: Logarithm of its exponent.
        level_std: Standard deviation of the first.
        exponent_std: Standard deviation of the second.
    """

    level: float
    exponent: float
    level_std: float
    exponent_std: float


ONSET_STD = 1.0
"""Prior standard deviation of the logarithm of the onset of curves."""

SURPRISE = 2.0
"""How many standard deviations from its centre an onset may lie before its prior gives way."""

NEAR, FAR = 3.0, 4.5
"""E-folds of the axis beyond the onset: a prior gives way to logs that end before, not to those after."""

BREAKS = ("size_break", "progress_break")
"""Slopes that may change beyond the observed sizes; curves show how they go on along the axis."""

SHORT_BREAK = "short_break"
"""The same for finals of runs shorter, for their size, than any observed."""

NO_BREAK = 1e-6


Believed = Callable[[LawScale], SizeBelief]
"""What is believed of the size term of a law at some centre."""


class LawMean(CurveMean):
    """log(E + A/N^alpha + B/D^beta - transform floor): the Chinchilla law on the modelled scale.

    Raw parameters: `floor` (logit of the share of E between the transform floor and the smallest loss),
    `size_level` and `progress_level` (logarithms of the two terms at the centre), `size_exponent` and
    `progress_exponent` (logarithms); for curves also `onset`: D is replaced by D + D₀, since loss starts
    finite, and where all sizes begin alike, A is multiplied by 1 - (1 + D/D₀)^-beta. Where rows tell how much
    data is unique, D is what the repeats are worth (`R_D`) and what they overfit is added to the loss (`P`,
    `P_most`, `kappa`, `delta`, `R_P`; see `repeats`). Beyond the observed sizes, `size_break` and
    `progress_break` bend the logarithm by so much per e-fold, `short_break` where runs are shorter for their
    size than any observed. Where all finals have one length, a share of what no size takes away is that of
    the data (`progress_share`): nothing observed tells it, and at that length it makes no difference.

    Source: Hoffmann et al. 2022, eq. 2; Muennighoff et al. 2023, eq. 5; Lovelace et al. 2026.
    """

    def __init__(self, transform: LogFloor, scale: LawScale, prior: LawPrior | None = None) -> None:
        super().__init__()
        self.transform = transform
        self.scale = scale
        self.law = find_law("chinchilla")
        self.belief: SizeBelief | None = None
        prior = prior or (FINALS_PRIOR if scale.onset is None else CURVES_PRIOR)
        span = scale.smallest - transform.floor
        excess = max(scale.typical - transform.floor - prior.below * span, 1e-12)
        terms = int(scale.varies_in_size) + int(scale.varies_in_progress)
        names: list[str] = ["floor"]
        self.declare("floor", prior.floor, prior.floor_std)
        level = math.log(excess / max(terms, 1))
        for axis, varies in (("size", scale.varies_in_size), ("progress", scale.varies_in_progress)):
            if varies:
                self.declare(f"{axis}_level", level, prior.level_std)
                self.declare(f"{axis}_exponent", math.log(prior.exponent), prior.exponent_std)
                names += [f"{axis}_level", f"{axis}_exponent"]
        if scale.one_length:
            self.declare("progress_share", prior.share, prior.share_std)
            self.declare("progress_exponent", math.log(prior.exponent), prior.exponent_std)
            names += ["progress_share", "progress_exponent"]
        if scale.onset is not None:
            self.declare("onset", 0.0, ONSET_STD)
            names.append("onset")
        if not terms:
            self.declare("size_level", level, prior.level_std)
            names.append("size_level")
        if scale.unique:
            for name, (centre, std) in repeat_priors(scale.typical).items():
                self.declare(name, centre, std)
                names.append(name)
        self.breaks = BREAKS[: len(BREAKS) if scale.onset is None else 1] if scale.top else ()
        if len(self.breaks) == len(BREAKS) and scale.shortest is not None:
            self.breaks = (*BREAKS, SHORT_BREAK)
        for name in self.breaks:
            self.declare(name, 0.0, NO_BREAK)
            names.append(name)
        self.names = tuple(names)

    def believe(self, belief: SizeBelief | None) -> None:
        """Take other priors for the size term, and begin at their means; None leaves everything."""
        self.belief = belief
        if belief is None:
            return
        for name, mean, std in (
            ("size_level", belief.level, belief.level_std),
            ("size_exponent", belief.exponent, belief.exponent_std),
        ):
            prior = getattr(self, f"{name}_prior")
            prior.loc.fill_(mean)
            prior.scale.fill_(std)
            self.get_parameter(name).data.fill_(mean)

    def may_break(self, std: float, short: float = 0.0) -> None:
        """Set the prior standard deviation of the breaks, on the modelled scale per e-fold.

        Args:
            std: Beyond the observed sizes.
            short: Of runs shorter, for their size, than any observed.
        """
        for name in self.breaks:
            wanted = short if name == SHORT_BREAK else std
            getattr(self, f"{name}_prior").scale.fill_(max(wanted, NO_BREAK))

    def widen_onset(self, last: float) -> None:
        """Widen the prior of the onset where the law, fitted alone, has it late and little comes after.

        Where a log holds the beginnings of runs only, the axis value at which loss begins to follow a power
        law may lie e-folds beyond where a prior of whole curves looks for it, and a kernel that could explain
        the fall as well would let the prior have its way. Whole curves tell the power law by what follows
        the onset, and the more of that there is the less the prior gives way.

        Args:
            last: Logarithm of the axis value at which the typical run ends.

        Source: a heavy-tailed prior as a mixture of normal ones, the scale at what the value asks for.
        """
        if "onset" not in self.names or self.scale.onset is None:
            return
        value = float(self.get_parameter("onset").detach())
        reach = last - self.scale.onset - value
        share = min(max((FAR - reach) / (FAR - NEAR), 0.0), 1.0)
        wanted = max(ONSET_STD, value / SURPRISE)
        self.get_buffer("onset_prior.scale").fill_(ONSET_STD + share * (wanted - ONSET_STD))

    @property
    def break_std(self) -> float:
        """Prior standard deviation of the breaks beyond the observed sizes; zero where there are none."""
        return max((self._std_of(name) for name in self.breaks if name != SHORT_BREAK), default=0.0)

    @property
    def short_std(self) -> float:
        """The same of runs shorter, for their size, than any observed."""
        return self._std_of(SHORT_BREAK) if SHORT_BREAK in self.breaks else 0.0

    def _std_of(self, name: str) -> float:
        return float(getattr(self, f"{name}_prior").scale)

    def natural(self, values: Tensor) -> dict[str, Tensor]:
        """Parameters of the law in user units, keyed as in `laws`; sizes and axis relative to centres."""
        raw = dict(zip(self.names, values, strict=True))
        span = self.scale.smallest - self.transform.floor
        zero = values.new_zeros(())
        above = span * torch.sigmoid(raw["floor"])
        data = above * torch.sigmoid(raw["progress_share"]) if "progress_share" in raw else zero
        out = {"E": self.transform.floor + above - data}
        out["A"] = torch.exp(raw["size_level"]) if "size_level" in raw else zero
        out["B"] = torch.exp(raw["progress_level"]) if "progress_level" in raw else data
        out["alpha"] = torch.exp(raw["size_exponent"]) if "size_exponent" in raw else zero
        out["beta"] = torch.exp(raw["progress_exponent"]) if "progress_exponent" in raw else zero
        return out | {name: torch.exp(raw[name]) for name in REPEATS if name in raw}

    def described(self) -> dict[str, float]:
        """Floor, coefficients (at N and D in user units) and exponents of the law."""
        raw = {key: float(value) for key, value in self.natural(self.values().detach()).items()}
        unit = math.exp(self.scale.progress)
        if self.scale.onset is not None:
            raw["onset"] = math.exp(float(self.get_parameter("onset").detach()) + self.scale.onset)
            unit += raw["onset"]
        return raw | {
            "A": raw["A"] * math.exp(raw["alpha"] * self.scale.size),
            "B": raw["B"] * unit ** raw["beta"],
        }

    def with_slopes(self, values: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """See `CurveMean.with_slopes`."""
        if asked_of(rows) or self.scale.unique is not None:
            return super().with_slopes(values, rows)
        return with_slopes(self, values.detach(), rows)

    def evaluate(self, values: Tensor, rows: Rows) -> Tensor:
        """Logarithm of the law above the transform floor."""
        if values.requires_grad and values.ndim == 1 and self.scale.unique is None and not asked_of(rows):
            return written_out(self, values, rows)
        raw = self.natural(values)
        unique = None if self.scale.unique is None else self.scale.unique.log(rows.x, rows.progress)
        worth = rows.progress if unique is None else effective(raw, unique, rows.progress)
        size = torch.exp(rows.size - self.scale.size)
        progress = torch.exp(worth - self.scale.progress)
        if self.scale.onset is not None:
            onset = torch.exp(values[self.names.index("onset")] + self.scale.onset - self.scale.progress)
            progress = (progress + onset) / (1 + onset)
            if self.scale.common:
                untrained = (progress * (1 + onset) / onset) ** -raw["beta"]
                raw["A"] = raw["A"] * (1 - untrained)
        loss = self.law.formula(raw, params=size, tokens=progress)
        if unique is not None:
            loss = loss + overfitting(raw, rows.size, unique, rows.progress)
        bent = torch.log(loss - self.transform.floor)
        for name, distance in self.beyond(rows).items():
            bent = bent + values[self.names.index(name)] * distance
        return bent

    def beyond(self, rows: Rows) -> dict[str, Tensor]:
        """E-folds by which rows lie beyond where each break sets in, (rows,) each; empty without breaks."""
        if self.scale.top is None:
            return {}
        parts = [*beyond_top(rows, self.scale.top)]
        if self.scale.shortest is not None:
            parts.append(self.scale.shortest - (rows.progress - rows.size))
        return dict(zip(self.breaks, (part.clamp_min(0.0) for part in parts), strict=False))


def breaks_of(mean: CurveMean) -> list[torch.nn.Parameter]:
    """Parameters of which nothing observed can tell."""
    return [mean.get_parameter(name) for name in mean.breaks] if isinstance(mean, LawMean) else []


def beyond_top(rows: Rows, top: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """E-folds by which rows exceed the largest model size and axis value, negative within, (rows,) each."""
    return rows.size - top[0], rows.progress - top[1]


class PlaneMean(CurveMean):
    """A constant plus slopes in the logarithms of size and axis, for outputs no law describes."""

    def __init__(self, scale: LawScale, *, level: float, spread: float) -> None:
        super().__init__()
        self.scale = scale
        self.names = ("level", "size_slope", "progress_slope")
        self.declare("level", level, spread)
        self.declare("size_slope", 0.0, 0.3 * spread)
        self.declare("progress_slope", 0.0, 0.3 * spread)

    def evaluate(self, values: Tensor, rows: Rows) -> Tensor:
        """Plane through the centre."""
        size = rows.size - self.scale.size
        progress = rows.progress - self.scale.progress
        return values[0] + values[1] * size + values[2] * progress
