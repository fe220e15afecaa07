"""Progress as event files: what was trained is read back from them; nothing is written unless it was asked for."""

import sys
from pathlib import Path

import pandas as pd
import pytest
import struck
from conftest import optional

from coopctx.errors import UsageError
from coopctx.runs.progress import SilentProgress
from coopctx.runs.tracking import TrackedProgress, check_log


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """By name, the values at their iterations, from all event files of a folder."""
    events = optional("tensorboard.backend.event_processing.event_accumulator").EventAccumulator(str(folder))
    events.Reload()
    return {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}


@pytest.mark.parametrize("agent", ["ppi", "a2c"])
def test_event_files_hold_the_averages_and_losses_of_every_measurement(coopctx_main, agent):
    optional("tensorboard")
    status, _, err = coopctx_main(*struck.train(agent, Path("results")), "--log", "tensorboard")
    assert (status, err) == (0, "")
    run = struck.directory(agent, Path("results"))
    found = scalars(Path("results/tensorboard") / run.relative_to("results"))
    training = pd.read_parquet(run / "training.parquet").query("player == 'ego' and iteration > 0")
    for measure, column in (("cooperation", "cooperation_rate"), ("reward", "reward")):
        for opponent, rows in training.groupby("opponent"):
            assert found[f"{measure}/{opponent}"] == pytest.approx(rows.groupby("iteration")[column].mean().to_dict(), abs=1e-6)
    diagnostics = pd.read_parquet(run / "diagnostics.parquet").query("iteration > 0")
    means = diagnostics.groupby(["quantity", "iteration"])["value"].mean()
    losses = [name for name in means.index.levels[0] if name.startswith("loss")]
    assert losses
    for name in losses:
        assert found[f"training/{name}"] == pytest.approx(means[name].to_dict(), abs=1e-5)


def test_nothing_is_written_unless_asked_for(coopctx_main):
    assert coopctx_main(*struck.train("ppi", Path("results")))[0] == 0
    assert not Path("results/tensorboard").exists()


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(tmp_path):
    optional("tensorboard")
    for done, values in ((0, {1: 0.1, 2: 0.2, 3: 0.3}), (2, {3: 0.9, 4: 0.4})):
        progress = TrackedProgress(SilentProgress(), tmp_path)
        progress.begin("a run", 4, done)
        for iteration, value in values.items():
            progress.iteration(iteration, {"cooperation_fixed-icl": value})
        progress.end()
    found = scalars(tmp_path)["cooperation/fixed-icl"]
    assert found == pytest.approx({1: 0.1, 2: 0.2, 3: 0.9, 4: 0.4})


def test_without_the_package_one_line_says_how_to_install_it(coopctx_main, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, out, err = coopctx_main(*struck.train("ppi", Path("results")), "--log", "tensorboard")
    assert (status, out, err) == (2, "", "coopctx: --log tensorboard needs TensorBoard: pip install '.[tensorboard]'\n")
    assert not Path("results").exists()
    with pytest.raises(UsageError, match="unknown log 'wandb'; allowed: tensorboard"):
        check_log("wandb")
