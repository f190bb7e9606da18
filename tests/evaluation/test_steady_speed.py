"""The speed of a run is that of its usual line of the log."""

from semart_hf.evaluation.cost import steady_speed


def test_the_median_forgets_what_happens_once():
    speeds = (12.0, 64.0, 66.0, 65.0, 3.0, 500.0, 65.0)
    log = [{"step": at, "loss": 1.0, "rows_per_second": speed} for at, speed in enumerate(speeds)]
    log.insert(3, {"step": 3, "eval_loss": 1.0, "eval_runtime": 5.0})
    assert steady_speed(log) == 65.0


def test_a_run_without_a_line_has_no_speed():
    assert steady_speed([{"step": 2, "train_runtime": 3.0}]) is None
