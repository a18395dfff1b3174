"""A real tiny training for Ray Tune: logistic regression by stochastic gradients, with checkpoints."""

import json
import tempfile
from pathlib import Path

import numpy as np

EPOCHS = 9


def data():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((400, 12)) * np.geomspace(0.3, 3.0, 12)
    weights = generator.standard_normal(12)
    y = (x @ weights + generator.standard_normal(400) > 0).astype(float)
    return x[:240], y[:240], x[240:], y[240:]


X, Y, X_TEST, Y_TEST = data()


def loss_of(weights, x, y):
    margin = (2 * y - 1) * (x @ weights)
    return float(np.logaddexp(0.0, -margin).mean())


def epoch(weights, config, number):
    """One pass of stochastic gradients in batches of 16."""
    order = np.random.default_rng(number).permutation(len(X))
    for batch in np.array_split(order, len(X) // 16):
        slope = 1 / (1 + np.exp(-(X[batch] @ weights))) - Y[batch]
        gradient = X[batch].T @ slope / len(batch) + config["decay"] * weights
        if config["optimizer"] == "sign":
            gradient = np.sign(gradient)
        weights = weights - config["rate"] * gradient
    return weights


def curve(config, epochs=EPOCHS):
    """The losses of all epochs, without Tune."""
    weights, losses = np.zeros(X.shape[1]), []
    for number in range(epochs):
        weights = epoch(weights, config, number)
        losses.append(loss_of(weights, X_TEST, Y_TEST))
    return losses


def train(config):
    """A function for Tune that goes on from its checkpoint and reports one with every epoch."""
    from ray import tune

    weights, done = np.zeros(X.shape[1]), 0
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            state = json.loads((Path(folder) / "state.json").read_text())
        weights, done = np.array(state["weights"]), state["epochs"]
    for number in range(done, EPOCHS):
        weights = epoch(weights, config, number)
        if config.get("trouble") == "raises":
            raise OSError("disk gone")
        if config.get("trouble") == "diverges":
            weights = weights * np.nan
        with tempfile.TemporaryDirectory() as folder:
            state = {"weights": weights.tolist(), "epochs": number + 1}
            (Path(folder) / "state.json").write_text(json.dumps(state))
            report = {"loss": loss_of(weights, X_TEST, Y_TEST), "epochs": number + 1}
            if "log" in config:
                with open(config["log"], "a") as file:
                    file.write("x\n")
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))
