"""Training under attack: kills, signals, full disks, several processes."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnapps.core.checkpoint import Checkpoints
from cnnapps.core.errors import TrainingError
from cnnapps.tests.core.training import batches, run_training

SCRIPT = Path(__file__).with_name("training.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
    ENVIRONMENT.pop(name, None)


def start(run: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *launcher, str(SCRIPT), str(run), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def fork_and_kill(run: Path, reached: int, after: float, resume: bool) -> None:
    """Train in a child process that has torch loaded already, and kill -9 it.

    The moment is ``after`` seconds from its first checkpoint beyond ``reached`` on, or from its
    start when ``reached`` is -1: on a busy machine too, the run gets on and is hit while it works.
    """
    child = os.fork()
    if child == 0:
        try:
            run_training(run, "steps=100000", "evaluate_every=3", "ema=0.9", resume=resume)
        finally:
            os._exit(1)
    keeper = Checkpoints(run)
    while reached >= 0 and not any(step > reached for step in _steps(keeper)):
        time.sleep(0.001)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the training ended by itself"


def _steps(keeper: Checkpoints) -> list[int]:
    path = keeper.latest()
    return [int(path.stem.removeprefix("step-"))] if path else []


@pytest.mark.slow
@pytest.mark.alone
def test_kill_9_at_50_random_moments_always_leaves_a_loadable_checkpoint(tmp_path: Path) -> None:
    run_training(tmp_path / "warm", "steps=2", "ema=0.9")  # what is imported late is there now
    rng = random.Random(50)
    reached = 0
    for number in range(50):
        early = number % 5 == 4  # also while it starts, loads and clears away
        fork_and_kill(tmp_path, -1 if early else reached, rng.uniform(0, 0.05), resume=number > 0)
        keeper = Checkpoints(tmp_path)
        for path in tmp_path.glob("*.pt"):  # every file under a final name is whole
            state = torch.load(path, weights_only=True)
            assert path.name.endswith(f"{state['step']:09d}.pt")
        state = keeper.load() or {"step": 0}
        assert state["step"] >= reached, "a kill lost a checkpoint"
        reached = state["step"]
        if reached and state["judge"]["best"]:
            assert keeper.load_best(state["judge"]["best_step"])
    assert reached >= 40
    _, summary = run_training(tmp_path, f"steps={reached + 3}", "evaluate_every=3", "ema=0.9",
                              resume=True)  # fmt: skip
    assert summary.steps == reached + 3
    names = {p.name for p in tmp_path.iterdir() if p.is_file()}
    assert not [n for n in names if n.endswith(".part")], "what kills left is cleared away"
    assert len([n for n in names if n.startswith("step-")]) == 2
    assert len([n for n in names if n.startswith("best-")]) <= 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_saves_and_exits_with_130(
    tmp_path: Path, number: signal.Signals
) -> None:
    arguments = ("steps=100000", "checkpoint_seconds=3600", "--sleep=0.01")
    process = start(tmp_path, *arguments)
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists(), process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines() == ["cnnapps: stopping after this step (again to stop at once)"]
    state = Checkpoints(tmp_path).load()
    assert state is not None
    assert state["step"] >= 1
    assert state["judge"]["last"] == -1, "stopping doesn't wait for an evaluation"
    _, summary = run_training(
        tmp_path, f"steps={state['step'] + 1}", "checkpoint_seconds=3600", resume=True
    )
    assert summary.steps == state["step"] + 1


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "steps=100000", "checkpoint_seconds=3600", "--sleep=600")
    wait_for(lambda: tmp_path.exists(), process)
    time.sleep(0.2)
    while process.poll() is None:  # the first may come before the handler is there
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    process.communicate()
    assert process.returncode in (130, -signal.SIGINT, 1)
    assert Checkpoints(tmp_path).latest() is None


# -------------------------------------------------------------------------------------- full disk


def full_after(run: Path, size: int) -> int:
    """Train in a child whose files may grow to ``size`` bytes; its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            run_training(
                run, "steps=30", "evaluate_every=5", "schedule=constant", "warmup=0", resume=True
            )
            code = 0
        except TrainingError as error:
            (run / "message").write_text(str(error))
            code = 3
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.alone
def test_a_full_disk_loses_no_checkpoint_and_the_run_can_go_on(tmp_path: Path) -> None:
    steady = ("evaluate_every=5", "schedule=constant", "warmup=0")  # steps don't know the last one
    run_training(tmp_path, "steps=10", *steady)
    before = {p.name: p.read_bytes() for p in tmp_path.glob("*.pt")}
    assert full_after(tmp_path, 1000) == 3  # smaller than any checkpoint
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*.pt")} == before
    assert not list(tmp_path.glob(".*.part"))
    message = (tmp_path / "message").read_text()
    assert "File too large" in message
    assert "--resume" in message
    run_training(tmp_path / "whole", "steps=30", *steady)
    _, summary = run_training(tmp_path, "steps=30", *steady, resume=True)
    assert summary.steps == 30
    state, whole = Checkpoints(tmp_path).load(), Checkpoints(tmp_path / "whole").load()
    assert state is not None and whole is not None
    assert state["net"].keys() == whole["net"].keys() and state["net"]
    for name, tensor in whole["net"].items():
        assert torch.equal(tensor, state["net"][name]), name


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 256 kB, where we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("can't mount a small file system here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_file_system(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The disk fills up in the middle of a run and is freed again: training goes on."""
    filler = small_disk / "filler"
    run = small_disk / "run"
    at = batches(16)

    def batch_at(index: int) -> Any:
        if index == 10:
            with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="space"):
                while True:
                    file.write(bytes(4096))
        if index == 20:
            assert Checkpoints(run).load()["step"] == 10  # type: ignore[index]
            filler.unlink()
        return at(index)

    _, summary = run_training(run, "steps=25", "evaluate_every=5", batch_at=batch_at)
    assert summary.steps == 25
    assert Checkpoints(run).load()["step"] == 25  # type: ignore[index]
    err = capsys.readouterr().err
    assert "No space left on device; the last good checkpoint is kept" in err
    assert all(line.startswith("cnnapps: ") for line in err.splitlines())


