"""Rows of benchmarks.learning: configurations, and pairs to compare."""

CAMVID = "configs/camvid.py"
TINY = f"{CAMVID}:tiny"
SCENES = "configs/quickstart.py"
STEPS_450 = ("--config.train.total_steps=450", "--config.train.max_minutes=0")
STEPS_540 = ("--config.train.total_steps=540", "--config.train.max_minutes=0")
HDC = ("--config.model.dilation=hdc_bigger",)
FULL = ("--config.train.max_minutes=0",)
COARSE = "{workdir}/tiny-crf-above_below-seed0"
FROM_CIFAR = "--config.init_from={workdir}/cifar-tiny-seed0"
FROM_MINI = "--config.init_from={workdir}/mini-tiny-seed0"

MINI_IMAGES = "--config.data.folder.images={data_dir}/mini_imagenet/{{split}}"
NYU = "configs/nyuv2.py:half,folder"
NYU_TINY = f"{NYU},tiny"
NYU_900 = (
    "--config.data.folder.images={data_dir}/NYUv2/{{split}}/images",
    "--config.data.folder.masks={data_dir}/NYUv2/{{split}}/masks",
    "--config.train.total_steps=900",
    "--config.train.eval_every_epochs=0",
    "--config.train.checkpoint_every_steps=150",
    "--config.eval.small_object_px=1024",
)
# A narrow stem and narrow heads, as in configs/camvid.py.
RESNET18 = (
    "--config.model.stem_width=32",
    "--config.model.head_channels=128",
    "--config.model.aux_channels=64",
    "--config.init_from={workdir}/mini-resnet18-seed0",
)
NO_SE = "--config.model.se_loss=False"
# The rows of Table 3 of the piecewise CRF's paper, refined by a dense CRF, and `early`:
# refined by layers on early features.
CRF = {
    "plain": ("piecewise_crf", "plain", "none", "none"),
    "early": ("piecewise_crf,refine", "plain", "none", "none"),
    "pyramid": ("piecewise_crf", "pyramid", "none", "none"),
    "scales": ("piecewise_crf", "scales", "none", "none"),
    "refined": ("piecewise_crf", "scales", "none", "dense"),
    "pairwise": ("piecewise_crf", "scales", "both", "dense"),
}


def nyu_rows() -> dict[str, tuple[str, ...]]:
    """Returns the rows on NYUv2: 39 classes, half size, 900 steps of 16."""
    heads = {
        "fcn": ("fcn",),
        "encnet-no-se": ("encnet", NO_SE),
        "encnet": ("encnet",),
        "pspnet": ("pspnet",),
        "deeplabv3": ("deeplabv3",),
        "duc": ("duc",),
        "duc-hdc": ("duc", *HDC),
    }
    rows = {}
    for name, (head, *own) in heads.items():
        tiny = (f"{NYU_TINY},{head}", *own, *NYU_900)
        rows[f"nyu-{name}"] = tiny
        rows[f"nyu-{name}-from-mini"] = (*tiny, FROM_MINI)
        spec = f"{NYU},resnet18,{head}"
        rows[f"nyu18-{name}-from-mini"] = (spec, *own, *NYU_900, *RESNET18)
    for weight in (0.1, 0.4, 0.8):  # 0 and 0.2 are the rows encnet-no-se and encnet.
        own = (f"--config.loss.se_weight={weight}", FROM_MINI)
        rows[f"nyu-se-{weight}-from-mini"] = (NYU_TINY, *own, *NYU_900)
    for codes in (0, 8, 16, 64):  # 32 is the row encnet.
        own = (f"--config.model.num_codes={codes}", FROM_MINI)
        rows[f"nyu-codes-{codes}-from-mini"] = (NYU_TINY, *own, *NYU_900)
    for name, (words, features, pairwise, refine) in CRF.items():
        rows[f"nyu-crf-{name}-from-mini"] = (
            f"{NYU_TINY},{words}",
            f"--config.model.crf.features={features}",
            f"--config.model.crf.pairwise={pairwise}",
            f"--config.eval.refine={refine}",
            *NYU_900,
            FROM_MINI,
        )
    return rows


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
    # Refined by early features: with the rest, and after it, from its seed 0.
    **{
        f"tiny-crf-{word}": (
            f"{TINY},piecewise_crf,{word}",
            "--config.model.crf.pairwise=above_below",
            *init_from,
            *STEPS_540,
        )
        for word, init_from in (
            ("refine", ()),
            ("refine_only", (f"--config.init_from={COARSE}",)),
        )
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
    # Backbones as classifiers of Mini-ImageNet, 3,000 steps of 128, and from seed 0 of
    # them CamVid and NYUv2.
    "mini-tiny": ("configs/imagenet.py:tiny,mini", MINI_IMAGES),
    "mini-resnet18": (
        "configs/imagenet.py:resnet18,mini",
        MINI_IMAGES,
        RESNET18[0],
    ),
    "tiny-encnet-from-mini": (TINY, FROM_MINI, *STEPS_540),
    "tiny-fcn-from-mini": (f"{TINY},fcn", FROM_MINI, *STEPS_540),
    **nyu_rows(),
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


def se_rows(base: str, end: str = "", without: str = "se-0.0") -> dict[float, str]:
    """Returns the row of each weight of the SE-loss; 0.2 is the default."""
    rows = {weight: f"{base}-se-{weight}{end}" for weight in (0.1, 0.4, 0.8)}
    rows |= {0.0: f"{base}-{without}{end}", 0.2: f"{base}-encnet{end}"}
    return dict(sorted(rows.items()))


# Plot: the field, and the row of each of its values. Figure 5 of the paper.
SWEEPS: dict[str, tuple[str, dict[float, str]]] = {
    "scenes": ("loss.se_weight", se_rows("scenes")),
    "tiny": ("loss.se_weight", se_rows("tiny")),
    "nyu": ("loss.se_weight", se_rows("nyu", "-from-mini", "encnet-no-se")),
    "nyu-codes": (
        "model.num_codes",
        {
            codes: f"nyu-{'encnet' if codes == 32 else f'codes-{codes}'}-from-mini"
            for codes in (0, 8, 16, 32, 64)
        },
    ),
}

# Row and baseline: equal steps on the same data; pre-training comes on top.
PAIRS = (
    ("scenes-encnet", "scenes-fcn"),
    ("camvid-encnet", "camvid-fcn"),
    *(
        (f"tiny-encnet{origin}", f"tiny-fcn{origin}")
        for origin in ("", "-from-cifar", "-from-mini")
    ),
    *(
        (f"{backbone}-encnet{origin}", f"{backbone}-{baseline}{origin}")
        for backbone, origin in (
            ("nyu", ""),
            ("nyu", "-from-mini"),
            ("nyu18", "-from-mini"),
        )
        for baseline in ("fcn", "encnet-no-se", "pspnet", "deeplabv3", "duc")
    ),
    *((f"nyu-{x}-from-mini", f"nyu-{x}") for x in ("fcn", "encnet-no-se", "encnet")),
)
