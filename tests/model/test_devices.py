"""Algebra on a device: tensors of shape alone find every tensor that is silently made on the CPU."""

import numpy as np
import pytest
import torch

from probscale.errors import ConfigError
from probscale.model.devices import copied_to, find_device
from probscale.model.exact import solve_exactly
from probscale.model.gp import CurveProcess, Observations
from probscale.model.grid import GridData, GridProcess
from probscale.model.latent import LatentColumns, LatentProcess, LatentTasks, LevelMean
from probscale.model.layout import LabelBlock, Layout
from probscale.model.means import LawMean, LawScale, PlaneMean, Rows
from probscale.model.transforms import LogFloor

META = torch.device("meta")
SCALE = LawScale(size=0.0, progress=0.0, smallest=2.0, typical=3.0, varies_in_size=True,
                 varies_in_progress=True, onset=-1.0)  # fmt: skip
LAYOUT = Layout(("size", "lr", "step"), (0,), (2,), (LabelBlock("task", 3, (4,), True),), 5)
COLUMNS = LatentColumns(3, (5,), (2,), (4,))


def data(rows=9):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((rows, 6)))
    x[:, 3], x[:, 5] = torch.arange(rows) % 2, torch.arange(rows) // 3
    y = torch.from_numpy(rng.standard_normal(rows))
    return Observations(Rows(x, x[:, 0].clone(), x[:, 2].clone()), y, torch.ones_like(y))


def processes():
    tasks = LatentTasks(COLUMNS, torch.tensor([0.0, 1.0]).double(), torch.randn(2, 2).double())
    return {
        "law": CurveProcess(LAYOUT, LawMean(LogFloor(1.0), SCALE), scale=0.3, noise=0.1),
        "plane": CurveProcess(LAYOUT, PlaneMean(SCALE, level=0.0, spread=1.0), scale=0.3, noise=0.1),
        "latent": LatentProcess(LAYOUT, tasks, LevelMean(level=0.0, spread=1.0), scale=0.3, noise=0.1),
    }


@pytest.mark.parametrize("name", ["law", "plane", "latent"])
def test_no_tensor_of_the_likelihood_is_made_on_the_cpu(name):
    process, there = processes()[name].to(META), data().to(META)
    assert process.kernel(there.rows.x, there.rows.x[:3]).device == META
    assert process.kernel(there.rows.x, diag=True).device == META
    assert process.noise(there.rows).device == META
    mean, slopes = process.mean.linearised(there.rows)
    assert mean.device == slopes.device == META
    assert (process.log_likelihood(there) + process.log_prior()).device == META


def test_no_tensor_of_the_grid_is_made_on_the_cpu():
    process = GridProcess(Layout(("lr",)), scale=1.0, centre=0.0, ends=(-1.0, 1.0)).to(META)
    x, axis = torch.randn(4, 1).double().to(META), torch.linspace(-1, 1, 5).double().to(META)
    assert process.features(axis).device == META
    assert process.own(axis, axis).device == META
    assert process.noise(axis).device == META
    assert process.between(x, x).device == META
    assert GridData(x, axis, torch.zeros(4, 5).to(META), torch.ones(4, 5).to(META)).to(META).y.device == META


def test_a_copy_leaves_the_original_where_it_is():
    process = processes()["law"]
    assert copied_to(process, torch.device("cpu")) is process
    assert next(copied_to(process, META).parameters()).device == META
    assert next(process.parameters()).device == torch.device("cpu")


def test_answers_of_a_posterior_come_back_to_the_cpu():
    state = solve_exactly(processes()["plane"], data(), torch.device("cpu"))
    assert state.device == torch.device("cpu")
    for tensor in (*state.marginals(data(3).rows), state.covariance(data(2).rows, data(3).rows)):
        assert tensor.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "'gpu', which PyTorch does not know"),
        ("meta", "double precision"),
        ("cuda:99", "use 'cpu', or"),
    ],
)
def test_a_device_that_cannot_serve_is_named_with_the_remedy(name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        find_device(name)
    assert caught.value.device == name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_numbers_of_the_cpu():
    process, rows = processes()["law"], data(4).rows
    here, there = (solve_exactly(process, data(), find_device(d)) for d in ("cpu", "cuda"))
    for one, two in zip(here.marginals(rows), there.marginals(rows), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-10)
