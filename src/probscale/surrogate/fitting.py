"""Fit one expert: encode, transform, fit mean functions robustly, weigh them, solve exactly, calibrate."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.encode.cache import CachedEmbedder
from probscale.encode.embedders import Embedder
from probscale.encode.encoder import Encoder, fit_encoder
from probscale.errors import NotPositiveDefiniteError
from probscale.model.devices import threads_for
from probscale.model.exact import ExactState, solve_exactly
from probscale.model.fitting import FitOutcome, fit_robustly, held, refine
from probscale.model.gp import CurveProcess, Observations
from probscale.model.mean_choice import curve_mean
from probscale.model.mean_fit import fit_mean
from probscale.model.means import Believed, CurveMean, LawMean, breaks_of
from probscale.model.posterior import Tail
from probscale.model.rising import SETTLED, RisingMean
from probscale.model.transforms import LogFloor
from probscale.model.tying import Tie, apply_tie
from probscale.model.weighing import robust_weights
from probscale.runs import RunLog
from probscale.surrogate.averaging import Mixture, alone, averaged, mixture_tail
from probscale.surrogate.beyond import expected_beyond
from probscale.surrogate.continuation import continuation_scale
from probscale.surrogate.earlier import Earlier
from probscale.surrogate.expert import Expert
from probscale.surrogate.extrapolation import extrapolation_break, extrapolation_factor
from probscale.surrogate.few_runs import new_run_factor, set_run_apart, typical_end, wanes
from probscale.surrogate.floors import with_floors
from probscale.surrogate.mean_kinds import floor_share, kind_of, kinds_for, rivals, second_stays
from probscale.surrogate.options import FitOptions
from probscale.surrogate.prepare import Prepared, choose_curves, choose_subset, more_to_refine, prepare
from probscale.surrogate.restarts import Start, best_of
from probscale.surrogate.rows import layout_of
from probscale.surrogate.text_choice import LEAST_GAIN, text_gain
from probscale.surrogate.transform_choice import left_out_density
from probscale.surrogate.unseen import unseen_scale

Array = NDArray[np.float64]


TAUGHT = 2 / 3
"""Share of many finals on which parameters are refined; those that teach nothing judge the spread. On 640
runs of NCPL's training rows left out at random (four seeds), refined parameters have .95 of the MAE."""

FEWEST_JUDGES = 200
"""Finals that teach nothing from which on they alone judge the spread: of fewer, chance would."""


@dataclass(frozen=True)
class Given:
    """What a fit may use beside the points of its log.

    Attributes:
        tie: What is common with another output, already fitted.
        earlier: Fit of a shorter log from which this one begins.
        believed: What other sources let one believe of the size term of a law.
        seed: Of choices of points, the same for all variants that are compared.
    """

    tie: Tie | None = None
    earlier: Earlier | None = None
    believed: Believed | None = None
    seed: int = 0

    @property
    def lasting(self) -> Earlier | None:
        """The earlier fit, where its choices are kept."""
        return self.earlier if self.earlier is not None and self.earlier.lasts else None


NOTHING = Given()


def fit_expert(
    log: RunLog,
    embedder: Embedder | CachedEmbedder | None,
    options: FitOptions,
    generator: np.random.Generator,
    given: Given = NOTHING,
) -> tuple[Expert, list[FitOutcome]]:
    """Fit a model of all runs of a log.

    Args:
        log: Runs to learn from; points without a finite output are left out.
        embedder: Source of text vectors.
        options: Settings.
        generator: Chooses the subset on which parameters are fitted.
        given: What else the fit may use.

    Cost: O(subset³ × iterations + points³).
    """
    encoders = encoders_of(log, embedder)
    expert, outcomes, _ = fit_output(log, encoders, options, generator, given)
    return expert, outcomes


def encoders_of(log: RunLog, embedder: Embedder | CachedEmbedder | None) -> tuple[Encoder, ...]:
    """Encoders to choose from: one without text, and where there is text to read, one with it."""
    plain = fit_encoder(log, None)
    told = None if embedder is None else fit_encoder(log, embedder)
    return (plain,) if told is None or not told.projections else (plain, told)


def fit_output(
    log: RunLog,
    encoders: Sequence[Encoder],
    options: FitOptions,
    generator: np.random.Generator,
    given: Given = NOTHING,
) -> tuple[Expert, list[FitOutcome], Prepared]:
    """Fit a model of the principal output of a log.

    Args:
        log: Runs to learn from.
        encoders: Configurations to rows; of several, one without text comes first and one with it last.
        options: Settings.
        generator: Chooses the subset on which parameters are fitted.
        given: What else the fit may use; its seed is drawn from the generator.
    """
    given = replace(given, seed=int(generator.integers(2**32)))
    points, fits, gain = _fit_with_text(log, encoders, options, given)
    encoder, curves = points.encoder, points.encoder.axis.curves
    mixture = averaged(tuple(state for state, _ in fits), points.cells)
    leading = mixture.states[mixture.leading]
    tail = mixture_tail(mixture, points.cells, points.judges)
    if options.average and len(mixture.states) == 1:
        mixture = with_floors(points, leading)
    mixture = mixture.kept()
    beyond = _beyond(points, mixture, tail, options, generator, given)
    expert = Expert(
        encoder=encoder,
        transform=points.transform,
        # Anew: what a state derived from its process is older than the process's breaks.
        states=tuple(replace(state) for state in mixture.states),
        weights=mixture.weights,
        takeover=mixture.takeover,
        tail=tail,
        beyond=beyond,
        size_default=points.size_default,
        largest=(float(points.data.rows.size.max()), float(points.data.rows.progress.max())),
        divergence=points.divergence(leading.process, generator),
        continued=continuation_scale(leading, points.codes, tail, given.seed) if curves else None,
        unseen=unseen_scale(leading, tail),
        text_gain=gain,
        decided=log.n_points if given.lasting is None else given.lasting.expert.decided,
    )
    return expert, [outcome for _, outcome in fits], points


