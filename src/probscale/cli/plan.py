"""`probscale plan`: what a strategy would do with a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probscale.cli.costs import PlannedCosts
from probscale.cli.options import (
    Debug,
    EmbedderName,
    Ends,
    Eta,
    Pool,
    PoolAxis,
    Quiet,
    Resolution,
    Seed,
    StrategyName,
    Table,
    Total,
    Warm,
)
from probscale.cli.speech import readable, working

if TYPE_CHECKING:
    from probscale.budget import BudgetPlan

EXAMPLE = (
    "Example: `probscale plan pool.csv --total 1e20 --params N --axis tokens --strategy halving --eta 3`; "
    "with `--surrogate surrogate.safetensors` the outcomes are drawn from what earlier runs taught"
)


WorldsOption = Annotated[int, typer.Option(help="Imagined outcomes behind the probabilities.", min=2)]

GoesOn = Annotated[
    Path | None,
    typer.Option(
        help="Ledger of an allocation of POOL that is to go on with this total: the plan begins where it "
        "stands, given what it observed.",
        show_default=False,
    ),
]


@readable
def plan(
    pool: Pool,
    *,
    total: Total,
    axis: PoolAxis = "tokens",
    strategy: StrategyName = "surrogate",
    eta: Eta = 3.0,
    horizon: Ends = None,
    resolution: Resolution = None,
    surrogate: Warm = None,
    costs: PlannedCosts,
    worlds: WorldsOption = 200,
    ledger: GoesOn = None,
    out: Table = Path("plan.csv"),
    embedder: EmbedderName = "default",
    seed: Seed = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Play a strategy on imagined outcomes of POOL, before anything is spent.

    Says per rung how many runs are trained, how far, for how much, and how probable it is that the best run
    is still among them.
    """
    from probscale.budget import plan_budget
    from probscale.budget.registry import strategy_named
    from probscale.cli.evidence import read_table, warm_surrogate
    from probscale.cli.tables import shown
    from probscale.cli.work import check_suffix, write_table

    check_suffix(out)
    strategy_named(strategy)
    cost, frame = costs.model(), read_table(pool)
    earlier = warm_surrogate(surrogate, embedder)
    with working(f"imagining {worlds} outcomes of {len(frame):,} runs", quiet=quiet):
        options = {"strategy": strategy, "surrogate": earlier, "eta": eta, "axis": axis, "ledger": ledger}
        options |= {"horizon": number_or_column(horizon), "resolution": number_or_column(resolution)}
        found = plan_budget(frame, total=total, cost=cost, worlds=worlds, seed=seed, **options)
    write_table(found.table(), out)
    if not quiet:
        typer.echo(told(found))
        typer.echo(shown(found.table()))
        typer.echo(f"wrote {out}")


def number_or_column(text: str | None) -> str | float | None:
    """A number if the text is one, else a column."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def told(found: BudgetPlan) -> str:
    """A plan in words."""
    from probscale.cli.tables import number

    paid = f", {number(found.spent)} of them paid" if found.spent else ""
    return (
        f"{found.strategy} with {number(found.total)} {found.unit}{paid}, over outcomes drawn from "
        f"{found.basis}:\n"
        f"  the run that is best with the whole budget is found with probability {found.prob_best:.2f}; the "
        f"result is {100 * found.regret:.1f} % above it on average"
    )
