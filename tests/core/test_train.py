"""The training loop: resuming to the bit, schedules, averages, stopping, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from cnnapps.core.checkpoint import Checkpoints
from cnnapps.core.errors import InputError, TrainingError
from cnnapps.core.train import Recipe, rate_at, train
from cnnapps.tests.core.training import batches, evaluate, loss, make_net, run_training


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def state_of(run: Path) -> dict[str, Any]:
    state = Checkpoints(run).load()
    assert state is not None
    return state


def equal_states(a: Any, b: Any) -> bool:
    """Whether two nested states have the same bits; the clock apart."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal_states(a[k], b[k]) for k in a if k != "seconds")
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal_states, a, b))
    return bool(a == b)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the loop catches it."""


def killed_at(batch: int, size: int = 16) -> Any:
    at = batches(size)

    def batch_at(index: int) -> Any:
        if index == batch:
            raise Killed
        return at(index)

    return batch_at


# ------------------------------------------------------------------------------------- resuming

HARD = ("ema=0.9", "accumulate=2", "clip=0.5", "weight_decay=0.01", "evaluate_every=7")


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd", "adadelta"])
def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(
    tmp_path: Path, optimizer: str
) -> None:
    recipe = (*HARD, f"optimizer={optimizer}")
    whole, summary = run_training(tmp_path / "whole", *recipe)
    with pytest.raises(Killed):
        run_training(tmp_path / "parts", *recipe, batch_at=killed_at(2 * 25))
    torch.manual_seed(999)  # whatever happened in between
    random.seed(999)
    parts, resumed = run_training(tmp_path / "parts", *recipe, resume=True)
    assert same(whole, parts)
    assert equal_states(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))
    assert resumed.steps == summary.steps == 40
    assert (resumed.best, resumed.best_step) == (summary.best, summary.best_step)


def test_dropout_is_on_and_the_seed_matters(tmp_path: Path) -> None:
    recipe = (*HARD, "steps=15", "checkpoint_seconds=99")
    one, _ = run_training(tmp_path / "1", *recipe)
    again, _ = run_training(tmp_path / "2", *recipe)
    other, _ = run_training(tmp_path / "3", *recipe, "seed=2")
    dry, _ = run_training(tmp_path / "4", *recipe, net=make_net(dropout=0.0))
    assert same(one, again)
    assert not same(one, other)
    assert not same(one, dry)


def test_a_run_may_go_on_for_more_steps(tmp_path: Path) -> None:
    run_training(tmp_path, "schedule=constant", "warmup=0", "steps=25")
    more, summary = run_training(tmp_path, "schedule=constant", "warmup=0", "steps=40", resume=True)
    run_training(tmp_path / "whole", "schedule=constant", "warmup=0", "steps=40")
    assert summary.steps == 40
    assert equal_states(state_of(tmp_path)["net"], state_of(tmp_path / "whole")["net"])
    again, summary = run_training(
        tmp_path, "schedule=constant", "warmup=0", "steps=40", resume=True
    )
    assert summary.steps == 40
    assert same(again, more)


def test_the_log_has_no_line_of_a_future_that_was_killed(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run_training(tmp_path, "evaluate_every=5", batch_at=killed_at(25))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 26, "seconds": 1, "accuracy": 0.5}\n')
        file.write('{"step": 27, "seconds": 1, "accur')  # what a kill leaves
    run_training(tmp_path, "evaluate_every=5", resume=True)
    lines = [json.loads(s) for s in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "accuracy" in line]
    assert steps == [5, 10, 15, 20, 25, 30, 35, 40]
    assert lines[-1]["step"] == 40


def test_the_best_net_of_a_killed_future_is_forgotten(tmp_path: Path) -> None:
    """By the clock the resumed run takes another way: its best must be a net that it saw."""
    with pytest.raises(Killed):
        run_training(tmp_path, "evaluate_every=10", batch_at=killed_at(30))
    for path in tmp_path.glob("step-*.pt"):
        path.unlink()
    Checkpoints(tmp_path).save(5, {**_checkpoint(tmp_path / "five", 5), "step": 5})
    assert (tmp_path / "best-000000030.pt").exists()
    _, summary = run_training(tmp_path, "steps=8", "evaluate_every=10", resume=True)
    assert summary.best_step == 8
    assert not (tmp_path / "best-000000030.pt").exists()


def _checkpoint(run: Path, steps: int) -> dict[str, Any]:
    run_training(run, f"steps={steps}", "evaluate_every=10", evaluate=None)
    return state_of(run)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("lr=0.02", "lr was 0.01, is 0.02"),
        ("seed=2", "seed was 1, is 2"),
        ("optimizer=sgd", "optimizer was 'adamw', is 'sgd'"),
    ],
)
def test_resuming_with_another_recipe_is_refused(tmp_path: Path, change: str, named: str) -> None:
    run_training(tmp_path, "steps=3")
    with pytest.raises(TrainingError, match=named):
        run_training(tmp_path, "steps=3", change, resume=True)


def test_resuming_with_other_data_or_another_net_is_refused(tmp_path: Path) -> None:
    run_training(tmp_path, "steps=3", data="a" * 64)
    with pytest.raises(TrainingError, match="other data"):
        run_training(tmp_path, "steps=3", data="b" * 64, resume=True)
    with pytest.raises(TrainingError, match=r"\(its seed was [0-9]+, not 77\)"):
        run_training(tmp_path, "steps=3", "seed=77", data="b" * 64, resume=True)
    with pytest.raises(TrainingError, match="another net") as caught:
        run_training(tmp_path, "steps=3", data="a" * 64, net=nn.Linear(2, 2), resume=True)
    assert "\n" not in str(caught.value)


def test_resuming_nothing_starts_afresh_and_a_fresh_start_forgets(tmp_path: Path) -> None:
    _, summary = run_training(tmp_path, "steps=5", resume=True)
    assert summary.steps == 5
    _, summary = run_training(tmp_path, "steps=2", "lr=0.5")
    assert sorted(p.name for p in tmp_path.glob("*.pt")) == [
        "best-000000002.pt",
        "step-000000001.pt",
        "step-000000002.pt",
    ]


# ---------------------------------------------------------------------------------- checkpoints


def test_two_checkpoints_are_kept_with_the_best_nets_that_they_know(tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path)
    for step in range(1, 8):
        if step in (2, 3, 5, 7):
            assert keeper.save_best(step, {"step": step})
        if step % 2 == 0:
            assert keeper.save(step, {"step": step})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "best-000000003.pt",  # what the checkpoint of step 4 knows
        "best-000000005.pt",
        "best-000000007.pt",
        "step-000000004.pt",
        "step-000000006.pt",
    ]
    keeper.forget(after=4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-000000003.pt", "step-000000004.pt"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "pickle", "other"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_training(tmp_path, "steps=4")
    newest = tmp_path / "step-000000004.pt"
    data = newest.read_bytes()
    if damage == "truncated":
        newest.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        newest.write_bytes(b"")
    elif damage == "flipped":
        newest.write_bytes(data[:300] + bytes(b ^ 255 for b in data[300:600]) + data[600:])
    elif damage == "pickle":
        newest.write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "pwned") + b"'\ntR.")
    else:
        torch.save([1, 2], newest)
    state = state_of(tmp_path)
    assert state["step"] == 3
    assert "step-000000004.pt can't be read" in capsys.readouterr().err
    assert not (tmp_path / "pwned").exists()
    _, summary = run_training(tmp_path, "steps=6", resume=True)
    assert summary.steps == 6
    assert len(list(tmp_path.glob("step-*.pt"))) == 2


def test_only_damaged_checkpoints_are_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    run_training(tmp_path, "steps=4")
    for path in tmp_path.glob("step-*.pt"):
        path.write_bytes(b"x")
    with pytest.raises(TrainingError, match="start without --resume"):
        run_training(tmp_path, "steps=6", resume=True)


def test_a_second_training_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    def second(net: nn.Module) -> dict[str, float]:
        run_training(tmp_path, "steps=1")
        return evaluate(net)

    with pytest.raises(TrainingError, match="another training is writing"):
        run_training(tmp_path, "steps=2", evaluate=second)
    run_training(tmp_path, "steps=2")  # the first one's end frees the folder


# ------------------------------------------------------------------------- the arithmetic of a step


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_accumulated_batches_equal_one_large_batch(tmp_path: Path, optimizer: str) -> None:
    small = batches(8)

    def large(index: int) -> tuple[Tensor, Tensor]:
        parts = [small(4 * index + i) for i in range(4)]
        return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])

    recipe = (f"optimizer={optimizer}", "steps=10", "clip=1")
    nets = [make_net(dropout=0.0), make_net(dropout=0.0)]
    run_training(
        tmp_path / "1", *recipe, "accumulate=4", batch_at=small, net=nets[0], evaluate=None
    )
    run_training(tmp_path / "2", *recipe, batch_at=large, net=nets[1], evaluate=None)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_step_of_sgd_is_the_textbook_s(tmp_path: Path) -> None:
    net, mirror = make_net(dropout=0.0), make_net(dropout=0.0)
    recipe = ("optimizer=sgd", "momentum=0", "schedule=constant", "warmup=0", "lr=0.1", "steps=1")
    run_training(tmp_path, *recipe, "weight_decay=0.01", net=net, evaluate=None)
    loss(mirror, batches(16)(0)).backward()
    for a, b in zip(net.parameters(), mirror.parameters(), strict=True):
        assert b.grad is not None
        decay = 0.01 if b.ndim > 1 else 0.0  # biases and norms are never decayed
        torch.testing.assert_close(a, b - 0.1 * (b.grad + decay * b))


def test_the_average_is_the_exponential_one(tmp_path: Path) -> None:
    seen: list[Tensor] = []
    net = make_net()
    run_training(
        tmp_path,
        "ema=0.8",
        "steps=12",
        net=net,
        evaluate=None,
        after_step=lambda n: seen.append(n[3].weight.detach().clone()),
    )
    expected = seen[0]
    for n, weight in enumerate(seen[1:], 1):
        decay = min(0.8, (1 + n) / (10 + n))  # less at first: start values are soon forgotten
        expected = decay * expected + (1 - decay) * weight
    assert len(seen) == 12
    torch.testing.assert_close(net[3].weight, expected)  # type: ignore[index]
    torch.testing.assert_close(state_of(tmp_path)["net"]["3.weight"], seen[-1])


def test_the_average_copies_buffers_of_whole_numbers(tmp_path: Path) -> None:
    """torch's own average rounds 8-bit tables and counters towards zero, step by step."""

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("codes", torch.arange(-127, 128, dtype=torch.int8))
            self.norm = nn.BatchNorm1d(2)
            self.linear = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.norm(x.mean(2)))

    net = Table()
    run_training(tmp_path, "ema=0.9", "steps=60", net=net, evaluate=None)
    assert torch.equal(net.codes, torch.arange(-127, 128, dtype=torch.int8))  # type: ignore[arg-type]
    assert net.norm.num_batches_tracked == 60


