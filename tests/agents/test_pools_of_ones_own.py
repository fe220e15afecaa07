"""Pools as data: a run whose opponents a TOML file lists trains, resumes and is refused by the key that is wrong."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import optional
from tiny_runs import TINY

from coopctx.agents.others import Others, check_pool
from coopctx.agents.ppi.player import PPIPlayer
from coopctx.agents.record import shares
from coopctx.errors import UsageError
from coopctx.experiments.config_file import ConfigFile
from coopctx.experiments.configuration import from_dict, to_dict
from coopctx.experiments.pools import RunSpec
from coopctx.experiments.presets import load_preset
from coopctx.experiments.settings import PoolConfig
from coopctx.game.tabular import RandomTabular
from coopctx.launch import job
from coopctx.runs.manifest import read_manifest
from coopctx.runs.schema import REPRODUCIBLE

FROZEN = "frozen/smoke/ppi-tabular/seed-0"
MEMBERS = {"tabular": 0.3, "tit-for-tat": 0.2, "axelrod:Tit For 2 Tats": 0.2, "axelrod:Random": 0.1, FROZEN: 0.2}
SETTINGS = """preset = "smoke"

[game]
rounds = 8

[model]
hidden = 16

[ppi]
phases = 2
initial_episodes = 40
episodes_per_phase = 20
batch_size = 16
horizon = 3

[a2c]
iterations = 4
batch_size = 20

