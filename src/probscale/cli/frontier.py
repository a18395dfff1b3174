"""`probscale frontier`: the scaling law of a log or a pool, and how sure it is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probscale.cli.costs import CostOptions
from probscale.cli.options import (
    Debug,
    EmbedderName,
    Known,
    KnownRoles,
    Quiet,
    RoleOptions,
    Seed,
    Summary,
    Table,
)
from probscale.cli.speech import readable, working
from probscale.errors import ConfigError

if TYPE_CHECKING:
    from probscale.cost import CostModel
    from probscale.runs import RunLog
    from probscale.scaling import Frontier

EXAMPLE = (
    "Example: `probscale frontier runs.parquet --run run_id --axis tokens --output loss --params N "
    "--target 2.5 --budget 1e20`; also `probscale frontier surrogate.safetensors --pool candidates.csv`"
)


PoolFileOption = Annotated[
    str | None,
    typer.Option(
        help="Configurations to choose among; by default those of the log and sizes between.",
        show_default=False,
    ),
]
ComputeOption = Annotated[
    str | None,
    typer.Option(
        help="Costs to compare at, START:STOP:COUNT; by default what the log covers.", show_default=False
    ),
]
UntilOption = Annotated[float | None, typer.Option(help="Largest axis value of a run.", show_default=False)]
TargetOption = Annotated[
    float | None, typer.Option(help="Output to reach: how probable, at what cost?", show_default=False)
]
BudgetOption = Annotated[
    float | None, typer.Option(help="Cost within which the target counts.", show_default=False)
]
ProbabilityOption = Annotated[float, typer.Option(help="Of the smallest budget for the target.")]
SamplesOption = Annotated[int, typer.Option(help="Joint posterior draws.", min=2)]


@readable
def frontier(
    log: Known,
    *,
    roles: KnownRoles,
    costs: CostOptions,
    pool: PoolFileOption = None,
    compute: ComputeOption = None,
    until: UntilOption = None,
    target: TargetOption = None,
    budget: BudgetOption = None,
    probability: ProbabilityOption = 0.9,
    samples: SamplesOption = 256,
    out: Table = Path("frontier.csv"),
    summary: Summary = None,
    embedder: EmbedderName = "default",
    seed: Seed = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit the law of the best output against compute, as a posterior.

    Prints the law's parameters with 90 % intervals, how the best model size and axis value grow, and the
    frontier; with --target, how probable the target is and the smallest budget for it. LOG may be a surrogate
    that `probscale fit` wrote.
    """
    fit = {"embedder": embedder, "seed": seed, "quiet": quiet}
    asked = {"pool": pool, "compute": compute, "until": until, "target": target, "samples": samples}
    run_frontier(log, roles, costs, fit, asked, (budget, probability), (out, summary))


def run_frontier(
    known: list[str],
    roles: RoleOptions,
    costs: CostOptions,
    fit: dict[str, Any],
    asked: dict[str, Any],
    aim: tuple[float | None, float],
    files: tuple[Path, Path | None],
) -> None:
    """Fit, print, write."""
    from dataclasses import replace

    from probscale.cli.evidence import read_table, surrogate_of
    from probscale.cli.tables import shown, write_json
    from probscale.cli.work import check_place, check_suffix, write_table

    _check_aim(asked["target"], aim)
    out, summary = files
    check_suffix(out)
    if summary is not None:
        check_place(summary)
    quiet = fit["quiet"]
    levels = None if asked["compute"] is None else cost_levels(asked["compute"])
    pool = None if asked["pool"] is None else read_table(asked["pool"])
    costs.check()
    surrogate = surrogate_of(known, roles, **fit)
    columns = surrogate.log.roles
    costs = replace(costs, params=costs.params or columns.params)
    cost = costs.model(known, run=columns.run, axis=columns.axis)
    if levels is None and aim[0] is not None:
        levels = widened(surrogate.log, cost, aim[0])
    options = {"until": asked["until"], "target": asked["target"], "samples": asked["samples"]}
    with working("drawing frontiers", quiet=quiet):
        from probscale.scaling import fit_frontier

        found = fit_frontier(surrogate, pool, compute=levels, cost=cost, seed=fit["seed"], **options)
    table = found.to_frame()
    facts = facts_of(found, cost.unit, *aim)
    write_table(table, out)
    if summary is not None:
        write_json(facts | {"frontier": table.to_dict("records")}, summary)
    if not quiet:
        typer.echo(told(facts, surrogate.log.output, columns.axis))
        reached = table[table["mean"].notna()]
        typer.echo(shown(reached))
        if len(reached) < len(table):
            left = f"{len(table) - len(reached)} of {len(table)} levels of compute"
            typer.echo(f"{left} are those at which no configuration can be had; not shown")
        typer.echo(f"wrote {out}" + (f" and {summary}" if summary is not None else ""))


