"""An engine of Papermill that runs the cells of a notebook in this process: a kernel takes a second to start."""

from __future__ import annotations

from typing import Any

import pytest
from nbformat.v4 import new_output
from papermill.engines import Engine, NotebookExecutionManager


class InProcess(Engine):  # type: ignore[misc] # papermill has no types
    """Runs every cell until one raises, and keeps what the cells display."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: NotebookExecutionManager, kernel_name: str, **options: Any) -> None:
        """Run the cells in one namespace."""
        names: dict[str, Any] = {"__name__": "__main__"}
        for place, cell in enumerate(nb_man.nb.cells):
            if cell.cell_type == "code" and not _is_run(nb_man, cell, place, names):
                return


def _is_run(nb_man: NotebookExecutionManager, cell: Any, place: int, names: dict[str, Any]) -> bool:
    def display(bundle: dict[str, Any], raw: bool) -> None:
        cell.outputs.append(new_output("display_data", bundle))

    nb_man.cell_start(cell, place)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("IPython.display.display", display)
            exec(compile(cell.source, f"cell {place}", "exec"), names)
    except Exception as error:
        cell.outputs.append(new_output("error", ename=type(error).__name__, evalue=str(error), traceback=[]))
        nb_man.cell_exception(cell, place)
        return False
    finally:
        nb_man.cell_complete(cell, place)
    return True
