"""The time of a run by parts, its starts, and the schedule of checkpoints."""

import time

import pytest

from encnet_jax.train import starts
from encnet_jax.train.account import PARTS, TimeAccount, process_age_s, timed_input
from encnet_jax.train.save_schedule import SaveSchedule
from encnet_jax.train.starts import Start


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def nonzero(account):
    return {name: value for name, value in account.seconds().items() if value}


def test_every_moment_is_counted_once():
    clock = Clock()
    account = TimeAccount(clock, age_s=2.5)
    clock.now += 4
    account.switch("steps")
    clock.now += 10
    with account.doing("evaluation"):
        clock.now += 3
        with account.doing("checkpoints"):
            clock.now += 0.5
        clock.now += 1
    clock.now += 7
    assert nonzero(account) == {
        "start-up": 6.5,
        "steps": 17,
        "evaluation": 4,
        "checkpoints": 0.5,
    }
    assert tuple(account.seconds()) == PARTS
    assert sum(account.seconds().values()) == 2.5 + clock.now - 100


def test_an_error_ends_its_part():
    clock = Clock()
    account = TimeAccount(clock)
    with pytest.raises(OSError), account.doing("checkpoints"):
        clock.now += 2
        raise OSError
    clock.now += 1
    assert nonzero(account) == {"checkpoints": 2, "start-up": 1}


def test_input_counts_while_the_device_is_idle():
    clock, busy = Clock(), [True, False, True]
    account = TimeAccount(clock)

    def batches():
        for seconds in (1, 2, 4):
            clock.now += seconds
            yield {"wait": seconds}
        clock.now += 8

    for _ in timed_input(batches(), account, lambda: not busy.pop(0)):
        clock.now += 100
    # The second wait alone, and the last one, after which nothing was to be done.
    assert nonzero(account) == {"input": 2 + 8, "steps": 300 + 1 + 4}


def test_the_age_of_a_process_grows_with_time():
    start = time.monotonic()
    before = process_age_s()
    since = time.monotonic()
    time.sleep(0.1)
    until = time.monotonic()
    grown = process_age_s() - before
    end = time.monotonic()
    assert before > 0 and until - since <= grown + 1e-3 <= end - start + 2e-3


def seconds(**parts):
    return dict.fromkeys(PARTS, 0.0) | parts


def test_steps_after_the_checkpoint_are_lost():
    # 20 steps in 10 s; 8 of them after the checkpoint at step 42.
    before = [Start(30, 50, seconds(steps=10.0, evaluation=3.0), 0.0)]
    assert starts.lost_seconds(before, 42) == pytest.approx(4)
    assert starts.lost_seconds(before, 50) == 0
    # Its one checkpoint was damaged: the next start began before it.
    assert starts.lost_seconds(before, 10) == pytest.approx(10)
    assert starts.lost_seconds([], 10) == 0
    assert starts.lost_seconds([Start(30, 30, seconds(), 0.0)], 30) == 0


def test_goodput_excludes_lost_steps(tmp_path):
    two = [
        Start(0, 50, {**seconds(steps=20.0), "start-up": 10.0}, 0.0),
        Start(40, 100, {**seconds(steps=24.0, input=1.0), "start-up": 5.0}, 4.0),
    ]
    assert starts.goodput(two) == pytest.approx((20 + 24 - 4) / 60)
    first, second = starts.describe(two)
    assert first.startswith("30.0 s: start-up 5.0, compiling 0.0, steps 24.0, input")
    assert second.startswith("2 starts, 60.0 s: 4.0 s of steps lost")
    assert second.endswith("goodput 66.7 %")
    assert len(starts.describe(two[:1])) == 1
    assert starts.read(str(tmp_path)) == []
    starts.write(str(tmp_path), two)
    assert starts.read(str(tmp_path)) == two
    (tmp_path / starts.FILE_NAME).write_text('{"starts": [{"from_st')
    assert starts.read(str(tmp_path)) == []


def test_saves_by_steps_and_by_time():
    clock, asked = Clock(), []

    def agree(answer):
        asked.append(answer)
        return answer

    schedule = SaveSchedule(100, 60.0, ask_every_steps=10, agree=agree, clock=clock)
    due = []
    for step in range(1, 121):
        clock.now += 1
        if schedule.due(step):
            due.append(step)
            schedule.saved()
    # A minute after the start, at a multiple of 10, and at step 100 without a question.
    assert due == [60, 100] and len(asked) == 11
    by_steps = SaveSchedule(50, 0.0, ask_every_steps=10, agree=agree, clock=clock)
    clock.now += 1e6
    assert [step for step in range(1, 101) if by_steps.due(step)] == [50, 100]
    assert len(asked) == 11