Fits = list[tuple[ExactState, FitOutcome]]


def _fit_with_text(
    log: RunLog,
    encoders: Sequence[Encoder],
    options: FitOptions,
    given: Given,
) -> tuple[Prepared, Fits, float | None]:
    """The fits with text where left-out values are foretold no worse with it, else those without."""
    transforms, several = _transforms(log, options.transform), len(encoders) > 1
    earlier = given.earlier
    if earlier is not None:
        encoders, transforms = earlier.choices(encoders, transforms)
    points, fits, transform = _fit_encoded(log, encoders[0], transforms, options, given)
    if len(encoders) == 1:
        return points, fits, earlier.expert.text_gain if earlier is not None and several else None
    told, told_fits, _ = _fit_encoded(log, encoders[-1], (transform,), options, given)
    pair = (told, told_fits[0][0]), (points, fits[0][0])
    gain = text_gain(*pair, np.random.default_rng(given.seed))
    return (told, told_fits, gain) if gain >= LEAST_GAIN else (points, fits, gain)


def _fit_encoded(
    log: RunLog,
    encoder: Encoder,
    transforms: tuple[str, ...],
    options: FitOptions,
    given: Given,
) -> tuple[Prepared, Fits, str]:
    """Points and fits of all mean functions, and the transform that foretells left-out cells best."""
    kinds = kinds_for(log, encoder, options)
    share = floor_share(kinds, curves=encoder.axis.curves)
    candidates = [
        (*_fit_transform(log, encoder, transform, share, kinds, options, given), transform)
        for transform in transforms
    ]
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=lambda found: left_out_density(found[0], found[1][0][0]))


def _beyond(
    points: Prepared,
    mixture: Mixture,
    tail: Tail,
    options: FitOptions,
    generator: np.random.Generator,
    given: Given,
) -> float:
    """Factor on the spread beyond the observed sizes; laws of finals learn how far they may break there."""
    if points.encoder.roles.params is None:
        return 1.0
    laws = [state.process.mean for state in mixture.states if isinstance(state.process.mean, LawMean)]
    if given.lasting is not None:
        for law in laws:
            law.may_break(given.lasting.break_std, given.lasting.short_std)
        return given.lasting.expert.beyond
    kinds = [kind_of(state.process.mean) for state in mixture.states]
    expected = expected_beyond(points.encoder)

    def again(fold: Prepared) -> Mixture:
        if mixture.takeover is not None:
            fits = (quick_fit(kind, options, given)(fold) for kind in kinds)
            return replace(mixture, states=tuple(fits))
        state = quick_fit(kinds[mixture.leading], options, given)(fold)
        return with_floors(fold, state) if len(mixture.states) > 1 else alone(state)

    if not laws:
        return extrapolation_factor(points, tail, again, generator, expected)
    factor, slope, short = extrapolation_break(points, tail, again, generator, expected)
    for law in laws:
        law.may_break(slope, short)
    return factor


def _transforms(log: RunLog, asked: str) -> tuple[str, ...]:
    """Kinds of output transform to compare: scores may add up, or multiply, or close in on the best."""
    output = log.points[log.output].to_numpy(dtype=np.float64)
    compared = asked == "auto" and log.roles.goal == "max" and float(np.nanmin(output)) >= 0
    return ("auto", "score", "linear") if compared else (asked,)


def _fit_transform(
    log: RunLog,
    encoder: Encoder,
    transform: str,
    share: float,
    kinds: tuple[str, ...],
    options: FitOptions,
    given: Given,
) -> tuple[Prepared, Fits]:
    """Points under one output transform, and the fits of all mean functions."""
    generator = np.random.default_rng(given.seed)
    points = prepare(log, encoder, transform=transform, share=share, most=options.most, generator=generator)
    curves, more = points.encoder.axis.curves, None
    subset = (choose_curves if curves else choose_subset)(points.codes, options.subset, generator)
    if not curves:
        more = more_to_refine(points.codes, options, generator, share=TAUGHT)
    if more is not None:
        rest = np.setdiff1d(np.arange(len(points.codes)), np.concatenate([subset.numpy(), more.numpy()]))
        points = replace(points, judges=rest if len(rest) >= FEWEST_JUDGES else None)
    if len(kinds) > 1 and not isinstance(points.transform, LogFloor):
        kinds = ("plane",)  # What no law describes.
    open_to_rivals = not options.means and kinds == ("law",)
    if open_to_rivals:
        kinds = rivals(points.transform, points.output, points.data.rows.size.numpy(), curves=curves)
        if len(kinds) > 1 and given.lasting is not None:
            kinds = (kind_of(given.lasting.processes[0].mean),)
    fits = [_fit_state(points, subset, kind, options, given, more) for kind in kinds]
    if open_to_rivals and len(fits) > 1:
        fits = [fits[second_stays(fits[0][0], fits[1][0], points.cells)]]
    return points, fits


