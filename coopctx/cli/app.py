"""The command line: it parses the arguments, calls one function per command, and turns errors into one line."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from coopctx._version import __version__
from coopctx.cli import lists, look, train, watch
from coopctx.cli.show import complain
from coopctx.errors import CoopctxError, RunError, UsageError


class _Command(TyperCommand):
    """A command whose flags are shown without a value."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_values(super().get_params(ctx))


class _Group(TyperGroup):
    """All commands; its own flags are shown without a value too."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_values(super().get_params(ctx))


def _without_values(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


app = typer.Typer(
    cls=_Group,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    train.train,
    look.evaluate,
    look.play,
    train.extort_probe,
    look.plot,
    look.report,
    train.reproduce,
    train.sweep,
    watch.arena,
    look.bench,
    lists.settings,
    lists.runs,
):
    app.command(command.__name__.replace("_", "-"), cls=_Command)(command)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Cooperation through in-context co-player inference (arXiv:2602.16301).

    \b
    Examples:
    coopctx train --agent ppi --pool mixed   one run of Figure 1A, in minutes
    coopctx plot fig1                        the figure, from what is in results/
    coopctx reproduce --dry-run              the runs that all figures need
    coopctx report                           the paper's claims beside ours
    """
    if version:
        print(f"coopctx {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status. An error is one line on standard error."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):  # for undecodable paths, and for terminals without our characters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    status = _run(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:  # the reader has closed it, or the disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python flushes again when it exits
        return status or complain(f"standard output: {error.strerror}")
    return status


def _open_streams() -> None:
    """Open a closed standard output or error (``>&-``) on the null device, so that no file opened later receives it."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 - it stays open


@cache
def _commands() -> Callable[..., Any]:
    """All commands, put together once: this takes longer than refusing a misspelt one."""
    return typer.main.get_command(app)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        status = _commands()(arguments, prog_name="coopctx", standalone_mode=False) or 0
    except CoopctxError as error:
        return complain(error, error.exit_status)
    except typer.TyperException as error:
        return complain(error.format_message(), UsageError.exit_status)
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # the reader has closed our output
        return RunError.exit_status
    except OSError as error:
        return complain(f"{error.filename or 'input/output'}: {error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):  # torch raises it when memory is exhausted
            raise
        return complain(f"not enough memory for this ({error})")
    return complain("interrupted", status) if status == 130 else status
