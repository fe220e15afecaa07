"""Run docs/tour.ipynb from top to bottom; as a script, keep its outputs: ``python tests/docs/tour.py``."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOUR = ROOT / "docs" / "tour.ipynb"


def executed():
    """The notebook with the outputs of a run by this Python, in a kernel of its own."""
    import nbclient
    import nbformat
    from jupyter_client import AsyncKernelManager

    notebook = nbformat.read(TOUR, as_version=4)
    manager = AsyncKernelManager()
    manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    client = nbclient.NotebookClient(notebook, timeout=600, km=manager, coalesce_streams=True)
    return client.execute(env=os.environ | environment)


if __name__ == "__main__":
    import nbformat

    notebook = executed()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
    nbformat.write(notebook, TOUR)
