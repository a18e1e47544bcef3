"""Which runs of a grid are finished, so that a grid that was stopped goes on where it was."""

import json
from pathlib import Path

from flows.comparison import Row
from flows.grids import Cell, Grid
from flows.outside_inputs import OutsideInputs
from tasks.json_lines import add_line, read_lines


class Finished:
    """Rows of finished runs, kept by what made them.

    That is grid, setting, parameters, commit, and the bytes of what git does not hold.
    """

    def __init__(self, path: Path, inputs: OutsideInputs) -> None:
        self._path, self._inputs = path, inputs
        self._rows = {item["key"]: item["row"] for item in read_lines(path, {"key", "row"})}

    def _key(self, cell: Cell, grid: Grid) -> str:
        asked = [cell.measure, *grid.also.items()]
        told = [self._inputs.commit, cell.setting, cell.seed, asked, list(cell.keys.items())]
        digests = self._inputs.digests(cell.params)
        return json.dumps([*told, digests] if digests else told)

    def get(self, cell: Cell, grid: Grid) -> Row | None:
        """The row of a run that was finished before."""
        row: Row | None = self._rows.get(self._key(cell, grid))
        return row

    def add(self, cell: Cell, grid: Grid, row: Row) -> None:
        """Keep a row."""
        add_line(self._path, {"key": self._key(cell, grid), "row": row})
