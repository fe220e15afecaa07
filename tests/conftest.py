"""What all tests share: the same examples on every machine, however slow, and a command run as a user would."""

import pytest
from hypothesis import HealthCheck, settings
from rich.console import Console

# No random seeds and no timed checks in the properties.
settings.register_profile("coopctx", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("coopctx")


@pytest.fixture
def coopctx_main(capsys, monkeypatch, tmp_path):
    """Run a command in an empty directory: exit status, standard output, standard error."""
    from coopctx import cli  # only where a command is run

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(cli, "console", Console(width=100))
        status = cli.main(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run
