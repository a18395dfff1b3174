import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from botorch.acquisition import (
    LogExpectedImprovement,
    qKnowledgeGradient,
    qNegIntegratedPosteriorVariance,
    qSimpleRegret,
)
from botorch.acquisition.logei import qLogExpectedImprovement, qLogNoisyExpectedImprovement
from botorch.acquisition.max_value_entropy_search import qLowerBoundMaxValueEntropy, qMaxValueEntropy
from botorch.acquisition.objective import GenericMCObjective
from botorch.models import ModelList
from botorch.optim import optimize_acqf, optimize_acqf_discrete, optimize_acqf_mixed
from botorch.sampling.normal import SobolQMCNormalSampler

import probscale as ps
from probscale.errors import ConfigError, ShapeError
from probscale.surrogate import FitOptions
from probscale.surrogate.botorch_moments import safe
from probscale.surrogate.known_points import asked_codes
from probscale.surrogate.query import read_configs

AT = 5e8


def family(generator, runs=16):
    """Runs whose loss falls with size and tokens, is best at a learning rate of 1e-3, and depends on the optimizer."""
    rows = []
    for i in range(runs):
        size, rate = 10 ** generator.uniform(6, 8), 10 ** generator.uniform(-4, -2)
        for tokens in np.geomspace(1e7, 1e9, 5):
            loss = (
                1.7 + 2 * (size / 1e6) ** -0.3 + 3 * (tokens / 1e6) ** -0.3 + 0.1 * (np.log10(rate) + 3) ** 2
            )
            row = {
                "run": f"r{i}",
                "tokens": tokens,
                "loss": loss + 0.02 * (i % 2) + 0.003 * generator.standard_normal(),
            }
            rows.append(row | {"N": size, "lr": rate, "optimizer": ("adam", "muon")[i % 2], "planned": 1e9})
    return pd.DataFrame(rows)


def candidates(generator, count, optimizers=("adam", "muon")):
    return pd.DataFrame(
        {
            "N": 10 ** generator.uniform(6, 8.3, count),
            "lr": 10 ** generator.uniform(-4, -2, count),
            "optimizer": [optimizers[i % len(optimizers)] for i in range(count)],
            "planned": 1e9,
        }
    )


@pytest.fixture(scope="module")
def surrogate():
    frame = family(np.random.default_rng(0))
    log = ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="N", horizon="planned")
    return ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=10, rounds=1))


@pytest.fixture(scope="module")
def pool():
    return candidates(np.random.default_rng(1), 12, ("adam", "muon", "never seen"))


def mixture(surrogate, pool, codes, at):
    """Location, latent and predictive variance on the modelled scale by way of the surrogate's own blocks."""
    (expert,) = surrogate.experts.values()
    block = expert.block(pool, codes, np.broadcast_to(at, (len(pool), np.shape(at)[-1])))
    location = sum(w * c.location for w, c in zip(expert.weights, block.components, strict=True))
    latent, predictive = (
        sum(
            w * (c.variance + extra * c.noise + (c.location - location) ** 2)
            for w, c in zip(expert.weights, block.components, strict=True)
        )
        * np.square(block.tail.scale)
        for extra in (0.0, 1.0)
    )
    return location, latent, predictive


def test_the_posterior_is_that_of_the_surrogate_with_the_sign_turned(surrogate, pool):
    model = surrogate.botorch([1e8, AT])
    x = model.encode(pool)
    fresh = -np.arange(1.0, len(pool) + 1)
    location, latent, predictive = mixture(surrogate, pool, fresh, [1e8, AT])
    posterior, noisy = model.posterior(x), model.posterior(x, observation_noise=True)
    np.testing.assert_allclose(-posterior.mean.numpy(), location, rtol=1e-6)
    np.testing.assert_allclose(noisy.variance.numpy(), predictive, rtol=1e-5)
    # A candidate's curve leaves out what its run would add, so that equal candidates have equal curves.
    assert (posterior.variance.numpy() <= latent * (1 + 1e-5)).all()
    np.testing.assert_allclose(
        model.output(posterior.mean), surrogate.predict(pool, [1e8, AT]).median, rtol=5e-3
    )


