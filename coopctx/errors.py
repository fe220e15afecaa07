"""The errors a user meets. Each message is one clear line; the command line prints it without a traceback."""


class CoopctxError(Exception):
    """An error with a message that can be shown to the user as it is; the base of all others."""

    exit_status = 1


class UsageError(CoopctxError):
    """The request is wrong (an unknown name, an impossible value): exit status 2."""

    exit_status = 2


class RunError(CoopctxError):
    """The request could not be carried out (disk, damaged file, device): exit status 1."""


class Interrupted(CoopctxError):
    """The user pressed Ctrl-C: exit status 130, the convention of shells."""

    exit_status = 130
