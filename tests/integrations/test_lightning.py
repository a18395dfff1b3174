import os
import subprocess
import sys

import pandas as pd
import pytest

from probscale.errors import RunLogError
from probscale.integrations import from_lightning_csv

SCRIPT = """
import sys, torch, warnings
warnings.simplefilter("ignore")
import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger

class Linear(pl.LightningModule):
    def __init__(self, rate, betas=(0.9, 0.95)):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, _):
        loss = self.layer(batch).square().mean()
        self.log("train_loss", loss)
        return loss
    def validation_step(self, batch, _):
        self.log("val_loss", self.layer(batch).square().mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.rate)

for rate in (0.01, 0.1):
    pl.seed_everything(0)
    data = torch.utils.data.DataLoader(torch.randn(32, 4), batch_size=8)
    trainer = pl.Trainer(max_epochs=3, logger=CSVLogger(sys.argv[1]), log_every_n_steps=1, accelerator="cpu",
                         enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.fit(Linear(rate), data, data)
"""


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Two real Lightning runs, three epochs of four steps each."""
    pytest.importorskip("pytorch_lightning", reason="writes the logs that are read here")
    root = tmp_path_factory.mktemp("lightning")
    run = [sys.executable, "-P", "-c", SCRIPT, root]
    subprocess.run(run, check=True, capture_output=True, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return root


@pytest.mark.slow
def test_real_lightning_logs_give_validation_losses_by_step(logged):
    log = from_lightning_csv(logged)
    assert (log.output, log.roles.axis, log.n_runs, log.n_points) == ("val_loss", "step", 2, 6)
    assert log.configs["rate"].tolist() == [0.01, 0.1]
    raw = pd.read_csv(next(logged.rglob("version_1/metrics.csv"))).dropna(subset="val_loss")
    mine = log.points[log.points["run"] == "version_1"]
    assert mine["val_loss"].tolist() == raw["val_loss"].tolist()
    assert mine["step"].tolist() == raw["step"].tolist()


@pytest.mark.slow
def test_the_training_loss_and_the_epoch_axis_can_be_asked_for(logged):
    assert from_lightning_csv(logged, output="train_loss").n_points == 24
    assert from_lightning_csv(logged, axis="epoch").points["epoch"].tolist()[:3] == [0, 1, 2]


def test_a_nan_in_the_file_marks_divergence_and_an_empty_cell_does_not(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,val_loss\n0,1,2.0\n0,2,\n0,3,nan\n")
    log = from_lightning_csv(tmp_path)
    assert log.points["diverged"].tolist() == [False, True]
    assert any("no hparams.yaml" in note for note in log.notes)


def test_settings_that_are_python_objects_are_left_out_and_never_built(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,val_loss\n1,2.0\n")
    (tmp_path / "hparams.yaml").write_text("f: !!python/object/apply:os._exit [3]\nlr: 0.1\n")
    assert from_lightning_csv(tmp_path).configs.iloc[0].to_dict() == {"lr": 0.1}
    (tmp_path / "hparams.yaml").write_text("a: [")
    assert any("is not YAML" in note for note in from_lightning_csv(tmp_path).notes)


def test_what_namespaces_hold_and_names_of_classes_are_settings(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,val_loss\n1,2.0\n")
    text = "args: !!python/object:argparse.Namespace\n  wd: 0.2\nact: !!python/name:torch.nn.modules.activation.ReLU ''\n"
    (tmp_path / "hparams.yaml").write_text(text)
    config = from_lightning_csv(tmp_path).configs.iloc[0].to_dict()
    assert config == {"args.wd": 0.2, "act": "torch.nn.modules.activation.ReLU"}


def test_a_foreign_file_is_refused_by_line(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,val_loss\n1,much\n")
    with pytest.raises(RunLogError, match=r"line 2 of .* is not numbers"):
        from_lightning_csv(tmp_path)
