"""A profile of a few training steps, and how long the device idled in them."""

from collections.abc import Iterable

import jax
from etils import epath

from encnet_jax import storage
from encnet_jax.errors import UserError

WARM_UP = 10  # Steps before the profile; the first compile, the second may still wait.
TRACED = 10  # Steps in it.


class StepTracer:
    """Profiles steps of a run into WORKDIR/plugins/profile, where TensorBoard looks.

    The folder also gets a perfetto_trace.json.gz for ui.perfetto.dev.
    """

    def __init__(self, wanted: bool, workdir: str, logbook):
        """Takes config.profile, the folder of the run and its logbook.

        Raises:
            UserError: the folder is not local.
        """
        self._wanted = wanted and jax.process_index() == 0
        self._workdir, self._logbook = workdir, logbook
        self._steps, self._tracing = 0, False
        if wanted and storage.is_remote(workdir):
            raise UserError(f"config.profile wanted a local --workdir, found {workdir}")

    def __enter__(self) -> "StepTracer":
        return self

    def __exit__(self, *exception) -> None:
        if self._tracing:
            jax.profiler.stop_trace()

    def __call__(self, step: int, state, metrics: dict) -> None:
        """Starts or ends the profile when due; metrics are those of the newest step."""
        self._steps += 1
        if not self._wanted:
            return
        if self._steps == WARM_UP:
            jax.block_until_ready(metrics)
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # Its cost would be taken for the loop's.
            jax.profiler.start_trace(
                self._workdir, create_perfetto_trace=True, profiler_options=options
            )
            self._tracing = True
        elif self._steps == WARM_UP + TRACED:
            jax.block_until_ready(metrics)
            jax.profiler.stop_trace()
            self._tracing = False
            self._logbook.note(self._summary())

    def _summary(self) -> str:
        folder = epath.Path(self._workdir) / "plugins" / "profile"
        trace = max(folder.glob("*/*.xplane.pb"), key=lambda path: path.stat().mtime)
        data = jax.profiler.ProfileData.from_file(str(trace))
        share = idle_share(device_intervals(data))
        return f"{TRACED} steps traced, device idle {100 * share:.1f} %: {trace.parent}"


# Lines of a device's plane whose events span others, and the gaps between them.
_SUMMARIES = ("Steps", "XLA Modules", "Framework", "Source", "XLA TraceMe")


def device_intervals(data) -> list[tuple[float, float]]:
    """Returns (start, end) in ns of whatever the first device ran.

    Args:
        data: a jax.profiler.ProfileData; an accelerator has a plane of its own, the CPU
            backend runs on threads named after it.
    """
    devices = [plane for plane in data.planes if plane.name.startswith("/device:")]
    if devices:
        plane = min(devices, key=lambda plane: plane.name)
        lines = [x for x in plane.lines if not x.name.startswith(_SUMMARIES)]
    else:
        lines = [
            line
            for plane in data.planes
            for line in plane.lines
            if line.name.startswith(("tf_XLAPjRtCpuClient", "tf_XLAEigen"))
        ]
    return [
        (event.start_ns, event.start_ns + event.duration_ns)
        for line in lines
        for event in line.events
    ]


def idle_share(intervals: Iterable[tuple[float, float]]) -> float:
    """Returns the share of the time from first start to last end that none covers.

    Raises:
        ValueError: there is no interval.
    """
    ordered = sorted(intervals)
    if not ordered:
        raise ValueError("the profile holds nothing that ran on a device")
    first = reached = ordered[0][0]
    busy = 0.0
    for start, end in ordered:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return 1 - busy / (reached - first)
