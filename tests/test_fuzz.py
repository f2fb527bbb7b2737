"""A small sample of the fuzz of every reader; the benchmark has thousands of files."""

from benchmarks.fuzz.escapes import escapes
from encnet_jax.data.sources import decode


def test_only_one_line_errors_escape(tmp_path):
    outcomes = list(escapes(240, 5, tmp_path, leave_out=(".pth",)))
    seen = {kind for kind, _, _ in outcomes}
    assert seen == {
        *("images", "masks", ".npz", ".safetensors", ".params", "archives", "JSON"),
        *("hub config", "hub weights", "config", "report", "scores", "starts"),
        *("refine", "plans", "score", "events", "temperature"),
        *("annotations", "MATLAB"),
    }
    assert {outcome for _, outcome, _ in outcomes} == {"read", "refused"}


def test_unexpected_exceptions_are_reported_by_the_fuzzer(tmp_path, monkeypatch):
    def broken(content, file, rules):
        raise KeyError("tag 259")

    monkeypatch.setattr(decode, "decode_image", broken)
    outcomes = escapes(12, 0, tmp_path, leave_out=(".pth",))
    assert "KeyError: 'tag 259'" in {outcome for _, outcome, _ in outcomes}
