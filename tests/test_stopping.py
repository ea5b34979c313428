"""The stopping rule on simulated traces: how often it stops a fit that still improves, and how soon one that does not.

A trace is the held-out ELBO of 200 rows after every epoch: a level of each row (standard deviation 20 nats), a trend
that each row follows at a speed of its own (0 to 2), noise of each row and epoch (1 nat) and noise that all rows of an
epoch share (0.1 nats), which is what training's own randomness looks like.
"""

import functools
import math

import numpy as np
import pytest
from scipy import stats

from elbokit._stopping import Stopping, Watch, student_quantile

_ROWS, _EPOCHS, _TRACES = 200, 200, 400


def traces(trend, correlation=0.0, shared=0.1):
    """Traces of the scores, (epochs, rows) each."""
    for seed in range(_TRACES):
        random = np.random.default_rng(seed)
        speed = random.uniform(0, 2, _ROWS)
        common = shared * random.standard_normal(_EPOCHS)
        for t in range(1, _EPOCHS):
            common[t] = correlation * common[t - 1] + math.sqrt(1 - correlation**2) * common[t]
        # Drawn with the expectation over rows exactly the trend's.
        speed += 1 - speed.mean()
        noise = random.standard_normal((_EPOCHS, _ROWS))
        yield 20 * random.standard_normal(_ROWS) + trend[:, None] * speed + common[:, None] + noise


def stopped_by_test(scores, stopping):
    """The number of epochs after which the test stops, or None."""
    watch, means = Watch(stopping, scores.shape[1]), []
    for epoch, row in enumerate(scores, 1):
        means.append(float(row.mean()))
        if watch.see(row, means):
            return epoch
    return None


def stopped_by_patience(scores, patience):
    """The same by plain patience."""
    best, at = -np.inf, 0
    for epoch, mean in enumerate(scores.mean(axis=1), 1):
        if mean > best:
            best, at = mean, epoch
        elif epoch - at >= patience:
            return epoch
    return None


@functools.cache
def measured(kind, correlation=0.0):
    """(share of traces that the test stopped, that patience of 10 stopped, and both rules' median epochs)."""
    epoch = np.arange(_EPOCHS)
    trend = {
        # Just what a window must bring, forever: the hardest trace on which a stop is an error.
        "linear": 0.01 * epoch,
        # Twice that.
        "steeper": 0.02 * epoch,
        "flat": 0.0 * epoch,
        "overfitting": -0.005 * epoch,
    }[kind]
    by_test, by_patience = [], []
    for scores in traces(trend, correlation):
        by_test.append(stopped_by_test(scores, Stopping(improvement=0.1, window=10, alpha=0.05)))
        by_patience.append(stopped_by_patience(scores, 10))
    shares = [np.mean([stop is not None for stop in stops]) for stops in (by_test, by_patience)]
    medians = [np.median([stop or np.inf for stop in stops]) for stops in (by_test, by_patience)]
    return (*shares, *medians)


@pytest.mark.parametrize("kind", ["linear", "steeper"])
@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_a_trace_that_improves_enough_is_stopped_at_most_as_often_as_stated(kind, correlation):
    stopped, by_patience, *_ = measured(kind, correlation)
    # α is promised for independent epochs; for noise of correlation 0.5 the docs say what was measured.
    assert stopped <= (0.05 if correlation == 0 else 0.08)
    # Plain patience stops nearly all of the same traces.
    assert by_patience > 0.9


def test_flat_and_falling_traces_are_stopped():
    for kind, most in (("flat", 80), ("overfitting", 30)):
        for correlation in (0.0, 0.5):
            stopped, _, median, _ = measured(kind, correlation)
            assert stopped >= 0.99
            assert median <= most


