"""Small processes with random parameters, and rows to ask them about."""

import numpy as np
import pytest
import torch

from probscale.model.gp import CurveProcess, Observations
from probscale.model.layout import LabelBlock, Layout
from probscale.model.means import LawMean, LawScale, PlaneMean, Rows
from probscale.model.transforms import LogFloor

CURVES = Layout(
    ("N", "lr", "tokens"),
    sizes=(0, 2),
    axis=(2,),
    labels=(LabelBlock("task", 3, (4, 5), level=True), LabelBlock("optimizer", 6)),
    run=7,
)
POINTS = Layout(("N", "lr", "tokens"), sizes=(0, 2), labels=(LabelBlock("optimizer", 3),))
GRID = Layout(
    ("width", "depth", "tokens"),
    sizes=(2,),
    axis=(2,),
    labels=(LabelBlock("width", 3, level=True), LabelBlock("depth", 4, level=True)),
    run=5,
)
SCORES = Layout(("pairs",), axis=(0,), labels=(LabelBlock("src", 1, level=True),), run=2, growth=True)
TWO_WAYS = (LabelBlock("src", 1, level=True), LabelBlock("tgt", 2, level=True))
PAIRS = Layout(("pairs",), axis=(0,), labels=TWO_WAYS, run=3, sharing=(TWO_WAYS,))
GAPS = Layout(("N", "lr", "tokens", "lr missing"), sizes=(0, 2), axis=(2,), run=4, untold=(3,))
LONE = Layout(
    ("N", "lr", "tokens"),
    sizes=(0, 2),
    axis=(2,),
    labels=(LabelBlock("task", 3, level=True, lone=1.0),),
    run=4,
)
LAYOUTS = {
    "gaps": GAPS,
    "lone": LONE,
    "curves": CURVES,
    "points": POINTS,
    "grid": GRID,
    "scores": SCORES,
    "pairs": PAIRS,
}


def columns(layout):
    """Number of columns of a row."""
    return len(layout.continuous) + sum(1 + len(b.text) for b in layout.labels) + (layout.run is not None)


def random_rows(layout, count, seed=0):
    """Rows of a layout, with few labels and runs so that they repeat."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, columns(layout)))
    for block in layout.labels:
        codes = rng.integers(0, 3, count)
        x[:, block.code] = codes
        if block.text:
            x[:, list(block.text)] = np.random.default_rng(99).standard_normal((3, len(block.text)))[codes]
    if layout.run is not None:
        x[:, layout.run] = rng.integers(0, count // 3 + 1, count)
        x[:, list(layout.untold)] = 2.0 * (x[:, [layout.run]] % 2)
    size, progress = 16 + x[:, 0], 20 + x[:, 2]
    return Rows(*(torch.from_numpy(v.copy()) for v in (x, size, progress)))


def scrambled(module, seed=0, width=0.4):
    """The module with its parameters moved at random, so that no coincidence of defaults is tested."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(width * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return module


def law_mean(floor=0.6, onset=19.0):
    scale = LawScale(16.0, 20.0, 2.0, 2.6, True, True, onset)
    return LawMean(LogFloor(floor), scale)


@pytest.fixture(params=sorted(LAYOUTS))
def layout(request):
    return LAYOUTS[request.param]


@pytest.fixture
def rows_of():
    return random_rows


@pytest.fixture
def scramble():
    return scrambled


@pytest.fixture
def make_law():
    return law_mean


@pytest.fixture
def curves_layout():
    return CURVES


@pytest.fixture
def pairs_layout():
    return PAIRS


@pytest.fixture
def process(layout):
    """Process with scrambled parameters; a law for curves, a plane elsewhere."""
    mean = law_mean() if layout is CURVES else PlaneMean(law_mean().scale, level=0.3, spread=0.5)
    return scrambled(CurveProcess(layout, mean, scale=0.3, noise=0.05), seed=1)


@pytest.fixture
def data(layout):
    """Thirty observations, some of them distrusted."""
    rows, rng = random_rows(layout, 30, seed=2), np.random.default_rng(3)
    return Observations(
        rows, torch.from_numpy(rng.standard_normal(30)), torch.from_numpy(rng.uniform(0.1, 1.2, 30))
    )
