"""Profiles a few training steps, and measures how long the device was idle."""

from collections.abc import Iterable

import jax
from etils import epath

from encnet_jax import storage
from encnet_jax.errors import UserError
from encnet_jax.train.logbook import Logbook

WARM_UP = 10  # Steps before the profile: the first one compiles.
TRACED = 10  # Steps of the profile.


class StepTracer:
    """A training-loop hook that profiles ten steps and prints the device's idle time.

    The profile is written to a subfolder of WORKDIR/plugins/profile: files for
    TensorBoard, and perfetto_trace.json.gz for ui.perfetto.dev.
    """

    def __init__(self, profile: bool, workdir: str, logbook: Logbook):
        """Creates the hook; the profile starts later.

        Args:
            profile: whether to profile; if False, the hook does nothing.
            workdir: folder of the run.
            logbook: prints the result.

        Raises:
            UserError: `profile` is True and the folder is not local.
        """
        self._profile = profile and jax.process_index() == 0
        self._workdir, self._logbook = workdir, logbook
        self._steps, self._tracing = 0, False
        if profile and storage.is_remote(workdir):
            raise UserError(
                f"profile=True requires a local --workdir, but --workdir is {workdir}:"
                " choose a local folder, or set profile=False"
            )

    def __enter__(self) -> "StepTracer":
        return self

    def __exit__(self, *exception) -> None:
        if self._tracing:
            jax.profiler.stop_trace()

    def __call__(self, step: int, state, metrics: dict) -> None:
        """Starts or ends the profile if due after this step."""
        self._steps += 1
        if not self._profile:
            return
        if self._steps == WARM_UP:
            jax.block_until_ready(metrics)
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # Python tracing slows down the loop.
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


# Lines of a device's plane whose events contain other events and the gaps between them.
_SUMMARIES = ("Steps", "XLA Modules", "Framework", "Source", "XLA TraceMe")


def device_intervals(data) -> list[tuple[float, float]]:
    """Returns (start, end) of every operation of the first device, in nanoseconds.

    Args:
        data: a jax.profiler.ProfileData.
    """
    # Operations of an accelerator are in a plane named '/device:...'; operations of a
    # CPU are in lines that are named after threads of XLA's CPU client.
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
    """Returns the fraction of time in which no operation ran.

    The total time is that from the first start to the last end of an operation.

    Args:
        intervals: (start, end) of every operation, in any unit.

    Raises:
        ValueError: there is no interval.
    """
    ordered = sorted(intervals)
    if not ordered:
        raise ValueError("the profile contains no operation that ran on a device")
    first = reached = ordered[0][0]
    busy = 0.0
    for start, end in ordered:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return 1 - busy / (reached - first)
