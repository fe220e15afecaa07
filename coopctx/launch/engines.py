"""The choice of an engine, which runs several jobs at a time: processes of this machine, or tasks of a Ray cluster."""

from coopctx.errors import RunError, unknown
from coopctx.launch.job import Engine
from coopctx.launch.local import Processes

NAMES = ("local", "ray")


def engine(name: str) -> Engine:
    """The engine "local" or "ray"; UsageError for another name, RunError if Ray is not installed."""
    if name not in NAMES:
        raise unknown("engine", name, NAMES)
    if name == "local":
        return Processes()
    try:
        from coopctx.launch.on_ray import RayTasks
    except ImportError as error:
        raise RunError("--engine ray needs Ray, which is not installed here: in a clone: pip install '.[ray]'") from error
    return RayTasks()
