"""Writes the figures of bench/results/core.json that have a goal into README.md: python3 docs/figures.py."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
COUNTS = "store calls: "  # asserted by tests, so one row tells of them all


def table(figures: list[dict]) -> str:
    lines = ["| figure | value | goal | met |", "|---|---:|---:|---|"]

    def row(figure: str, value: str, goal: str, met: bool | None) -> None:
        says = {True: "yes", False: "**no**", None: ""}[met]
        lines.append(f"| {figure} | {value} | {goal} | {says} |")

    counts = [f for f in figures if f["figure"].startswith(COUNTS)]
    if counts:
        met = sum(f["met"] for f in counts)
        row(
            "store calls for each kind of step",
            f"{met} goals",
            f"{len(counts)} goals",
            met == len(counts),
        )
    others = [f for f in figures if f not in counts]
    for f, after in zip(others, [*others[1:], {"figure": ""}]):
        # What the next row compares itself with belongs here, too.
        if f["goal"] or after["figure"].startswith("the same"):
            unit = f" {f['unit']}" if f["unit"] else ""
            goal = f"{f['goal']}{unit}" if f["goal"] else ""
            row(
                f["figure"],
                f"{f['value']:g}{unit}",
                goal,
                f["met"] if f["goal"] else None,
            )
    return "\n".join(lines)


def main() -> None:
    figures = json.loads((ROOT / "bench/results/core.json").read_text())
    commits = ", ".join(sorted({f["commit"] for f in figures}))
    text = f"{table(figures)}\n\nCommit {commits}; command `{figures[0]['command']}`.\n"
    readme = ROOT / "README.md"
    mark = r"(<!-- figures -->\n).*(<!-- /figures -->)"
    readme.write_text(
        re.sub(mark, lambda m: m[1] + text + m[2], readme.read_text(), flags=re.DOTALL)
    )


if __name__ == "__main__":
    main()
