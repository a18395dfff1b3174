import json

import pytest

from probscale.errors import RunLogError
from probscale.integrations import from_tensorboard

pytest.importorskip("tensorboard", reason="writes and reads the event files")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """Two runs by SummaryWriter: 1,500 training points, 15 evaluations, hyperparameters, arguments as text."""
    from torch.utils.tensorboard import SummaryWriter

    root = tmp_path_factory.mktemp("runs")
    for rate in (0.1, 0.2):
        writer = SummaryWriter(str(root / f"lr{rate}"))
        for step in range(1, 1501):
            writer.add_scalar("loss/train", 3 / step, step)
            if step % 100 == 0:
                writer.add_scalar("loss/val", 3.5 / step, step)
        writer.add_hparams({"lr": rate, "optimizer": "sgd", "nesterov": rate > 0.15}, {"final": 1.0})
        writer.add_text("args", json.dumps({"batch_size": 4, "seq_len": 16, "max_steps": 1500}))
        writer.close()
    return root


def test_event_files_become_a_log_with_settings(logdir):
    log = from_tensorboard(logdir, output="loss/val")
    assert list(log.runs) == ["lr0.1", "lr0.2"]
    assert (log.n_points, log.roles.axis, log.roles.horizon) == (30, "tokens", "planned_tokens")
    assert log.configs["lr"].tolist() == [pytest.approx(0.1), pytest.approx(0.2)]
    assert log.points["tokens"].tolist()[:2] == [100 * 64, 200 * 64]
    assert log.points["loss/val"].tolist()[0] == pytest.approx(3.5 / 100, rel=1e-6)


def test_every_scalar_is_kept_where_tensorboard_itself_would_sample(logdir):
    assert from_tensorboard(logdir, output="loss/train", axis="step").n_points == 3000


def write(folder, tag, values):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for step, value in enumerate(values):
            writer.add_scalar(tag, value, step)


def test_folders_of_training_and_validation_are_parts_of_a_run(tmp_path):
    """As Keras writes them."""
    for run in ("a", "b"):
        write(tmp_path / run / "train", "epoch_loss", [3.0, 2.0])
        write(tmp_path / run / "validation", "epoch_loss", [3.5, 2.5])
    log = from_tensorboard(tmp_path)
    assert (list(log.runs), log.output) == (["a", "b"], "validation/epoch_loss")
    assert log.points["validation/epoch_loss"].tolist() == [3.5, 2.5] * 2
    assert from_tensorboard(tmp_path, output="train/epoch_loss").points["train/epoch_loss"].tolist()[0] == 3.0
    write(tmp_path / "c", "epoch_loss", [1.0])
    assert list(from_tensorboard(tmp_path / "c").runs) == ["c"]


def test_folders_of_add_scalars_are_parts_of_a_run(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    for run in ("a", "b"):
        with SummaryWriter(str(tmp_path / run)) as writer:
            for step in range(3):
                writer.add_scalars("loss/all", {"train": 3.0 - step, "val": 3.5 - step}, step)
    log = from_tensorboard(tmp_path, output="loss/all/val")
    assert list(log.runs) == ["a", "b"]
    assert log.points["loss/all/val"].tolist() == [3.5, 2.5, 1.5] * 2


def test_a_folder_without_event_files_is_refused(tmp_path):
    with pytest.raises(RunLogError, match=r"no .*tfevents.* below"):
        from_tensorboard(tmp_path)