[measure]
episode_games = 6
"""


def listed(members: dict[str, object]) -> str:
    """``[[pool.members]]`` of opponents with their shares."""
    return "".join(f"\n[[pool.members]]\nopponent = {json.dumps(name)}\nshare = {share}\n" for name, share in members.items())


def contents(**others: float) -> str:
    return SETTINGS + listed({**MEMBERS, **others})


@pytest.fixture(scope="module")
def frozen(tmp_path_factory) -> Path:
    """A results folder with a finished Step-1 run."""
    from tiny_runs import config, spec, train

    results = tmp_path_factory.mktemp("frozen")
    train(results, spec("tabular"), config(*TINY, "ppi.phases=1"))
    return results


@pytest.fixture
def own(coopctx_main, frozen):
    """The command line in a folder with my.toml and the run that it names."""
    optional("axelrod")
    shutil.copytree(frozen, "frozen")
    Path("my.toml").write_text(contents())
    return coopctx_main


def tables(directory: Path) -> dict[str, bytes]:
    return {name: (directory / f"{name}.parquet").read_bytes() for name in REPRODUCIBLE}


@pytest.mark.parametrize("agent", ["ppi", "a2c"])
def test_a_run_meets_each_member_by_its_share_and_goes_on_where_it_stopped(own, monkeypatch, agent):
    command = ["train", "--config", "my.toml", "--agent", agent, "--device", "cpu"]
    status, out, err = own(*command)
    directory = Path(f"results/my/{agent}-custom/seed-0")
    assert (status, err) == (0, "") and f"{directory}: written" in out and "axelrod:Tit For 2 Tats" in out
    training = pd.read_parquet(directory / "training.parquet").query("player == 'ego'")
    met = training[training["iteration"] == training["iteration"].max()].set_index("opponent")["episodes"]
    assert met.to_dict() == {name: 20 * share for name, share in MEMBERS.items()}
    manifest = read_manifest(directory)
    assert manifest["preset"] == "my" and manifest["configuration"]["pool"]["members"][1] == {"opponent": "tit-for-tat", "share": 0.2}
    assert manifest["command"].startswith(f"coopctx train --agent {agent} --pool custom --config my.toml --seed 0")
    whole = tables(directory)

    shutil.rmtree("results")
    real = job.Run.checkpoint

    def interrupted(run, state):
        real(run, state)
        if state["iteration"] >= 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job.Run, "checkpoint", interrupted)
        assert own(*command)[0] == 130
    status, out, _ = own(*command)
    assert status == 0 and "resuming" in out and tables(directory) == whole
    assert "was finished already" in own(*command)[1]


def test_a_changed_pool_is_refused_by_the_key(own):
    command = ["train", "--config", "my.toml", "--agent", "ppi", "--set", "ppi.phases=1"]
    assert own(*command)[0] == 0
    Path("my.toml").write_text(contents(**{"tabular": 0.2, "tit-for-tat": 0.3}))
    before = tables(Path("results/my/ppi-custom/seed-0"))
    status, _, err = own(*command)
    assert status == 1 and "pool.members[1].share: 0.3 there, 0.2 here; pool.members[2].share: 0.2 there, 0.3 here" in err
    assert err.count("\n") == 1 and tables(Path("results/my/ppi-custom/seed-0")) == before


MINE = "import torch\nimport coopctx\n\nclass Mine(coopctx.Player):\n    def act(self, observation, reward):\n        return torch.ones_like(observation)\n"


def test_a_class_of_ones_own_in_the_current_folder_plays(own):
    Path("players_here.py").write_text(MINE)
    Path("my.toml").write_text('agent = "ppi"\n' + SETTINGS + listed({"players_here:Mine": 0.5, "learner": 0.5}))
    status, _, err = own("train", "--config", "my.toml", "--set", "ppi.phases=1", "--jobs", "1")
    assert (status, err) == (0, "")
    training = pd.read_parquet("results/my/ppi-custom/seed-0/training.parquet")
    theirs = training.query("player == 'co' and opponent == 'players_here:Mine'")
    assert set(theirs["learner"]) == {1, 2} and (theirs["cooperation_rate"] == 0).all()


def test_other_commands_know_such_runs(own, runs_in_this_process):
    settings = ["--set", "ppi.phases=1", "--set", "ppi.epochs=0.5", "--set", "ppi.initial_epochs=0.5"]
    Path("my.toml").write_text('agent = "ppi"\n' + SETTINGS + listed({"tabular": 0.6, "tit-for-tat": 0.4}))
    status, out, err = own("sweep", "--config", "my.toml", "--vary", "ppi.rollouts=1,2", "--seeds", "0", "--jobs", "1", *settings)
    assert (status, err) == (0, "") and "ppi-custom, preset my" in out and Path("results/sweep/my.parquet").exists()
    assert own("plot", "sensitivity", "--preset", "my.toml", "--format", "svg")[0] == 0
    (run,) = Path("results/sweep").glob("*rollouts=1/my/ppi-custom/seed-0")
    status, out, err = own("evaluate", str(run), "--against", "tit-for-tat", "--games", "2")
    assert (status, err) == (0, "")


def test_a_file_without_members_is_a_preset_of_its_own(own):
    Path("half.toml").write_text(SETTINGS + "[pool]\ntabular_share = 0.25\n[pools.tabular.ppi]\nphases = 1\n")
    file = ConfigFile("half.toml")
    assert load_preset(file).ppi.phases == 2 and load_preset(file, pool="tabular").ppi.phases == 1
    assert load_preset(file).ppi.rollouts == load_preset("smoke").ppi.rollouts and load_preset(file).pool.tabular_share == 0.25
    status, out, _ = own("train", "--config", "half.toml", "--agent", "ppi", "--pool", "tabular")
    assert status == 0 and "results/half/ppi-tabular/seed-0: written" in out and "Preset smoke" in out


# Refused ------------------------------------------------------------------------------------------------------------

REFUSED = {
    "negative share": (listed({"tabular": 1.2, "tit-for-tat": -0.2}), "pool.members[1].share must be a number > 0 and <= 1, not 1.2"),
    "negative second share": (listed({"tabular": 0.9, "grim": -0.2}), "pool.members[2].share must be a number > 0 and <= 1, not -0.2"),
    "shares that lack": (listed({"tabular": 0.5, "grim": 0.3}), "pool.members: the shares must add up to 1, not 0.8"),
    "share as a text": (listed({"tabular": '"half"'}), "pool.members[1].share must be a number > 0 and <= 1, not 'half'"),
    "unknown strategy": (listed({"tit-for-tatt": 1}), "pool.members[1].opponent: unknown opponent 'tit-for-tatt'; did you mean tit-for-tat"),
    "unknown library strategy": (listed({"axelrod:Tit Fr Tat": 1}), "pool.members[1].opponent: the Axelrod library has no strategy"),
    "missing path": (listed({"results/cpu/none": 1}), "pool.members[1].opponent: results/cpu/none is not a finished run"),
    "another game": (listed({"ppi-mixed": 1}), "pool.members[1].opponent: "),
    "missing module": (listed({"nowhere:Player": 1}), "pool.members[1].opponent: cannot import nowhere:Player"),
    "no class": (listed({"json:dumps": 1}), "pool.members[1].opponent: json:dumps must be a class of players"),
    "no player": (listed({"json:JSONEncoder": 1}), "pool.members[1].opponent: a JSONEncoder is no player"),
    "twice": (listed({"tabular": 0.5}) + listed({"tabular": 0.5}), "pool.members[2].opponent: 'tabular' is in the pool already"),
    "no share": ('[[pool.members]]\nopponent = "tabular"\n', "no value for pool.members[1].share"),
    "no opponent": ("[[pool.members]]\nshare = 1\n", "no value for pool.members[1].opponent"),
    "unknown key": ('[[pool.members]]\nopponent = "tabular"\nshares = 1\n', "unknown key pool.members[1].shares"),
    "not a list": ('[pool]\nmembers = "tabular"\n', "pool.members must be a list of tables [[pool.members]], not 'tabular'"),
    "not tables": ('[pool]\nmembers = ["tabular"]\n', "pool.members[1] must be a table with opponent and share, not 'tabular'"),
    "unknown setting": ("[a2c]\niteration = 4\n", "unknown setting 'a2c.iteration'; did you mean a2c.iterations"),
    "unknown section": ("[a3c]\niterations = 4\n", "unknown setting 'a3c.iterations'"),
    "unknown pool": ("[pools.tabula.ppi]\nphases = 1\n", "pools.tabula: unknown pool 'tabula'; did you mean tabular"),
    "unknown preset": ('preset = "huge"\n', "unknown preset 'huge'; allowed: smoke, cpu, paper"),
    "preset of another kind": ("preset = 3\n", "unknown preset 3"),
    "unknown agent": ('agent = "dqn"\n', "unknown agent 'dqn'; allowed: ppi, a2c, coala"),
    "not TOML": ("[[pool.members]\n", "my.toml is not a TOML file"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_named_by_its_key_and_nothing_is_begun(coopctx_main, text, message):
    if "axelrod" in text:
        optional("axelrod")
    base = "" if "preset" in text else 'preset = "smoke"\n'
    Path("my.toml").write_text(base + text)
    words = ["--agent", "ppi"] if "agent = " not in text else []
    status, out, err = coopctx_main("train", "--config", "my.toml", *words, *([] if "members" in text else ["--pool", "mixed"]))
    assert status in (1, 2) and out == "" and message in err and err.count("\n") == 1, err
    assert [path.name for path in Path().iterdir() if path.suffix != ".toml"] in ([], ["results"]) and not list(Path().rglob("run.json"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "my.toml", "--preset", "smoke"], "give --preset or --config, not both"),
        (["--config", "none.toml"], "cannot read none.toml: No such file or directory"),
        (["--config", "my.json"], "--config must be a file whose name ends in .toml"),
        (["--config", "smoke.toml"], "smoke is a preset's name and its folder; rename the file"),
        (["--config", "my pool.toml"], "the file's name names a folder of runs"),
        (["--config", "sweep.toml"], "the file's name names a folder of runs"),
        (["--config", "my.toml", "--pool", "mixed"], "pool.members: --pool mixed has opponents of its own"),
        (["--config", "my.toml", "--agent", "coala"], "coala has pools of its own"),
        (["--config", "my.toml", "--set", "pool.tabular_share=0.3"], "pool.tabular_share: --pool custom does not read it"),
        (["--config", "my.toml", "--set", "ppi.episodes_per_phase=2"], "ppi.episodes_per_phase must be >= 3"),
        (["--config", "my.toml", "--game", "rock-paper-scissors"], "'tit-for-tat' plays games of two actions, not of 3"),
        (["--pool", "custom", "--preset", "smoke"], "--pool custom needs pool.members"),
        (["--config", "my.toml", "--opponent-id"], "it does not go with --pool custom"),
    ],
)
def test_options_that_do_not_go_with_a_file_are_refused(coopctx_main, words, message):
    Path("my.toml").write_text(SETTINGS + listed({"tabular": 0.5, "tit-for-tat": 0.2, "grim": 0.3}))
    for name in ("smoke", "my pool", "sweep"):
        Path(f"{name}.toml").write_text(SETTINGS)
    agent = [] if "--agent" in words else ["--agent", "ppi"]
    status, out, err = coopctx_main("train", *agent, *words)
    assert status in (1, 2) and out == "" and message in err and err.count("\n") == 1, err
    assert not list(Path().rglob("run.json"))


# Shares and players --------------------------------------------------------------------------------------------------


def pool_of(members: dict[str, float]) -> PoolConfig:
    return PoolConfig(members=tuple({"opponent": name, "share": share} for name, share in members.items()))


@pytest.mark.parametrize(
    ("episodes", "parts", "expected"),
    [
        (10, (0.5, 0.3, 0.2), (5, 3, 2)),
        (100, (0.333, 0.333, 0.334), (33, 34, 33)),
        (3, (0.98, 0.01, 0.01), (1, 1, 1)),
        (7, (0.01, 0.01, 0.98), (1, 1, 5)),
    ],
)
def test_shares_are_rounded_and_leave_one_to_each(episodes, parts, expected):
    settings = pool_of(dict(zip(("tabular", "grim", "random"), parts, strict=True)))
    pool = RunSpec("ppi", "custom", False, 0, "smoke").pool_with(settings)
    assert tuple(shares(episodes, pool, settings).values()) == expected and pool.learners == 1
    assert tuple(shares(episodes, pool, settings)) == ("tabular", "grim", "random")


def test_a_member_draws_its_own_numbers_and_a_frozen_run_is_that_run(frozen, tmp_path, monkeypatch):
    monkeypatch.chdir(frozen)
    config = load_preset("smoke", [*TINY, *(f"pool.members=[{{opponent = '{name}', share = 1}}]" for name in ("smoke/ppi-tabular/seed-0",))])
    spec = RunSpec("ppi", "custom", False, 3, "smoke")
    check_pool(spec, config)
    others = Others(spec, config, torch.device("cpu"))
    player = others.player("smoke/ppi-tabular/seed-0", 1, 4)
    assert isinstance(player, PPIPlayer)
    again, other = (others.player("smoke/ppi-tabular/seed-0", learner, 4) for learner in (1, 2))
    draws = [torch.rand(3, generator=each._generator).tolist() for each in (player, again, other)]
    assert draws[0] == draws[1] != draws[2]
    plain = Others(RunSpec("ppi", "mixed", False, 3, "smoke"), load_preset("smoke"), torch.device("cpu"))
    assert isinstance(plain.player("tabular", 1, 4), RandomTabular) and list(plain.makers) == ["tabular"]


def test_members_survive_the_way_through_a_manifest():
    config = load_preset("smoke", ["pool.members=[{opponent='tabular', share=0.25}, {opponent='grim', share=0.75}]"])
    written = json.loads(json.dumps(to_dict(config)))
    assert written["pool"]["members"] == [{"opponent": "tabular", "share": 0.25}, {"opponent": "grim", "share": 0.75}]
    assert from_dict(written) == config
    with pytest.raises(UsageError, match=r"pool.members\[2\].opponent must be a text, not 3"):
        PoolConfig(members=[{"opponent": "tabular", "share": 0.5}, {"opponent": 3, "share": 0.5}])


def test_a_file_is_the_same_preset_in_another_process():
    import pickle

    file = pickle.loads(pickle.dumps(ConfigFile("there/my.toml")))
    assert (file, file.path, f"{file}") == ("my", Path("there/my.toml"), "my")