def test_a_run_of_the_log_asks_for_its_own_continuation(surrogate):
    model = surrogate.botorch(1.5e9)
    runs = pd.DataFrame({"run": list(surrogate.log.runs)})
    frame = read_configs(runs, surrogate.log)
    location, latent, _ = mixture(surrogate, frame, asked_codes(frame, surrogate.log), [1.5e9])
    posterior = model.posterior(model.encode(runs))
    np.testing.assert_allclose(-posterior.mean.numpy(), location, rtol=1e-6)
    np.testing.assert_allclose(posterior.variance.numpy(), latent, rtol=1e-4)
    new = model.posterior(model.encode(surrogate.log.configs))
    assert not np.allclose(new.mean.numpy(), posterior.mean.numpy(), rtol=1e-4)


@pytest.mark.parametrize("at", [[1e8, AT], "horizon"])
def test_schedules_that_configurations_tell_bend_curves_as_in_the_surrogate(at):
    frame = family(np.random.default_rng(0))
    kinds = ("constant", "cosine", "wsd", "linear", "mystery")
    codes = pd.factorize(frame["run"])[0] % len(kinds)
    frame = frame.assign(lr_schedule=np.array(kinds, dtype=object)[codes], min_lr_ratio=0.1)
    log = ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="N", horizon="planned")
    surrogate = ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=5, rounds=1))
    pool = candidates(np.random.default_rng(1), len(kinds), ("adam",))
    pool = pool.assign(lr_schedule=kinds, min_lr_ratio=0.1)
    model = surrogate.botorch(at)
    posterior = model.posterior(model.encode(pool).unsqueeze(1))
    fresh = -np.arange(1.0, len(pool) + 1)
    asked = pool["planned"].to_numpy()[:, None] if at == "horizon" else at
    location, _, _ = mixture(surrogate, pool, fresh, asked)
    assert posterior.mean[:, 0].numpy() == pytest.approx(-location, rel=1e-7)


def test_batches_outputs_and_joint_covariances_agree_with_single_asks(surrogate, pool):
    model = surrogate.botorch([1e8, AT])
    x = model.encode(pool)
    batch = model.posterior(x.reshape(4, 3, -1))
    flat = model.posterior(x)
    torch.testing.assert_close(batch.mean.reshape(-1, 2), flat.mean)
    whole = flat.distribution.covariance_matrix.reshape(12, 2, 12, 2)
    part = batch.distribution.covariance_matrix.reshape(4, 3, 2, 3, 2)
    torch.testing.assert_close(part[1], whole[3:6, :, 3:6], rtol=1e-6, atol=1e-10)
    one = surrogate.botorch(AT).posterior(x)
    torch.testing.assert_close(flat.mean[:, 1:], one.mean)
    torch.testing.assert_close(model.posterior(x, output_indices=[1]).mean, one.mean)
    torch.testing.assert_close(model.subset_output([1]).posterior(x).mean, one.mean)


def test_equal_candidates_have_equal_curves(surrogate, pool):
    model = surrogate.botorch(AT)
    x = model.encode(pool)[:1].repeat(2, 1)
    covariance = model.posterior(x).distribution.covariance_matrix
    torch.testing.assert_close(covariance[0, 0], covariance[0, 1], rtol=1e-6, atol=0.0)
    draws = model.posterior(x).rsample(torch.Size([16]))
    torch.testing.assert_close(draws[:, 0], draws[:, 1], rtol=1e-3, atol=1e-3)


def test_gradients_agree_with_finite_differences(surrogate, pool):
    model = surrogate.botorch([AT])
    x = model.encode(pool)[:3]
    moving = [0, 1]

    def score(z):
        full = x.clone()
        full[:, moving] = z
        posterior = model.posterior(full)
        return posterior.mean.sum() + posterior.distribution.covariance_matrix.sum()

    assert torch.autograd.gradcheck(score, x[:, moving].clone().requires_grad_(True), eps=1e-5, atol=1e-5)