def _fit_state(
    points: Prepared,
    subset: torch.Tensor,
    kind: str,
    options: FitOptions,
    given: Given,
    more: torch.Tensor | None = None,
) -> tuple[ExactState, FitOutcome]:
    """Fit parameters on a subset, refine them on more of the points where these are given, solve on all."""
    layout = layout_of(points.encoder, points.transform)
    layout = replace(layout, wanes=wanes(layout, points))
    data = points.data.to(options.place)
    with threads_for(len(subset)):
        mean, spread = _fitted_mean(points, data, kind, options, given)
        spread = min(max(options.spread * spread * new_run_factor(points, mean), 0.01), 1.0)
        process = CurveProcess(layout, mean, scale=spread, noise=0.1 * spread).to(options.place)
        some = data.take(subset.to(options.place))
        fixed = [] if given.tie is None else apply_tie(process, given.tie, some)
        fixed = [*fixed, *set_run_apart(process, points)]
        # Left free, the law of few sizes drifts to where the kernel explains them best, not to where it
        # foretells more; its uncertainty enters in closed form later. Curves need the joint fit: neighbouring
        # points share their errors. How scores leave chance would be left to the kernel.
        with held([*fixed, *_settled(mean, curves=bool(layout.axis))]):
            outcome = None if given.earlier is None else given.earlier.resumed(process, some, options)
            if outcome is None:
                outcome = _fit_parameters(process, some, points, kind, spread, options)
                if more is not None:
                    outcome = refine(process, data.take(more.to(options.place)), outcome)
    with torch.no_grad():
        prior = process.kernel(data.rows.x)
    for _ in range(1 if options.hurried else 2):
        data = replace(data, weight=robust_weights(process, data, prior))
    weighed = replace(points.data, weight=data.weight.cpu())
    return solve_exactly(process.cpu(), weighed, options.place, prior), outcome


def _fitted_mean(
    points: Prepared, data: Observations, kind: str, options: FitOptions, given: Given
) -> tuple[CurveMean, float]:
    """The mean that explains the points alone, and what it leaves over."""
    if points.law is not None and kind == "law" and given.believed is None:
        law, spread = points.law
        mean = copy.deepcopy(law).to(options.place)
    else:
        scale = points.law_scale
        mean = curve_mean(points.transform, scale, points.data.y, kind, given.believed).to(options.place)
        spread = fit_mean(mean, data)
    if isinstance(mean, LawMean):
        mean.widen_onset(typical_end(points))
    return mean, spread


def _settled(mean: CurveMean, *, curves: bool) -> list[torch.nn.Parameter]:
    """Parameters of a mean that stay where they explain the data alone while the kernel is fitted."""
    if not curves:
        return list(mean.parameters())
    if isinstance(mean, RisingMean):
        return [mean.get_parameter(name) for name in SETTLED]
    return breaks_of(mean)


def _fit_parameters(
    process: CurveProcess,
    data: Observations,
    points: Prepared,
    kind: str,
    spread: float,
    options: FitOptions,
) -> FitOutcome:
    """Move the free parameters of a process to the best end of all restarts."""
    if options.restarts == 1:
        quick = {"iterations": options.iterations, "hurried": options.hurried}
        return fit_robustly(process, data, rounds=options.rounds, **quick)[1]
    here = torch.device("cpu")
    start = Start(
        layout=process.layout,
        transform=points.transform,
        law_scale=points.law_scale,
        kind=kind,
        spread=spread,
        parameters={name: value.detach().cpu().clone() for name, value in process.state_dict().items()},
        fixed=frozenset(name for name, value in process.named_parameters() if not value.requires_grad),
        data=data.to(here),
        rounds=options.rounds,
        iterations=options.iterations,
        device=options.device,
    )
    best = best_of(start, options.restarts, options.executor)
    if best is None:
        raise NotPositiveDefiniteError(
            f"none of {options.restarts} restarts could factor the covariance of {len(data)} points; check "
            "the log for runs whose points nearly coincide",
            points=len(data),
        )
    process.load_state_dict(dict(best.parameters))
    return best.outcome


def quick_fit(kind: str, options: FitOptions, given: Given = NOTHING) -> Callable[[Prepared], ExactState]:
    """Fit of few points with fewer rounds, for folds: only what other sources say is given."""
    quick = replace(options, rounds=min(options.rounds, 2), restarts=1)
    given = Given(believed=given.believed)
    return lambda points: _fit_state(points, torch.arange(len(points.codes)), kind, quick, given)[0]
