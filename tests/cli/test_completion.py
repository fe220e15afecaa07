"""Shell completion, called as bash calls it: with the words typed so far and the one to be completed."""

import pytest

from coopctx import figures as plots
from coopctx.agents.trained import packaged_agents
from coopctx.cli import app as cli
from coopctx.cli import completion, options
from coopctx.experiments.pools import RunSpec
from coopctx.figures import style


@pytest.fixture
def offered(capsys, monkeypatch, tmp_path):
    """What is offered for the last of these words, in a directory with two runs."""
    for seed in (0, 1):
        folder = RunSpec("ppi", "mixed", False, seed, "cpu").directory(tmp_path / "results")
        folder.mkdir(parents=True)
        (folder / "run.json").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    def ask(*words: str) -> list[str]:
        monkeypatch.setenv("_COOPCTX_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(["coopctx", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit) as ended:
            cli.main([])
        assert ended.value.code == 0
        return capsys.readouterr().out.split()

    return ask


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tr"], ["train"]),
        (["train", "--fre"], ["--fresh"]),
        (["train", "--agent", "p"], ["ppi"]),
        (["train", "--pool", "mu"], ["mutual-extortion"]),
        (["train", "--preset", "s"], ["smoke"]),
        (["train", "--device", "cu"], ["cuda"]),
        (["train", "--set", "ppi.rol"], ["ppi.rollouts=24"]),
        (["train", "--preset", "smoke", "--set", "ppi.rol"], ["ppi.rollouts=2"]),
        (["train", "--preset", "no-such-preset", "--set", "game.pay"], ["game.payoffs=[[1.0,-1.0],[2.0,0.0]]"]),
        (["plot", "a"], ["arena", "all"]),
        (["plot", "fig1", "--format", "p"], ["png", "pdf"]),
        (["reproduce", "--figure", "fig"], ["fig1", "fig2", "fig3", "fig4"]),
        (["evaluate", "res"], [f"results/cpu/ppi-mixed/seed-{seed}" for seed in (0, 1)]),
        (["play", "a2"], ["a2c-mixed", "a2c-tabular"]),
        (["evaluate", "results/cpu/ppi-mixed/seed-0", "--against", "ppi-e"], ["ppi-extortion"]),
        (["evaluate", "else"], ["elsewhere"]),
        (["evaluate", "results/cpu/ppi-mixed/seed-0", "--against", "ti"], ["tit-for-tat"]),
        (["evaluate", "results/cpu/ppi-mixed/seed-0", "--against", "results/cpu/ppi-mixed/seed-1"], ["results/cpu/ppi-mixed/seed-1"]),
        (["arena", "results/cpu/ppi-mixed/seed-0", "results/cpu/ppi-mixed/seed-1"], ["results/cpu/ppi-mixed/seed-1"]),
    ],
)
def test_what_is_offered(offered, words, expected):
    assert offered(*words) == expected


def test_every_setting_that_is_offered_is_taken(offered):
    from coopctx.experiments.presets import load_preset

    settings = offered("train", "--set", "")
    assert load_preset("cpu", settings) == load_preset("cpu") and "measure.episode_phases=[8,-1]" in settings


def test_the_names_offered_are_those_that_are_known():
    assert set(completion.PACKAGED) == set(packaged_agents())
    assert {*options.PAPER_FIGURES, *options.OTHER_FIGURES} == set(plots.ALL) and set(options.FORMATS) == set(style.FORMATS)


def test_the_script_for_the_shell_is_shown(capsys, monkeypatch):
    monkeypatch.setenv("_COOPCTX_COMPLETE", "source_bash")
    with pytest.raises(SystemExit):
        cli.main([])
    assert "_COOPCTX_COMPLETE=complete_bash" in capsys.readouterr().out