def test_conditioning_agrees_with_the_formulas_of_a_gaussian(surrogate, pool):
    model = surrogate.botorch(AT)
    x = model.encode(pool)
    seen, asked = x[:3], x[3:]
    joint = model.posterior(x)
    mean, covariance = joint.mean[:, 0].numpy(), joint.distribution.covariance_matrix.numpy()
    noise = (model.posterior(x, observation_noise=True).variance - joint.variance)[:3, 0].numpy()
    y = mean[:3] + np.array([0.1, -0.05, 0.0])
    gain = covariance[3:, :3] @ np.linalg.inv(covariance[:3, :3] + np.diag(noise))
    after = model.condition_on_observations(seen, torch.from_numpy(y)[:, None]).posterior(asked)
    np.testing.assert_allclose(after.mean[:, 0], mean[3:] + gain @ (y - mean[:3]), rtol=1e-6)
    expected = covariance[3:, 3:] - gain @ covariance[:3, 3:]
    np.testing.assert_allclose(after.distribution.covariance_matrix, expected, rtol=1e-4, atol=1e-9)


def test_conditioning_in_two_steps_is_conditioning_in_one(surrogate, pool):
    model = surrogate.botorch([1e8, AT])
    x = model.encode(pool)
    y = model.posterior(x[:4]).mean + 0.05
    once = model.condition_on_observations(x[:4], y).posterior(x[4:])
    half = model.condition_on_observations(x[:2], y[:2])
    twice = half.condition_on_observations(x[2:4], y[2:4]).posterior(x[4:])
    torch.testing.assert_close(once.mean, twice.mean, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(once.variance, twice.variance, rtol=1e-6, atol=1e-10)


def test_fantasies_are_a_batch_of_models_that_average_to_the_original(surrogate, pool):
    model = surrogate.botorch(AT)
    x = model.encode(pool)
    sampler = SobolQMCNormalSampler(torch.Size([256]), seed=0)
    fantasy = model.fantasize(x[:2], sampler)
    assert fantasy.batch_shape == torch.Size([256])
    posterior = fantasy.posterior(x[2:])
    assert posterior.mean.shape == (256, len(pool) - 2, 1)
    before = model.posterior(x[2:])
    assert (posterior.variance[0] <= before.variance * (1 + 1e-6)).all()
    spread = before.variance.sqrt() / 256**0.5
    assert (((posterior.mean.mean(0) - before.mean) / spread).abs() < 5).all()


def test_values_and_outputs_are_inverse_and_larger_values_are_better(surrogate):
    model = surrogate.botorch(AT)
    losses = np.array([2.0, 2.5, 3.0])
    values = model.value(losses)
    assert (values.diff() < 0).all()
    np.testing.assert_allclose(model.output(values), losses, rtol=1e-12)


def test_each_candidate_can_be_asked_at_its_own_horizon(surrogate, pool):
    own = pool.assign(planned=np.geomspace(1e8, 1e9, len(pool)))
    model = surrogate.botorch("horizon")
    posterior = model.posterior(model.encode(own))
    fresh = -np.arange(1.0, len(pool) + 1)
    location, _, _ = mixture(surrogate, own, fresh, own["planned"].to_numpy()[:, None])
    np.testing.assert_allclose(-posterior.mean.numpy(), location, rtol=1e-6)
    assert posterior.mean.shape == (len(pool), 1)


def sampler():
    return SobolQMCNormalSampler(torch.Size([16]), seed=0)


def acquisition(name, model, x, baseline):
    best = model.posterior(baseline).mean.max()
    makers = {
        "LogEI": lambda: LogExpectedImprovement(model, best_f=best),
        "qLogEI": lambda: qLogExpectedImprovement(model, best_f=best, sampler=sampler()),
        "qLogNEI": lambda: qLogNoisyExpectedImprovement(model, baseline, sampler(), cache_root=False),
        "qMES": lambda: qMaxValueEntropy(model, x, num_fantasies=4, num_mv_samples=8, num_y_samples=16),
        "GIBBON": lambda: qLowerBoundMaxValueEntropy(model, x, num_mv_samples=8),
        "qKG": lambda: qKnowledgeGradient(model, num_fantasies=4),
        "qNIPV": lambda: qNegIntegratedPosteriorVariance(model, x),
    }
    return makers[name]()


NAMES = ("LogEI", "qLogEI", "qLogNEI", "qMES", "GIBBON", "qKG", "qNIPV")


@pytest.mark.parametrize("name", NAMES)
def test_acquisition_functions_are_finite_with_their_gradients_and_optimise(surrogate, name):
    model = surrogate.botorch(AT)
    frame = candidates(np.random.default_rng(2), 24)
    x, baseline = model.encode(frame), model.encode(surrogate.log.configs)
    torch.manual_seed(0)
    criterion = acquisition(name, model, x, baseline)
    points = 1 + (4 if name == "qKG" else 0)
    asked = x[: 3 * points].reshape(3, points, -1).clone().requires_grad_(True)
    values = criterion(asked)
    (gradient,) = torch.autograd.grad(values.sum(), asked)
    assert torch.isfinite(values).all()
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    codes = {i: float(x[0, i]) for i in range(2, x.shape[1])}
    low, high = model.bounds(frame)
    chosen, value = optimize_acqf(
        criterion,
        torch.stack([low, high]),
        q=1,
        num_restarts=2,
        raw_samples=16,
        fixed_features=codes,
        options={"maxiter": 10, "seed": 0},
    )
    assert torch.isfinite(value)
    assert ((chosen >= low - 1e-9) & (chosen <= high + 1e-9))[:, :2].all()
    started = asked.detach().clone()
    started[..., 2:] = x[0, 2:]
    assert value >= criterion(started).max() - 1e-6


def test_a_pool_is_searched_through_its_encoded_rows(surrogate):
    model = surrogate.botorch(AT)
    frame = candidates(np.random.default_rng(3), 30)
    x = model.encode(frame)
    criterion = LogExpectedImprovement(model, best_f=model.posterior(x[:5]).mean.max())
    chosen, _ = optimize_acqf_discrete(criterion, q=1, choices=x)
    row = int((x == chosen).all(dim=1).nonzero()[0])
    assert row == int(criterion(x[:, None]).argmax())
    assert frame["N"].iloc[row] > 1e7


def test_wrong_asks_are_refused(surrogate, pool):
    with pytest.raises(ConfigError, match="no expert 'other'"):
        surrogate.botorch(AT, expert="other")
    with pytest.raises(ConfigError, match="pass axis values"):
        surrogate.botorch("end")
    model = surrogate.botorch(AT)
    with pytest.raises(ConfigError, match="needed here for every candidate"):
        model.encode(pool.drop(columns="N"))
    with pytest.raises(ShapeError, match="Y has shape"):
        model.condition_on_observations(model.encode(pool), torch.zeros(3, 1, dtype=torch.float64))
    with pytest.raises(ShapeError, match=r"Make inputs with encode\(pool\)"):
        model.posterior(torch.zeros(2, 2, dtype=torch.float64))


def test_a_log_of_single_points_and_scores_to_maximise_work_too():
    generator = np.random.default_rng(4)
    frame = pd.DataFrame(
        {"run": [f"r{i}" for i in range(20)], "epochs": 10.0, "width": 2.0 ** generator.integers(3, 9, 20)}
    )
    frame["accuracy"] = 0.6 + 0.03 * np.log2(frame["width"]) + 0.01 * generator.standard_normal(20)
    log = ps.RunLog.from_frame(frame, run="run", axis="epochs", output="accuracy", goal="max")
    surrogate = ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=10, rounds=1))
    model = surrogate.botorch(10.0)
    mean = model.posterior(model.encode(pd.DataFrame({"width": [8.0, 64.0, 256.0]}))).mean[:, 0]
    assert (mean.diff() > 0).all()
    assert (model.value([0.6, 0.7, 0.8]).diff() > 0).all()
    np.testing.assert_allclose(model.output(model.value([0.6, 0.7])), [0.6, 0.7], rtol=1e-12)


