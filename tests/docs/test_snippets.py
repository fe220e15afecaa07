"""Every Python and shell snippet of README, CONTRIBUTING and docs is run, page by page, beside the committed results.

An untagged fenced block is shell; one that a command prints stands between generated-block markers and is compared in
test_fill. Training commands are run where they have ``--preset smoke`` or ``--dry-run`` or all their runs are finished.
"""

import io
import os
import re
import shlex
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer.main

from coopctx.cli import app as cli
from coopctx.cli import show
from coopctx.experiments.presets import caveat
from coopctx.launch import job, jobs

ROOT = Path(__file__).parents[2]
PAGES = [path for name in ("*.md", "docs/*.md") for path in sorted(ROOT.glob(name)) if path.name != "CHANGELOG.md"]
GENERATED = re.compile(r"^<!-- begin .*? -->$.*?^<!-- end .*? -->$", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`(coopctx [^`\n]+|make [a-z][^`\n]*)`(?!`)")
COMMANDS = typer.main.get_command(cli.app).commands
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
SMALL = ("ppi.phases=2", "ppi.initial_episodes=64", "ppi.episodes_per_phase=16", "measure.episode_games=8")  # for --preset smoke
ELSEWHERE = {"git", "cd", ".", "python3"}  # setting up a clone


def snippets(page: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced block that nobody generates."""
    return FENCED.findall(GENERATED.sub("", page.read_text()))


LONG = ("experiments-of-your-own.md",)  # trains four times
WITH_CODE = [
    pytest.param(page, id=page.name, marks=pytest.mark.whole if page.name in LONG else ()) for page in PAGES if snippets(page)
]


def words_of(line: str) -> list[str]:
    return shlex.split(line, comments=True)


@pytest.fixture
def beside_the_results(tmp_path, monkeypatch, no_short_runs):
    """An empty folder with the committed results as links: what is written or replaced there stays there."""
    for directory, _, files in os.walk(ROOT / "results"):
        here = tmp_path / Path(directory).relative_to(ROOT)
        here.mkdir()
        for file in files:
            if not file.endswith(".lock"):
                (here / file).symlink_to(Path(directory, file))
    monkeypatch.chdir(tmp_path)
    real = job.execute

    def small_or_not_at_all(spec, config, *rest):
        assert caveat(spec.preset), f"{spec.name} seed {spec.seed} of preset {spec.preset} would be trained"
        real(spec, config, *rest)

    def one_by_one(todo, workers, new_progress, *rest):
        return [job.run_one(each, new_progress()) for each in todo]

    monkeypatch.setattr(job, "execute", small_or_not_at_all)
    monkeypatch.setattr(jobs, "run_side_by_side", one_by_one)


@pytest.mark.parametrize("page", WITH_CODE)
def test_snippets_run(page, beside_the_results, capsys, monkeypatch):
    names: dict[str, object] = {}  # one reader's session
    for language, text in snippets(page):
        if language == "python":
            if "coopctx.envs" in text and any(find_spec(library) is None for library in ("gymnasium", "pettingzoo")):
                continue
            exec(compile(text, f"{page.name}: {text.splitlines()[0]}", "exec"), names)
            assert capsys.readouterr().out or "print(" not in text
        elif language == "toml":  # a file whose first line is its name
            Path(text.splitlines()[0].removeprefix("# ")).write_text(text)
        else:
            assert language in ("", "sh", "bash", "console"), f"{page.name}: what is a block of {language!r}?"
            for line in text.splitlines():
                words = words_of(line)
                if words[:1] == ["echo"]:  # into a command
                    monkeypatch.setattr("sys.stdin", io.StringIO(f"{words[1]}\n"))
                    words = words[words.index("|") + 1 :]
                carry_out(words, f"{page.name}: {line}")
                capsys.readouterr()


def carry_out(words: list[str], where: str) -> None:
    """Run a command, or see to it that what it names is there."""
    if words[:1] == ["coopctx"]:
        for extra, mark in (("axelrod", "axelrod:"), ("axelrod", "--config"), ("axelrod", "results/my/"), ("ray", "--engine")):
            if any(word.startswith(mark) for word in words) and find_spec(extra) is None:
                return
        small = [word for setting in SMALL for word in ("--set", setting)] if words[1] == "train" and {"smoke", "--config"} & {*words} else []
        show.console.width = 100
        assert cli.main([*without(words[1:], "--engine"), *small]) == 0, where
    elif words[:1] == ["make"]:
        assert {word for word in words[1:] if "=" not in word} <= set(TARGETS), where
    elif words[:2] == ["pip", "install"]:
        assert {extra for listed in re.findall(r"\[(.*?)\]", words[-1]) for extra in listed.split(",")} <= set(EXTRAS), where
    elif words[:2] == ["python", "-m"]:
        assert find_spec(words[2]), where
    elif words[:1] == ["python"]:
        assert (ROOT / words[1]).exists(), where
    else:
        assert not words or words[0] in ELSEWHERE, f"{where}: neither a command that is run here nor one that sets up a clone"


def without(words: list[str], option: str) -> list[str]:
    at = words.index(option) if option in words else len(words)
    return words[:at] + words[at + 2 :]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_have_the_options_that_they_are_given(page):
    for command in INLINE.findall(FENCED.sub("", page.read_text())):
        words, where = words_of(command), f"{page.name}: {command}"
        options = {word.split("=")[0] for word in words[1:] if word.startswith("-") and word != "--help"}
        if words[0] == "make":
            assert {word for word in words[1:] if word.islower() and "=" not in word} <= set(TARGETS), where
        elif words[1].startswith("-"):
            assert options <= {"--version", "--install-completion", "--show-completion"}, where
        elif words[1].islower():  # not COMMAND
            assert words[1] in COMMANDS, where
            known = {name for parameter in COMMANDS[words[1]].params for name in (*parameter.opts, *parameter.secondary_opts)}
            assert options <= known, where
