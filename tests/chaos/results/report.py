"""Writes what was measured into docs/reliability.md, and nothing else there."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

DOCUMENT = Path("docs/reliability.md")
BEGIN, END = "<!-- figures: written by `make chaos-all` -->", "<!-- end of figures -->"
COLUMNS = {
    "seed": "Seed",
    "seconds": "Seconds",
    "finished": "Finished",
    "canceled": "Canceled",
    "faults": "Faults",
    "reaped": "Workers lost",
    "resumed": "Videos made by several workers",
    "waste": "Rendered twice",
    "requests_repeated": "Requests repeated",
    "messages": "Messages",
    "message_tries": "Tries",
    "findings": "Findings",
}


def write(results: Path) -> None:
    """results: a folder of the JSON files of all runs."""
    read = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    campaigns = [result for name, result in read.items() if name.startswith("seed-")]
    mutations = [result for name, result in read.items() if name.startswith("mutation-")]
    trials = [figure for name, result in read.items() if name.startswith("trial-") for figure in result]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    lines = [
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine}; everything on this one machine, the database too.",
        "",
        *_table(list(COLUMNS.values()), [[_cell(result[name]) for name in COLUMNS] for result in campaigns]),
        "",
        *_table(
            ["Taken away", "Findings of the campaign", "One of them"],
            [
                [result["mutation"], str(len(result["findings"])), (result["findings"] or ["none"])[0]]
                for result in mutations
            ],
        ),
        "",
        *_table(
            ["Test", "What", "Bound", "Measured", ""],
            [
                [
                    figure["test"],
                    figure["what"],
                    figure["bound"],
                    figure["measured"],
                    "" if figure["passed"] else "**missed**",
                ]
                for figure in sorted(trials, key=lambda figure: int(figure["test"][1:]))
            ],
        ),
    ]
    text = DOCUMENT.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    DOCUMENT.write_text(f"{before}\n" + "\n".join(lines) + f"\n{after}")


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2%}"
    return str(len(value)) if isinstance(value, list) else str(value)