def test_a_test_is_taken_at_the_end_of_whole_windows_alone():
    stopping = Stopping(improvement=100.0, window=4)
    scores = np.zeros((20, 30)) + np.arange(30)
    # Nothing changes at all: the first test, after two windows, stops.
    assert stopped_by_test(scores, stopping) == 8
    rising = scores + 30.0 * np.arange(20)[:, None]
    assert stopped_by_test(rising, stopping) is None


def test_the_statistic_is_its_formula():
    random = np.random.default_rng(0)
    window, rows = 5, 40
    for trial in range(200):
        scores = random.standard_normal((2 * window, rows)) + 0.1 * random.standard_normal((2 * window, 1))
        differences = scores[window:].mean(axis=0) - scores[:window].mean(axis=0)
        means = scores.mean(axis=1)
        spans = means[:window], means[window:]
        steps = np.concatenate([np.diff(span) for span in spans])
        halves = np.array([span[3:].mean() - span[1:3].mean() for span in spans])
        noise = max(2 / window * (steps**2).mean() / 2, 2 / 2 * (halves**2).mean() / 2)
        variance = differences.var(ddof=1) / rows + noise
        level = 1 - 0.05 * 6 / np.pi**2
        bound = differences.mean() + student_quantile(level, 2 * (window - 1) * 2 / 3) * np.sqrt(variance)
        for off in (-1e-9, 1e-9):
            stopping = Stopping(improvement=bound + off, window=window)
            assert (stopped_by_test(scores, stopping) is not None) == (off > 0), trial


def test_a_span_is_a_quarter_of_the_epochs_in_whole_windows_up_to_eight_of_them():
    """A trace that only ever loses what a span of one window could not tell from its noise."""
    window, epochs = 2, 200
    shared = np.tile([0.5, -0.5, -0.5, 0.5], epochs // 4)[:, None]
    scores = shared - 0.02 * np.arange(epochs)[:, None] + np.zeros((epochs, 30))
    for improvement, stop in ((0.3, None), (10.0, 4)):
        expected = plainly_stopped(scores, window, improvement)
        assert stopped_by_test(scores, Stopping(improvement, window)) == expected
        assert stop is None or expected == stop
    assert plainly_stopped(scores, window, 0.3) > 16


def plainly_stopped(scores, window, improvement):
    """The rule, told again from the whole trace."""
    for test in range(1, len(scores) // window):
        seen = scores[: (test + 1) * window]
        span = min(max((test + 1) // 4, 1), 8)
        n = span * window
        last, before = seen[-n:], seen[-2 * n : -n]
        differences = last.mean(axis=0) - before.mean(axis=0)
        variances = []
        for length in (1, window // 2):
            steps = []
            for part in (last, before):
                means = part.mean(axis=1)[n % length :].reshape(-1, length).mean(axis=1)
                steps += list(np.diff(means))
            variances.append(2 / (n // length) * np.mean(np.square(steps)) / 2)
        s = np.sqrt(differences.var(ddof=1) / len(differences) + max(variances))
        t = student_quantile(1 - 0.05 * 6 / (np.pi * test) ** 2, 2 * (n - 1) * 2 / 3)
        if differences.mean() + t * s < span * improvement:
            return len(seen)
    return None


def test_rows_that_left_the_range_put_the_test_off():
    stopping = Stopping(improvement=100.0, window=3)
    scores = np.zeros((12, 5))
    scores[4, 2] = -np.inf
    # Windows 2 and 3 hold or follow the bad epoch; the fourth is compared with the third.
    assert stopped_by_test(scores, stopping) == 12
    assert stopped_by_test(np.zeros((12, 1)), stopping) is None


@pytest.mark.parametrize("freedom", [5.0, 12.0, 40.0])
def test_students_quantile_is_never_far_below_the_true_one(freedom):
    for level in (0.95, 0.99, 0.999, 0.9999):
        true = stats.t.ppf(level, freedom)
        assert student_quantile(level, freedom) == pytest.approx(true, rel=0.12 if freedom == 5.0 else 0.02)