def test_a_covariance_spoilt_by_rounding_is_given_the_jitter_it_needs():
    good, bad = torch.eye(3, dtype=torch.float64), torch.diag(torch.tensor([1.0, 1.0, -1e-6]).double())
    both = safe(torch.stack([good, bad]))
    assert (torch.linalg.cholesky_ex(both).info == 0).all()
    torch.testing.assert_close(both[0], good, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(both[1], bad, rtol=0.0, atol=2e-5)


def test_data_without_noise_leave_a_posterior_that_can_be_drawn_from():
    x = np.concatenate([np.linspace(0, 1, 6), 0.2 + 1e-4 * np.arange(20)])
    frame = pd.DataFrame({"run": range(len(x)), "step": 1.0, "x": x, "value": (x - 0.2) ** 2 + 0.1})
    log = ps.RunLog.from_frame(frame, run="run", axis="step", output="value")
    surrogate = ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=10, rounds=1))
    model = surrogate.botorch(1.0)
    at = model.encode(pd.DataFrame({"x": np.concatenate([x, x + 1e-7])}))
    draws = model.posterior(at).rsample(torch.Size([8]))
    assert torch.isfinite(draws).all()
    known = model.condition_on_observations(at[:30], model.posterior(at[:30]).mean)
    assert torch.isfinite(known.posterior(at[30:]).rsample(torch.Size([8]))).all()