# ------------------------------------------------------------------------------ several processes


def torchrun(run: Path, *arguments: str) -> tuple[int, str, str]:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    process = start(run, *arguments, launcher=launcher)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.mark.slow
def test_two_processes_train_the_same_net_as_one(tmp_path: Path) -> None:
    """gloo, a net without batch norm and without dropout, the same global batch of 16."""
    recipe = ("steps=30", "accumulate=2", "ema=0.9", "clip=1", "evaluate_every=10", "--dropout=0")
    code, out, err = torchrun(tmp_path / "two", *recipe, f"--out={tmp_path}/two.pt")
    assert code == 0, err
    process = start(tmp_path / "one", *recipe, f"--out={tmp_path}/one.pt")
    single, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    nets = [torch.load(tmp_path / name) for name in ("one.pt.0", "two.pt.0", "two.pt.1")]
    for key, tensor in nets[0].items():
        torch.testing.assert_close(nets[1][key], tensor, rtol=1e-5, atol=1e-5)
        assert torch.equal(nets[1][key], nets[2][key]), "the processes end with the same net"
    one, two = json.loads(single), json.loads(out)
    assert two["best"]["loss"] == pytest.approx(one["best"]["loss"], abs=1e-5)
    logs = [
        [json.loads(s) for s in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    first = [next(line["loss"] for line in log if "lr" in line) for log in logs]
    assert first[0] == pytest.approx(first[1], abs=1e-5)
    last = [[line for line in log if "accuracy" in line] for log in logs]
    for a, b in zip(*last, strict=True):
        assert a["step"] == b["step"]
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on(tmp_path: Path) -> None:
    """torchrun passes SIGTERM on: both processes stop, rank 0 saves; one process can go on."""
    arguments = ("steps=100000", "checkpoint_seconds=3600", "--sleep=0.01")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    process = start(tmp_path, *arguments, launcher=launcher)
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists(), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=100)
    assert process.returncode != 0
    state = Checkpoints(tmp_path).load()
    assert state is not None
    steps = state["step"] + 2
    _, summary = run_training(tmp_path, f"steps={steps}", "checkpoint_seconds=3600", resume=True)
    assert summary.steps == steps


def test_a_batch_that_the_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    from cnnapps.core.distributed import World
    from cnnapps.core.errors import InputError

    with pytest.raises(InputError, match="16 can't be shared by 3 processes"):
        run_training(tmp_path, world=World(0, 3))
