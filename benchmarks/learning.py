"""One table of training runs: which network learns better, on equal budgets.

python -m benchmarks.learning --runs camvid-encnet,camvid-fcn --seeds 0,1,2
python -m benchmarks.learning --plot scenes

A run is a row of RUNS and a seed. It is trained by `train.py` and scored by `eval.py`
in processes of their own, under WORKDIR/ROW-seedN, and never repeated: the same command
goes on where it was stopped. The table has whatever is finished, mean and spread; the
plot, WORKDIR/se_weight-NAME.png, has the finished runs over the SE-loss's weight.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys

from etils import epath

from encnet_jax import sweep

CAMVID = "configs/camvid.py"
TINY = f"{CAMVID}:tiny"
SCENES = "configs/quickstart.py"
STEPS_450 = ("--config.train.total_steps=450", "--config.train.max_minutes=0")
STEPS_540 = ("--config.train.total_steps=540", "--config.train.max_minutes=0")
HDC = ("--config.model.dilation=hdc_bigger",)
FULL = ("--config.train.max_minutes=0",)
FROM_CIFAR = "--config.init_from={workdir}/cifar-tiny-seed0"

# Row: the configuration, and the flags that differ from it.
RUNS = {
    # CamVid, ResNet-18 from scratch, 450 steps of 8.
    "camvid-encnet": (CAMVID, *STEPS_450),
    "camvid-fcn": (f"{CAMVID}:fcn", *STEPS_450),
    "camvid-paper": (f"{CAMVID}:paper", *STEPS_450),
    "camvid-duc": (f"{CAMVID}:duc", *STEPS_450),
    "camvid-duc-hdc": (f"{CAMVID}:duc", *HDC, *STEPS_450),
    # CamVid, the tiny network, 540 steps of 8.
    "tiny-encnet": (TINY, *STEPS_540),
    "tiny-fcn": (f"{TINY},fcn", *STEPS_540),
    "tiny-paper": (f"{TINY},paper", *STEPS_540),
    "tiny-mean-scale": (
        f"{TINY},paper",
        "--config.model.code_pooling=mean",
        *STEPS_540,
    ),
    "tiny-sum-residual": (f"{TINY},paper", "--config.model.gate=residual", *STEPS_540),
    "tiny-open-gate": (f"{TINY},paper", "--config.model.gate_bias=4.0", *STEPS_540),
    "tiny-se-alone": (TINY, "--config.model.se_gradient=False", *STEPS_540),
    "tiny-undecayed": (TINY, "--config.optim.undecayed=('*/encoding',)", *STEPS_540),
    "tiny-no-aux": (TINY, "--config.model.aux=none", *STEPS_540),
    "tiny-average": (TINY, "--config.model.num_codes=0", *STEPS_540),
    "tiny-head-lr-10": (TINY, "--config.optim.head_lr_multiplier=10.0", *STEPS_540),
    "tiny-duc": (f"{TINY},duc", *STEPS_540),
    "tiny-duc-hdc": (f"{TINY},duc", *HDC, *STEPS_540),
    **{
        f"tiny-crf-{pairwise}": (
            f"{TINY},piecewise_crf",
            f"--config.model.crf.pairwise={pairwise}",
            *STEPS_540,
        )
        for pairwise in ("none", "surrounding", "above_below", "both")
    },
    # The tiny backbone as a classifier of CIFAR-10, 2,000 steps of 128, and CamVid from
    # its seed 0.
    "cifar-tiny": (
        "configs/imagenet.py:small,tiny",
        "--config.data.name=cifar10",
        "--config.data.val_split=test",
        "--config.optim.warmup_steps=100",
        "--config.train.batch_size=128",
        "--config.train.total_steps=2000",
        "--config.train.eval_every_epochs=0",
    ),
    "tiny-encnet-from-cifar": (TINY, FROM_CIFAR, *STEPS_540),
    "tiny-fcn-from-cifar": (f"{TINY},fcn", FROM_CIFAR, *STEPS_540),
    # Generated scenes, 300 steps of 16.
    "scenes-encnet": (SCENES, *FULL),
    "scenes-fcn": (f"{SCENES}:fcn", *FULL),
    "scenes-paper": (f"{SCENES}:paper", *FULL),
    # Beyond the paper: as many steps, of twice the images.
    "scenes-strong": (f"{SCENES}:strong", *FULL),
    "tiny-strong": (f"{TINY},strong", *STEPS_540),
    **{
        f"{name}-se-{weight}": (spec, f"--config.loss.se_weight={weight}", *length)
        for weight in (0.0, 0.1, 0.4, 0.8)
        for name, spec, length in (("scenes", SCENES, FULL), ("tiny", TINY, STEPS_540))
    },
}
SE_DEFAULT = 0.2  # Of the rows scenes-encnet and tiny-encnet.


def run_one(row: str, seed: int, folder: pathlib.Path, data_dir: str) -> None:
    """Trains and scores one run, unless it is done; SystemExit where either fails."""
    workdir = folder / f"{row}-seed{seed}"
    if (workdir / "report.json").exists():
        return
    spec, *changes = RUNS[row]
    own = [f"--config.seed={seed}", f"--config.data.data_dir={data_dir}"]
    own.append("--config.train.num_pictures=0")
    changes = [change.format(workdir=folder) for change in changes]
    for program, flags in (
        ("train.py", ["--config", spec, *changes, *own]),
        ("eval.py", []),
    ):
        command = [sys.executable, program, "--workdir", str(workdir), *flags]
        status = subprocess.run(command).returncode
        if status:
            raise SystemExit(
                f"{row}, seed {seed}: {program} ended with status {status}; what is"
                " finished stays, and the same command goes on"
            )


def finished(folder: pathlib.Path) -> dict[str, list[dict]]:
    """Returns the reports of each row, of however many seeds there are."""
    found: dict[str, list[dict]] = {}
    for path in sorted(folder.glob("*-seed*/report.json")):
        row = re.sub(r"-seed\d+$", "", path.parent.name)
        found.setdefault(row, []).append(json.loads(path.read_text()))
    return found


def table(reports: dict[str, list[dict]], protocol: str = "val/single") -> str:
    """Returns a Markdown table: mean IoU and pixel accuracy in %, of each seed.

    Classifiers are left out.
    """
    lines = [
        "| run | seeds | mean IoU %, of each | mean | spread | pixel accuracy % |",
        "| --- | --: | --- | --: | --: | --: |",
    ]
    for row, found in sorted(reports.items()):
        if f"{protocol}/mean_iou" not in found[0]:
            continue
        ious = [100 * report[f"{protocol}/mean_iou"] for report in found]
        pixels = [100 * report[f"{protocol}/pixel_accuracy"] for report in found]
        spread = f"{statistics.stdev(ious):.1f}" if len(ious) > 1 else ""
        each = ", ".join(f"{iou:.1f}" for iou in ious)
        lines.append(
            f"| {row} | {len(ious)} | {each} | {statistics.mean(ious):.1f} | {spread}"
            f" | {statistics.mean(pixels):.1f} |"
        )
    return "\n".join(lines)


def plot_se_weight(
    reports: dict[str, list[dict]], name: str, folder: pathlib.Path
) -> str:
    """Draws the scores over the weight of the SE-loss, as encnet_jax.sweep does.

    Args:
        reports: see `finished`.
        name: 'scenes' or 'tiny'.
        folder: gets se_weight-NAME.png.

    Returns:
        A line that says where the plot is, or that there is none.
    """
    rows = {w: f"{name}-se-{w}" for w in (0.0, 0.1, SE_DEFAULT, 0.4, 0.8)}
    rows[SE_DEFAULT] = f"{name}-encnet"
    found = [sweep.row(w, reports[row]) for w, row in rows.items() if row in reports]
    if not found:
        return f"no plot: no run of {', '.join(rows.values())} is finished in {folder}"
    path = folder / f"se_weight-{name}.png"
    sweep.plot(epath.Path(path), "loss.se_weight", found)
    return f"plot: {path}"


def main() -> None:
    """Runs what is asked for, then prints the table of all that is finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="", help=f"of: {', '.join(RUNS)}")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--workdir", default="runs/learning")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--plot", choices=("scenes", "tiny"))
    args = parser.parse_args()
    folder = pathlib.Path(args.workdir)
    for seed in map(int, args.seeds.split(",")):
        for row in filter(None, args.runs.split(",")):
            run_one(row, seed, folder, args.data_dir)
    reports = finished(folder)
    print(table(reports))
    if args.plot:
        print(plot_se_weight(reports, args.plot, folder))


if __name__ == "__main__":
    main()