def test_rates_of_parameter_groups_are_scaled(tmp_path: Path) -> None:
    def groups(net: nn.Module) -> list[dict[str, Any]]:
        return [
            {"params": list(net[0].parameters())},  # type: ignore[index]
            {"params": list(net[3].parameters()), "scale": 0.0},  # type: ignore[index]
        ]

    net, before = make_net(), make_net()
    run_training(tmp_path, "steps=3", net=net, groups=groups, evaluate=None)
    assert torch.equal(net[3].weight, before[3].weight)  # type: ignore[index]
    assert not torch.equal(net[0].conv.weight, before[0].conv.weight)  # type: ignore[index]


@pytest.mark.parametrize("kind", ["dict", "list", "named", "tensor"])
def test_batches_of_every_shape(tmp_path: Path, kind: str) -> None:
    Pair = namedtuple("Pair", "x y")
    x, y = batches(4)(0)
    made: Any = {"dict": {"x": x, "y": y}, "list": [x, y], "named": Pair(x, y), "tensor": x}[kind]

    def judge(net: nn.Module, batch: Any) -> Tensor:
        assert type(batch) is type(made)
        return net(x).square().mean()

    summary = train(make_net(), lambda i: made, judge, Recipe(steps=2), tmp_path, quiet=True)
    assert summary.steps == 2


