"""Records in a file with one JSON object a line, to which every call of the command adds."""

import json
from pathlib import Path
from typing import Any

from servegate.errors import MeasurementError


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All records, oldest first; none without a file.

    Raises
    ------
    MeasurementError
        For a line that is no record, as a killed process may leave one.
    """
    records: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], start=1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise MeasurementError(f"{path}:{number} is no record ({error}); remove the line") from None
    return records


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add a record; the folder is made if it isn't there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(record, separators=(",", ":")) + "\n")
