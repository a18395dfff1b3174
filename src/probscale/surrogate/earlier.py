"""Fits that begin where an earlier one ended: a log that grows is fitted again in a fraction of the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from probscale.encode.encoder import Encoder
from probscale.errors import NotPositiveDefiniteError
from probscale.model.fitting import FitOutcome, fit_robustly
from probscale.model.gp import CurveProcess, Observations
from probscale.model.kernels import CurveKernel
from probscale.model.layout import Layout
from probscale.model.means import LawMean
from probscale.model.transforms import Affine, LogOdds, LogScore, OutputTransform
from probscale.model.tying import Tie, find_tie
from probscale.runs import RunLog
from probscale.surrogate.expert import Expert
from probscale.surrogate.options import FitOptions

if TYPE_CHECKING:
    from probscale.surrogate.curves import CurveExpert

LASTING = 3.0
"""Growth of the points up to which choices are kept."""

POLISH = 10
"""Most optimiser iterations once points were weighed anew, and of a first pass beyond the usual ones."""


@dataclass(frozen=True)
class Earlier:
    """A fit of a shorter log of the same runs, as seen by one of a longer log.

    Attributes:
        expert: What was fitted.
        lasts: Whether its choices of text, transform and spread beyond the observed sizes are kept.
    """

    expert: Expert
    lasts: bool

    def choices(
        self, encoders: Sequence[Encoder], transforms: tuple[str, ...]
    ) -> tuple[Sequence[Encoder], tuple[str, ...]]:
        """Encoders and transforms that are left to choose from."""
        if not self.lasts:
            return encoders, transforms
        if self.expert.text_gain is not None:
            encoders = encoders[-1:] if self.expert.encoder.projections else encoders[:1]
        return encoders, (_kind(self.expert.transform),) if len(transforms) > 1 else transforms

    @property
    def break_std(self) -> float:
        """How much laws of finals may break beyond the observed sizes."""
        return max((law.break_std for law in self._laws), default=0.0)

    @property
    def short_std(self) -> float:
        """The same of runs shorter, for their size, than any observed."""
        return max((law.short_std for law in self._laws), default=0.0)

    def tie_to(self, lead: Earlier, process: CurveProcess) -> Tie | None:
        """Tie to the principal output's process like that of the earlier fits, of which `lead` is its own."""
        before = find_tie(self.processes[0], lead.processes[0])
        return None if before is None else replace(before, process=process)

    @property
    def processes(self) -> list[CurveProcess]:
        """Processes of the output, alone where several are joined."""
        return [self.expert.own_process(place) for place in range(len(self.expert.states))]

    @property
    def _laws(self) -> list[LawMean]:
        means = [process.mean for process in self.processes]
        return [mean for mean in means if isinstance(mean, LawMean)]

    def resumed(self, process: CurveProcess, data: Observations, options: FitOptions) -> FitOutcome | None:
        """Fit a process from where the earlier one ended; None where that says nothing about this one."""
        known = self.processes
        before = next((each for each in known if type(each.mean) is type(process.mean)), known[0])
        if type(before) is not CurveProcess or not _alike(before.layout, process.layout):
            return None
        kept = {name: value.clone() for name, value in process.state_dict().items()}
        try:
            _begin(process, before, data)
            most = options.iterations + POLISH
            settings = {"rounds": min(options.rounds, 1), "polish": POLISH, "hurried": options.hurried}
            return fit_robustly(process, data, iterations=most, begun=True, **settings)[1]
        except NotPositiveDefiniteError:
            process.load_state_dict(kept)
            return None


def earlier_fit(start: CurveExpert | None, log: RunLog) -> Earlier | None:
    """What a fit of a log may take over from an expert; None from other engines."""
    if not isinstance(start, Expert):
        return None
    return Earlier(start, log.n_points <= LASTING * start.decided)


def _kind(transform: OutputTransform) -> str:
    """Kind of transform that a fit of scores chose."""
    if isinstance(transform, LogScore | LogOdds):
        return "score"
    return "linear" if isinstance(transform, Affine) else "auto"


def _begin(process: CurveProcess, before: CurveProcess, data: Observations) -> None:
    """Kernel and noise of another process, and its mean where that explains the data better."""
    _copy(before.kernel, process.kernel)
    _copy(before.noise, process.noise)
    _fade(before.kernel, process.kernel)
    # The law of finals is not fitted jointly: it stays where robust regression puts it.
    if not process.layout.axis or process.mean.names != before.mean.names:
        return
    score = process.log_posterior(data)
    fresh = {name: value.clone() for name, value in process.mean.state_dict().items()}
    _copy(before.mean, process.mean)
    if not process.log_posterior(data) > score:
        process.mean.load_state_dict(fresh)


def _copy(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Give one module the parameters of another where it has them; priors stay, and what is held."""
    known = dict(source.named_parameters())
    for name, parameter in target.named_parameters():
        if name in known and parameter.requires_grad:
            parameter.data = known[name].detach().to(parameter.device).clone()


def _fade(source: CurveKernel, target: CurveKernel) -> None:
    """Bring what was learnt of waning as near to nothing as its prior has come since."""
    if source.waning is not None and target.waning is not None:
        for parameter in target.waning.parameters():
            parameter.data = parameter.data * (target.waning.share / source.waning.share)


def _alike(before: Layout, now: Layout) -> bool:
    """Whether two layouts differ at most in how surely deviations wane, which fades with every run."""
    return replace(before, wanes=now.wanes) == now