def test_bf16_trains_and_fp16_wants_cuda(tmp_path: Path) -> None:
    _, summary = run_training(tmp_path, "precision=bf16", "steps=60")
    assert summary.best["accuracy"] > 0.8
    with pytest.raises(InputError, match="fp16"):
        run_training(tmp_path, "precision=fp16", "steps=1")


# ------------------------------------------------------------------------------------- schedules


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    share=st.floats(0, 1.5),
    warmup=st.floats(0, 1),
    schedule=st.sampled_from(("cosine", "linear", "constant")),
)
def test_the_rate_stays_between_zero_and_its_peak(
    share: float, warmup: float, schedule: str
) -> None:
    recipe = Recipe(lr=0.1, warmup=warmup, schedule=schedule)
    assert 0.0 <= rate_at(share, recipe) <= 0.1 + 1e-12
    if share >= 1.0 and schedule != "constant":
        assert rate_at(share, recipe) == pytest.approx(0.0, abs=1e-12)


def test_the_rate_at_known_points() -> None:
    cosine = Recipe(lr=1.0, warmup=0.2)
    assert rate_at(0.0, cosine) == 0.0
    assert rate_at(0.1, cosine) == pytest.approx(0.5)
    assert rate_at(0.2, cosine) == pytest.approx(1.0)
    assert rate_at(0.6, cosine) == pytest.approx(0.5)
    assert rate_at(0.4, cosine) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    linear = dataclasses.replace(cosine, schedule="linear")
    assert rate_at(0.6, linear) == pytest.approx(0.5)
    assert rate_at(0.4, linear) == pytest.approx(0.75)
    constant = dataclasses.replace(cosine, schedule="constant")
    assert rate_at(0.9, constant) == 1.0


