"""docs/benchmarks.md and its plots, made of the results that are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.measure import OURS

_HEAD = """# Benchmarks

Made by `make bench`. Each number is a median, each ratio is ours to the other's in the same run, in which the programs
took turns: below 1, lamina is faster. *Aim* is what we want the ratio to be at most.
"""


def write_report(results: Path, docs: Path) -> None:
    """Write `docs`/benchmarks.md and `docs`/benchmarks/*.svg from the JSON documents in `results`."""
    documents = [json.loads(path.read_text()) | {"file": path.stem} for path in sorted(results.glob("*.json"))]
    pictures = docs / "benchmarks"
    pictures.mkdir(exist_ok=True)
    parts = [_HEAD]
    for document in documents:
        parts.append(_section(document))
        _plot(document, pictures / f"{document['file']}.svg")
    (docs / "benchmarks.md").write_text("\n".join(parts))


def _section(document: dict[str, Any]) -> str:
    about = document["machine"]
    who = "as root" if about["user"] == "root" else "as an ordinary user"
    lines = [
        f"## {document['name']}, {who}",
        "",
        f"Linux {about['kernel']}, {about['processors']} x {about['processor']}, Python {about['python']},"
        f" {about['date']}.",
        "",
        f"![{document['name']}](benchmarks/{document['file']}.svg)",
        "",
        "| | program | median | ratio | aim |",
        "|---|---|---:|---:|---:|",
    ]
    for comparison in document["comparisons"]:
        ours = _median(next(result for result in comparison["results"] if result["name"] == OURS))
        for number, result in enumerate(comparison["results"]):
            what = comparison["what"] if number == 0 else ""
            median, aim = _median(result), comparison["aims"].get(result["name"])
            ratio = "" if result["name"] == OURS else f"{ours / median:.2f}"
            name = f"{result['name']} ({result['version']})" if result["version"] else result["name"]
            lines.append(
                f"| {what} | {name} | {_amount(median, comparison['unit'])} | {ratio} | {aim if aim else ''} |"
            )
    return "\n".join([*lines, ""])


def _median(result: dict[str, Any]) -> float:
    values = sorted(result["seconds"])
    middle = len(values) // 2
    return float(values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2)


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:.0f} {unit}"


def _plot(document: dict[str, Any], path: Path) -> None:
    """Draw the ratios as bars; the line at 1 is the other program."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "lamina", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot

    bars = []
    for comparison in document["comparisons"]:
        ours = _median(next(result for result in comparison["results"] if result["name"] == OURS))
        for result in comparison["results"]:
            if result["name"] != OURS:
                aim = comparison["aims"].get(result["name"])
                bars.append((f"{comparison['what']} / {result['name']}", ours / _median(result), aim))
    figure, axes = pyplot.subplots(figsize=(8, 0.6 + 0.24 * len(bars)), layout="constrained")
    places = range(len(bars))
    colours = ["#c44e52" if aim and ratio > aim else "#4c72b0" for _, ratio, aim in bars]
    axes.barh(places, [ratio for _, ratio, _ in bars], color=colours)
    aims = [(place, aim) for place, (_, _, aim) in enumerate(bars) if aim]
    axes.plot([aim for _, aim in aims], [place for place, _ in aims], "k|", markersize=9)
    axes.axvline(1, color="black", linewidth=0.6)
    axes.set_yticks(places, [name for name, _, _ in bars])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("ratio of lamina's time to the other's (left of the line: faster); the mark is the aim")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
