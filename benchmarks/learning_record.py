"""Results of benchmarks.learning that outlive the runs: learning_results.json.

Only what the tables need is recorded, and where each result comes from: the commit, the
device, the versions and the date.
"""

import json
import pathlib

Reports = dict[str, dict[int, dict]]  # Row -> seed -> report.json.

RECORD = pathlib.Path(__file__).with_name("learning_results.json")
_ORIGIN = ("step", "images", "commit", "devices", "versions", "date")


def read(path: pathlib.Path = RECORD) -> Reports:
    """Returns the recorded reports, each with fewer members than report.json."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text())
    return {
        row: {int(seed): report for seed, report in seeds.items()}
        for row, seeds in rows.items()
    }


def merged(recorded: Reports, finished: Reports) -> Reports:
    """Returns both; a finished run replaces the recorded one of its row and seed."""
    rows = sorted({*recorded, *finished})
    both = {row: recorded.get(row, {}) | finished.get(row, {}) for row in rows}
    return {row: dict(sorted(seeds.items())) for row, seeds in both.items()}


def write(reports: Reports, path: pathlib.Path = RECORD) -> None:
    """Replaces the record by the reports, one run on each line."""
    rows = []
    for row, seeds in reports.items():
        runs = [f'  "{seed}": {json.dumps(_trimmed(seeds[seed]))}' for seed in seeds]
        rows.append(f'"{row}": {{\n' + ",\n".join(runs) + "\n}")
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n")


def _trimmed(report: dict) -> dict:
    kept = {
        key: round(value, 6)
        for key, value in report.items()
        if key.count("/") == 2  # 'val/single/mean_iou'.
    }
    kept |= {name: report[name] for name in _ORIGIN if name in report}
    if "iou" in report:
        kept["iou"] = _rounded(report["iou"])
    presence = report.get("quality", {}).get("presence_ap_classes")
    if presence:
        kept["quality"] = {"presence_ap_classes": _rounded(presence)}
    return kept


def _rounded(classes: dict[str, float | None]) -> dict[str, float | None]:
    return {
        name: None if value is None else round(value, 6)
        for name, value in classes.items()
    }