def mixed_pool(generator, count):
    """A pool whose rows hold what the model never reads, too."""
    return candidates(generator, count).assign(folder=[f"run/{i}" for i in range(count)])


@pytest.mark.filterwarnings("ignore::probscale.errors.UnknownColumnWarning")
def test_what_an_optimiser_returns_is_read_as_configurations_of_the_pool(surrogate):
    model = surrogate.botorch(AT)
    frame = mixed_pool(np.random.default_rng(5), 20)
    x = model.encode(frame)
    pd.testing.assert_frame_equal(model.decode(x, frame), frame)
    moved = x.clone()
    moved[:, 1] += 0.1
    back = model.decode(moved, frame)
    assert (back["optimizer"].to_numpy() == frame["optimizer"].to_numpy()).all()
    torch.testing.assert_close(model.encode(back), moved, rtol=1e-9, atol=1e-9)
    whole = frame.assign(N=frame["N"].round().astype(int))
    assert model.decode(moved + torch.eye(5, dtype=torch.float64)[0] * 1e-3, whole)["N"].dtype == np.int64
    wrong = x[:2].clone()
    wrong[1, 2] += 1e12
    with pytest.raises(ConfigError, match="input 1 has labels"):
        model.decode(wrong, frame)


@pytest.mark.filterwarnings("ignore::probscale.errors.UnknownColumnWarning")
def test_spaces_of_labels_and_numbers_are_optimised_over_the_choices_of_a_pool(surrogate):
    model = surrogate.botorch(AT)
    frame = mixed_pool(np.random.default_rng(5), 20)
    x = model.encode(frame)
    held = model.choices(frame)
    assert len(held) == 2
    assert all(sorted(fixed) == [2, 3, 4] for fixed in held)
    best = model.posterior(x[:5]).mean.max()
    criterion = qLogExpectedImprovement(model, best_f=best, sampler=sampler())
    asked = {"q": 2, "num_restarts": 2, "raw_samples": 8, "fixed_features_list": held}
    chosen, _ = optimize_acqf_mixed(criterion, model.bounds(frame), **asked, options={"maxiter": 5})
    found = model.decode(chosen, frame)
    assert list(found.columns) == list(frame.columns)
    assert found["N"].between(frame["N"].min() * 0.999, frame["N"].max() * 1.001).all()
    assert set(found["optimizer"]) <= {"adam", "muon"}