def _check_aim(target: float | None, aim: tuple[float | None, float]) -> None:
    """Refuse a target that means nothing.

    Raises:
        ConfigError: for a budget without a target, or values that no output, cost or probability can have.
    """
    from probscale.cli.work import check_share

    budget, probability = aim
    if budget is not None and target is None:
        raise ConfigError("--budget says within what cost a target counts; give --target too")
    if target is not None and not math.isfinite(target):
        raise ConfigError(f"--target is {target}; give the output to reach, a finite number")
    if budget is not None and not (math.isfinite(budget) and budget > 0):
        raise ConfigError(f"--budget is {budget:g}; give a positive, finite cost")
    check_share(probability, "--probability")


def widened(log: RunLog, cost: CostModel, budget: float) -> Any:
    """Levels of compute that a log covers, widened to a budget outside them; None where it is within."""
    import numpy as np

    from probscale.scaling.levels import observed_levels

    levels = observed_levels(log, cost)
    if levels[0] <= budget <= levels[-1]:
        return None
    return np.geomspace(min(levels[0], budget), max(levels[-1], budget), len(levels))


def cost_levels(text: str) -> Any:
    """Levels of compute of START:STOP:COUNT or a list.

    Raises:
        ConfigError: if the text is neither.
    """
    import numpy as np

    try:
        if ":" in text:
            start, stop, count = text.split(":")
            return np.geomspace(float(start), float(stop), int(count))
        return np.array([float(item) for item in text.split(",")])
    except ValueError:
        raise ConfigError(
            f"--compute {text!r} is not understood; give START:STOP:COUNT such as 1e18:1e20:40, or numbers "
            "joined by commas",
            compute=text,
        ) from None


def facts_of(found: Frontier, unit: str, budget: float | None, probability: float) -> dict[str, Any]:
    """Law, optimum and target of a frontier as plain numbers."""
    ends = found.law.interval(0.9)
    law = {
        name: {
            "median": middle,
            "mean": found.law.mean[name],
            "std": found.law.std[name],
            **_ends(ends[name]),
        }
        for name, middle in found.law.median.items()
    }
    through = found.law_compute
    facts: dict[str, Any] = {"unit": unit, "compute": [through[0], through[-1]], "law": law}
    growth = {"params": found.optimum.params_exponent, found.optimum.axis_name: found.optimum.axis_exponent}
    facts["growth of the optimum"] = {
        name: _summary(draws) for name, draws in growth.items() if draws is not None
    }
    if found.target is not None:
        facts["target"] = {
            "output": found.target,
            "budget": found.compute[-1] if budget is None else budget,
            "probability within the budget": found.prob_reach(budget=budget),
            "probability asked": probability,
            "smallest budget": found.smallest_budget(probability=probability),
            "largest budget": found.compute[-1],
            "unit": unit,
        }
    return facts


def _summary(draws: Any) -> dict[str, float]:
    told = {"median": float(draws.quantile(0.5)), "mean": float(draws.mean), "std": float(draws.std)}
    return told | _ends(draws.interval(0.9))


def _ends(interval: tuple[Any, Any]) -> dict[str, float]:
    return {"lower": float(interval[0]), "upper": float(interval[1])}


def told(facts: dict[str, Any], output: str, axis: str) -> str:
    """The facts in words."""
    from probscale.cli.tables import number

    low, high = facts["compute"]
    limit = "floor" if "floor" in facts["law"] else "ceiling"
    sign = "+" if limit == "floor" else "−"
    lines = [
        f"best {output} = {limit} {sign} coefficient · compute^−exponent, from {number(low)} to "
        f"{number(high)} {facts['unit']}; medians with 90 % intervals"
    ]
    for name, values in facts["law"].items():
        lines.append(f"  {name:<12} {_ranged(values)}{MEANINGS.get(name, '')}")
    for name, values in facts["growth of the optimum"].items():
        lines.append(f"best {name} grows as compute^{_ranged(values)}")
    if "target" in facts:
        aim = facts["target"]
        lines.append(
            f"{output} {number(aim['output'])} is reached within {number(aim['budget'])} {facts['unit']} "
            f"with probability {aim['probability within the budget']:.2f}"
        )
        lines.append(_smallest(aim))
    return "\n".join(lines)


MEANINGS = {
    "slope": ", of a straight line through it in ln(compute)",
    "intercept": ", of that line at one unit of compute",
}
"""What parameters of a law are that its formula does not show."""


def _smallest(aim: dict[str, Any]) -> str:
    from probscale.cli.tables import number

    if aim["smallest budget"] == float("inf"):
        return (
            f"no budget up to {number(aim['largest budget'])} {aim['unit']} makes that "
            f"{100 * aim['probability asked']:.0f} % probable"
        )
    return (
        f"the smallest budget that makes it {100 * aim['probability asked']:.0f} % probable: "
        f"{number(aim['smallest budget'])} {aim['unit']}"
    )


def _ranged(values: dict[str, float]) -> str:
    from probscale.cli.tables import number

    return f"{number(values['median'])} [{number(values['lower'])}, {number(values['upper'])}]"