def test_the_loop_follows_the_schedule(tmp_path: Path) -> None:
    rates: list[float] = []
    recipe = Recipe(steps=20, lr=0.5, warmup=0.25).updated("optimizer=sgd")
    net = make_net()
    watched: list[torch.optim.Optimizer] = []

    def groups(n: nn.Module) -> list[dict[str, Any]]:
        return [{"params": list(n.parameters())}]

    def note(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        watched.append(optimizer)
        rates.append(optimizer.param_groups[0]["lr"])

    hook = register_optimizer_step_pre_hook(note)
    try:
        train(net, batches(8), loss, recipe, tmp_path, groups=groups, quiet=True)
    finally:
        hook.remove()
    assert rates == [pytest.approx(rate_at((i + 0.5) / 20, recipe)) for i in range(20)]


# ----------------------------------------------------------------- best net, early stopping, time


def scripted(values: list[float]) -> Any:
    left = iter(values)
    return lambda net: {"accuracy": next(left)}


def test_the_net_ends_with_its_best_weights(tmp_path: Path) -> None:
    seen: dict[int, Tensor] = {}
    net = make_net()

    def judge(n: nn.Module) -> dict[str, float]:
        seen[len(seen)] = n[3].weight.detach().clone()  # type: ignore[index]
        return {"accuracy": [0.5, 0.9, 0.7, 0.9, 0.1][len(seen) - 1]}

    _, summary = run_training(
        tmp_path, "evaluate_every=8", net=net, evaluate=judge, metric="accuracy"
    )
    assert summary.best == {"accuracy": 0.9}
    assert summary.best_step == 16  # the first of equals
    assert torch.equal(net[3].weight, seen[1])  # type: ignore[index]


def test_a_metric_is_minimised_when_asked(tmp_path: Path) -> None:
    _, summary = run_training(
        tmp_path,
        "evaluate_every=10",
        evaluate=scripted([0.5, 0.2, 0.3, 0.4]),
        metric="-accuracy",
    )
    assert (summary.best_step, summary.best) == (20, {"accuracy": 0.2})


def test_nan_is_never_the_best_even_when_it_comes_first(tmp_path: Path) -> None:
    _, summary = run_training(
        tmp_path,
        "evaluate_every=10",
        evaluate=scripted([math.nan, 0.2, math.nan, 0.1]),
        metric="accuracy",
    )
    assert (summary.best_step, summary.best) == (20, {"accuracy": 0.2})


def test_a_missing_metric_is_named_at_the_first_evaluation(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="gives accuracy, loss, but no f1"):
        run_training(tmp_path, "evaluate_every=5", metric="f1")
    assert Checkpoints(tmp_path).latest() is not None


def test_early_stopping_and_that_resuming_does_not_undo_it(tmp_path: Path) -> None:
    values = [0.1, 0.5, 0.4, 0.4, 0.4, 0.9]
    recipe = ("evaluate_every=4", "patience=3")
    _, summary = run_training(tmp_path, *recipe, evaluate=scripted(values), metric="accuracy")
    assert (summary.reason, summary.steps, summary.best_step) == ("early", 20, 8)
    _, again = run_training(
        tmp_path, *recipe, evaluate=scripted([]), metric="accuracy", resume=True
    )
    assert (again.reason, again.steps, again.best_step) == ("early", 20, 8)


def test_minutes_are_counted_by_the_clock_that_is_given(tmp_path: Path) -> None:
    ticks = iter(range(1_000_000))
    recipe = ("steps=1000000", "minutes=1", "checkpoint_seconds=60")
    _, summary = run_training(tmp_path, *recipe, evaluate=None, clock=lambda: float(next(ticks)))
    assert summary.reason == "time"
    assert 10 < summary.steps < 60 <= summary.seconds < 70  # a few looks at the clock a step


def test_minutes_span_the_resumed_parts(tmp_path: Path) -> None:
    """Three of four seconds were spent before the kill: the schedule goes on from there."""
    minutes = 4.0 / 60
    recipe = ("steps=1000000", f"minutes={minutes}", "checkpoint_seconds=0.2")
    with pytest.raises(Killed):
        run_training(tmp_path, *recipe, batch_at=killed_at(25), evaluate=None)
    run_training(tmp_path / "donor", "steps=1", evaluate=None)
    state = state_of(tmp_path / "donor") | {"seconds": 3.0}
    state["recipe"]["minutes"] = minutes
    Checkpoints(tmp_path).forget(after=0)  # first: only the last two are kept
    Checkpoints(tmp_path).save(1, state)
    _, summary = run_training(tmp_path, *recipe, evaluate=None, resume=True)
    assert summary.reason == "time"
    assert summary.seconds >= 4.0
    lines = [json.loads(s) for s in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    first = next(line for line in lines if line["step"] > 1)
    assert first["seconds"] >= 3.0
    assert first["lr"] < 0.5 * 0.01  # three quarters of the cosine are behind it
    _, again = run_training(tmp_path, *recipe, evaluate=None, resume=True)
    assert (again.steps, again.reason) == (summary.steps, "time")


# ------------------------------------------------------------------------------- what goes wrong


def spoiled(batch: int, value: float) -> Any:
    at = batches(16)

    def batch_at(index: int) -> Any:
        x, y = at(index)
        return (x * value if index == batch else x), y

    return batch_at


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_step_batch_and_checkpoint(
    tmp_path: Path, value: float
) -> None:
    with pytest.raises(TrainingError) as caught:
        run_training(tmp_path, "accumulate=2", batch_at=spoiled(2 * 9 + 1, value))
    message = str(caught.value)
    assert "not finite at step 10, batch 19" in message
    assert "--set lr=0.0033" in message
    assert "step-000000009.pt" in message
    assert state_of(tmp_path)["step"] == 9
    assert all(torch.isfinite(t).all() for t in state_of(tmp_path)["net"].values())


def test_weights_that_a_gradient_spoiled_are_not_saved(tmp_path: Path) -> None:
    """sqrt has an infinite slope at 0: the loss is finite, the weights of that step are not."""

    def steep(net: nn.Module, batch: Any) -> Tensor:
        value = loss(net, batch)
        if steep_at[0] == 0:
            value = value + (net[3].weight * 0.0).sum().sqrt()  # type: ignore[index]
        steep_at[0] -= 1
        return value

    steep_at = [5]
    with pytest.raises(TrainingError, match="not finite at step 6"):
        train(
            make_net(),
            batches(16),
            steep,
            Recipe(steps=40, checkpoint_seconds=0.0),
            tmp_path,
            quiet=True,
        )
    assert state_of(tmp_path)["step"] == 5
    assert all(torch.isfinite(t).all() for t in state_of(tmp_path)["net"].values())


def test_the_log_is_json_lines_of_losses_rates_and_evaluations(tmp_path: Path) -> None:
    run_training(tmp_path, "evaluate_every=20")
    lines = [json.loads(s) for s in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "lr" in line]
    assert {frozenset(line) for line in losses} == {frozenset(("step", "seconds", "loss", "lr"))}
    assert losses[0]["step"] == 1
    assert losses[-1]["step"] == 40  # the end of the curve is in the log too
    evaluations = [line for line in lines if "accuracy" in line]
    assert [line["step"] for line in evaluations] == [20, 40]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)


@dataclasses.dataclass(frozen=True, slots=True)
class Odd(Recipe):
    widths: tuple[int, ...] = (3, 4)
    names: tuple[str, ...] = ()
    mixed: bool = False
    depth: int | None = None


def test_settings_by_name_and_type() -> None:
    recipe = Odd().updated(
        "lr=3e-4", "steps = 7", "widths=1,2,5", "names=a,b", "mixed=yes", "depth=4",
        "checkpoint-seconds=5", "optimizer=sgd",
    )  # fmt: skip
    assert recipe == Odd(
        lr=3e-4,
        steps=7,
        widths=(1, 2, 5),
        names=("a", "b"),
        mixed=True,
        depth=4,
        checkpoint_seconds=5.0,
        optimizer="sgd",
    )
    assert recipe.updated("depth=none", "mixed=0", "widths=").depth is None
    assert Odd().updated() == Odd()


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("lr", "expected NAME=VALUE"),
        ("rate=1", "NAME one of steps"),
        ("=1", "expected NAME=VALUE"),
        ("lr=fast", "'fast' is no float"),
        ("lr=nan", "'nan' is no float"),
        ("lr=1e999", "is no float"),
        ("steps=1e3", "'1e3' is no int"),
        ("steps=1.5", "is no int"),
        ("mixed=maybe", "is no bool"),
        ("widths=3,x", "'3,x' is no tuple"),
        ("depth=x", "'x' is no int | None"),
        ("steps=-1", "not within 0"),
        ("batch=0", "not within 1"),
        ("accumulate=0", "not within 1"),
        ("lr=-0.1", "not within 0"),
        ("warmup=1.5", "not within 0 to 1"),
        ("ema=2", "not within 0 to 1"),
        ("minutes=-1", "not within 0"),
        ("optimizer=adam", "none of adamw, muon, sgd, adadelta"),
        ("schedule=step", "none of cosine"),
        ("precision=int8", "none of fp32"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(setting: str, named: str) -> None:
    with pytest.raises(InputError) as caught:
        Odd().updated(setting)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_senseless_recipe_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="schedule"):
        train(make_net(), batches(4), loss, Recipe(schedule="step"), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
