"""The errors a user meets. Each message is one clear line; the command line prints it without a traceback."""


class CoopctxError(Exception):
    """Anything coopctx refuses or fails at, with a message fit to be shown as it stands."""

    exit_status = 1


class UsageError(CoopctxError):
    """What was asked for is wrong (an unknown name, an impossible value): exit status 2."""

    exit_status = 2


class RunError(CoopctxError):
    """What was asked for could not be carried out (disk, damaged file, device): exit status 1."""


class Interrupted(CoopctxError):
    """The user stopped it (Ctrl-C): exit status 130, as shells have it."""

    exit_status = 130