def test_noise_that_a_caller_gives_takes_the_place_of_the_model_s_own(surrogate, pool):
    model = surrogate.botorch([1e8, AT])
    x = model.encode(pool).reshape(4, 3, -1)
    given = torch.tensor([0.01, 0.04], dtype=torch.float64).expand(4, 3, 2)
    plain, noisy = model.posterior(x), model.posterior(x, observation_noise=given)
    torch.testing.assert_close(noisy.variance - plain.variance, given, rtol=1e-4, atol=1e-7)
    sure = torch.full((3, 2), 1e-8, dtype=torch.float64)
    y = plain.mean[0] + 0.1
    after = model.condition_on_observations(x[0], y, noise=sure)
    torch.testing.assert_close(after.posterior(x[0]).mean, y, rtol=0.0, atol=1e-3)
    doubtful = model.condition_on_observations(x[0], y, noise=1e8 * sure)
    torch.testing.assert_close(doubtful.posterior(x[1]).mean, plain.mean[1], rtol=0.0, atol=2e-2)
    own = model.condition_on_observations(x[0], y).condition_on_observations(x[1], y, noise=sure)
    turned = model.condition_on_observations(x[1], y, noise=sure).condition_on_observations(x[0], y)
    torch.testing.assert_close(own.posterior(x[2]).mean, turned.posterior(x[2]).mean, rtol=1e-6, atol=1e-8)
    drawn = SobolQMCNormalSampler(torch.Size([4]), seed=0)
    assert model.fantasize(x[0], drawn, observation_noise=sure).posterior(x[1]).mean.shape == (4, 3, 2)
    with pytest.raises(ShapeError, match=r"the noise has shape \(5,\); give variances of shape \(4, 3, 2\)"):
        model.posterior(x, observation_noise=torch.ones(5))


def test_objectives_may_be_written_in_user_units(surrogate, pool):
    model = surrogate.botorch(AT)
    values = model.posterior(model.encode(pool)).mean.detach().requires_grad_(True)
    assert torch.autograd.gradcheck(model.output, values)
    in_loss = GenericMCObjective(lambda Y, X=None: -model.output(Y[..., 0]))
    criterion = qSimpleRegret(model, sampler=sampler(), objective=in_loss)
    x = model.encode(pool)[:3, None].clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(criterion(x).sum(), x)
    assert torch.isfinite(gradient).all()
    assert gradient[..., 0].abs().min() > 0


def test_models_and_surrogates_are_pickled_whole(surrogate, pool):
    model = surrogate.botorch([1e8, AT])
    x = model.encode(pool)
    after = model.condition_on_observations(x[:2], model.posterior(x[:2]).mean + 0.1).eval()
    copied = pickle.loads(pickle.dumps(after))
    assert not copied.training
    torch.testing.assert_close(copied.posterior(x[2:]).mean, after.posterior(x[2:]).mean, rtol=0, atol=0)
    again = pickle.loads(pickle.dumps(surrogate))
    np.testing.assert_array_equal(again.predict(pool, [AT]).mean, surrogate.predict(pool, [AT]).mean)
    assert copy.deepcopy(surrogate) is surrogate


def test_each_output_of_a_log_has_a_model_with_its_own_goal():
    frame = family(np.random.default_rng(0), runs=12)
    frame["accuracy"] = 1 / frame["loss"]
    roles = {"run": "run", "axis": "tokens", "params": "N", "goal": {"loss": "min", "accuracy": "max"}}
    log = ps.RunLog.from_frame(frame.drop(columns="planned"), output=("loss", "accuracy"), **roles)
    surrogate = ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=5, rounds=1))
    pool = candidates(np.random.default_rng(1), 6).drop(columns="planned")
    models = [surrogate.botorch(AT, output=name) for name in ("loss", "accuracy")]
    x = models[0].encode(pool)
    for name, model in zip(("loss", "accuracy"), models, strict=True):
        median = surrogate.predict(pool, [AT], output=name).median
        np.testing.assert_allclose(model.output(model.posterior(x).mean), median, rtol=1e-2)
    both = ModelList(*models).posterior(x).mean
    assert both.shape == (6, 2)
    assert np.corrcoef(both.numpy().T)[0, 1] > 0.9
    with pytest.raises(ConfigError, match="no output 'bleu'"):
        surrogate.botorch(AT, output="bleu")


def test_single_rows_and_outputs_that_do_not_exist_are_refused(surrogate, pool):
    model = surrogate.botorch([1e8, AT])
    with pytest.raises(ShapeError, match=r"must be \(…, q, 5\)"):
        model.posterior(model.encode(pool)[0])
    with pytest.raises(ConfigError, match="no output 2; the model has 2"):
        model.subset_output([2])
