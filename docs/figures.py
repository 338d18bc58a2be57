"""Writes the figures of bench/results/core.json that have a goal into README.md: python3 docs/figures.py."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    figures = json.loads((ROOT / "bench/results/core.json").read_text())
    lines = ["| figure | value | goal | met |", "|---|---:|---:|---|"]
    for f in figures:
        if f["goal"]:
            unit = f" {f['unit']}" if f["unit"] else ""
            lines.append(
                f"| {f['figure']} | {f['value']:g}{unit} | {f['goal']}{unit} | {'yes' if f['met'] else '**no**'} |"
            )
    commits = ", ".join(sorted({f["commit"] for f in figures}))
    table = "\n".join(
        [*lines, "", f"Commit {commits}; command `{figures[0]['command']}`."]
    )
    readme = ROOT / "README.md"
    text = readme.read_text()
    mark = r"(<!-- figures -->\n).*(<!-- /figures -->)"
    readme.write_text(
        re.sub(mark, lambda m: f"{m[1]}{table}\n{m[2]}", text, flags=re.DOTALL)
    )


if __name__ == "__main__":
    main()
