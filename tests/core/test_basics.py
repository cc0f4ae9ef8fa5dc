"""Errors, limits, files, progress and devices: the manners of the core."""

from __future__ import annotations

import json
import os
import pickle
import resource
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnapps
from cnnapps.apps import APPS
from cnnapps.core.device import choose
from cnnapps.core.errors import (
    CnnappsError,
    DependencyError,
    InputError,
    LimitError,
    TrainingError,
    WeightsError,
    counted,
    need,
    printable,
)
from cnnapps.core.files import check_replaceable, replace_folder, write_bytes
from cnnapps.core.limits import DEFAULT, Limits, check
from cnnapps.core.progress import Progress, warn

# ---------------------------------------------------------------------------------------- errors


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text(), st.integers(1, 400))
def test_printable_is_one_harmless_line(text: str, limit: int) -> None:
    line = printable(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    kinds = {unicodedata.category(c) for c in line}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}


def test_one_thing_has_no_plural() -> None:
    shown = [counted(n, "text") for n in (0, 1, 2, 1476)]
    assert shown == ["0 texts", "1 text", "2 texts", "1,476 texts"]
    assert [counted(n, "try", "tries") for n in (1, 2)] == ["1 try", "2 tries"]


def test_printable_keeps_what_people_write() -> None:
    text = "猫\u3000é 😀 a\u00a0b"
    assert printable(text) == text
    assert printable("\x1b[31mred\x07\r\n\u202etxt\udcff") == (
        "\\x1b[31mred\\x07\\r\\n\\u202etxt\\udcff"
    )
    assert printable("x" * 10_000_000) == "x" * 299 + "…"
    assert printable(Path("a\tb")) == "a b"


ERRORS = [
    CnnappsError("something"),
    InputError("page.png", "truncated JPEG (ends at byte 20480)"),
    InputError("", "no input"),
    LimitError("page.png", "9 pixels, at most 4", "--max-pixels"),
    WeightsError(Path("folder"), "is damaged"),
    DependencyError("this needs torch", "pip install torch"),
    TrainingError("the loss is not finite"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_errors_are_one_line_and_travel_between_processes(error: CnnappsError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert str(error).isprintable()


def test_errors_say_file_place_and_remedy() -> None:
    assert str(ERRORS[1]) == "page.png: truncated JPEG (ends at byte 20480)"
    assert str(ERRORS[2]) == "no input"
    assert str(ERRORS[3]) == "page.png: 9 pixels, at most 4 (raise the limit with --max-pixels)"
    assert str(ERRORS[5]) == "this needs torch: pip install torch"
    evil = InputError("\x1b]0;title\x07.png", "bad\nname \x9b31m")
    assert str(evil) == "\\x1b]0;title\\x07.png: bad\\nname \\x9b31m"
    assert len(str(InputError("x" * 5000, "y" * 5000))) <= 1000


def test_a_missing_library_names_its_remedy() -> None:
    with pytest.raises(DependencyError) as caught:
        need("no_such_library.part", "this command")
    assert str(caught.value) == ("this command needs no_such_library: pip install no_such_library")
    assert need("json.decoder", "x") is json.decoder


def test_a_library_that_is_there_and_broken_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_here.py").write_text("import not_there_at_all")
    (tmp_path / "broken_so.py").write_text("raise ImportError('libGL.so.1: cannot open')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DependencyError, match=r"can't load broken_here \(No module named 'not"):
        need("broken_here", "drawing")
    with pytest.raises(DependencyError, match=r"can't load broken_so \(libGL\.so\.1"):
        need("broken_so", "drawing")


# ---------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("name", Limits.__dataclass_fields__)
def test_every_limit_names_its_option(name: str) -> None:
    allowed = getattr(DEFAULT, name)
    check("x", name, allowed)
    check("x", name, 0)
    for value in (allowed + 1, 10 * allowed, 1e30, float("inf"), float("nan"), 10**5000):
        with pytest.raises(LimitError) as caught:
            check("page.png", name, value)
        assert caught.value.option.startswith("--max-")
        assert caught.value.option in str(caught.value)
        assert len(str(caught.value)) < 200


def test_limits_are_readable_and_can_be_raised() -> None:
    with pytest.raises(LimitError) as caught:
        check("a.png", "pixels", 900_000_000)
    assert str(caught.value) == (
        "a.png: 900,000,000 pixels, at most 100,000,000 (raise the limit with --max-pixels)"
    )
    check("a.png", "pixels", 900_000_000, Limits(pixels=10**9))
    with pytest.raises(LimitError, match=r"14,400\.50 seconds, at most 14,400 "):
        check("a.wav", "seconds", 14400.5)
    with pytest.raises(LimitError, match="over 1e18 nodes"):
        check("a.sgf", "sgf_nodes", 10**19)


# ----------------------------------------------------------------------------------------- files


def test_bytes_replace_bytes_and_nothing_else_changes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"one")
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    path.chmod(0o600)
    write_bytes(path, memoryview(b"two"))
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_keeps_pointing_to_what_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/file")
    write_bytes(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_bytes() == b"x"
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


def test_names_as_long_as_the_system_allows(tmp_path: Path) -> None:
    for name in ("x" * 255, "猫" * 85, "😀" * 63, "a b\n", os.fsdecode(b"\xff\xfe")):
        write_bytes(tmp_path / name, name.encode("utf-8", "surrogateescape"))
        write_bytes(tmp_path / name, b"2")
        assert (tmp_path / name).read_bytes() == b"2"
    assert len(os.listdir(tmp_path)) == 5


def test_a_pipe_and_a_device_are_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_bytes(tmp_path / "pipe", b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    with pytest.raises(OSError, match="No space"):
        write_bytes("/dev/full", b"x")
    assert os.path.exists("/dev/full")


def test_a_failed_write_leaves_the_old_bytes_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_bytes(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "none" / "a", b"x")
    with pytest.raises(IsADirectoryError):
        write_bytes(tmp_path, b"x")


OLD = '{"format": 1, "files": {"gone.txt": {}}}'


@pytest.mark.parametrize("old", ["missing", "empty", "weights"])
def test_a_folder_takes_the_place_of_an_old_one(tmp_path: Path, old: str) -> None:
    target = tmp_path / "deep" / "weights"
    if old != "missing":
        target.mkdir(parents=True)
    if old == "weights":
        (target / "card.json").write_text(OLD)
        (target / "gone.txt").write_text("old")
    with replace_folder(target) as draft:
        assert draft.parent == target.parent, "../shared must resolve"
        (draft / "card.json").write_text("new")
    assert {p.name: p.read_text() for p in target.iterdir()} == {"card.json": "new"}
    assert os.listdir(target.parent) == ["weights"]


@pytest.mark.parametrize("old", ["missing", "weights"])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_failure_in_the_block_changes_nothing(
    tmp_path: Path, old: str, kind: type[BaseException]
) -> None:
    target = tmp_path / "weights"
    if old == "weights":
        target.mkdir()
        (target / "card.json").write_text(OLD)
    with pytest.raises(kind), replace_folder(target) as draft:
        (draft / "card.json").write_text("new")
        raise kind
    assert os.listdir(tmp_path) == (["weights"] if old == "weights" else [])
    if old == "weights":
        assert (target / "card.json").read_text() == OLD


def test_when_the_new_folder_cannot_move_in_the_old_one_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "weights"
    target.mkdir()
    (target / "card.json").write_text(OLD)
    with pytest.raises(OSError), replace_folder(target) as draft:
        draft.rmdir()  # as if the disk had lost it
    assert (target / "card.json").read_text() == OLD
    assert os.listdir(tmp_path) == ["weights"]


def test_what_else_lies_in_a_weights_folder_moves_along(tmp_path: Path) -> None:
    target = tmp_path / "weights"
    (target / "more").mkdir(parents=True)
    for name in ("notes.md", "more/thesis.tex", "gone.txt"):
        (target / name).write_text("mine")
    (target / "card.json").write_text(OLD)
    with replace_folder(target) as draft:
        (draft / "card.json").write_text("new")
    assert sorted(os.listdir(target)) == ["card.json", "more", "notes.md"]
    assert (target / "more" / "thesis.tex").read_text() == "mine"


def test_a_link_to_a_weights_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "card.json").write_text(OLD)
    (tmp_path / "latest").symlink_to("v1")
    with replace_folder(tmp_path / "latest") as draft:
        (draft / "card.json").write_text("new")
    assert (tmp_path / "latest").is_symlink()
    assert (tmp_path / "v1" / "card.json").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["latest", "v1"]


def test_what_is_no_weights_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "card.json").write_text('"my own json"')
    for name in ("file", "full", "dangling", "other"):
        with pytest.raises(InputError, match="not a weights folder"):
            check_replaceable(tmp_path / name)
        with pytest.raises(InputError), replace_folder(tmp_path / name):
            raise AssertionError("not reached")
    check_replaceable(tmp_path / "free")
    assert sorted(os.listdir(tmp_path)) == ["dangling", "file", "full", "other"]


# -------------------------------------------------------------------------------- progress, device


def test_progress_without_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Progress(200, "reading", start=50) as progress:
        for done in range(51, 101):
            clock[0] += 0.5
            progress.update(done, loss=0.25)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "cnnapps: reading 70/200, loss 0.25, 2/s, 65 s left",
        "cnnapps: reading 90/200, loss 0.25, 2/s, 55 s left",
    ]


def test_time_left_of_a_run_by_the_clock_that_was_resumed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Progress(10**9, "training") as progress:
        for second in range(21):  # 100 s in all, 50 of them before
            clock[0] = float(second)
            progress.update(second, share=0.5 + second / 100)
    assert [line.split(", ")[-1] for line in capsys.readouterr().err.splitlines()] == [
        "40 s left",
        "30 s left",
    ]


def test_quiet_is_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Progress(0, "reading", quiet=True) as progress:
        clock[0] = 99.0
        progress.update(5)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal_keeps_stdout_clean() -> None:
    import pty

    primary, secondary = pty.openpty()
    code = (
        "from cnnapps.core.progress import Progress, warn\n"
        "with Progress(3, 'reading') as p:\n"
        "    for i in range(1, 4): p.update(i, loss=0.5)\n"
        "    warn('page \\x1b[31m 2')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=secondary,
        text=True,
        check=True,
    )
    os.close(secondary)
    shown = b""
    while True:
        try:
            block = os.read(primary, 65536)
        except OSError:
            break
        if not block:
            break
        shown += block
    os.close(primary)
    assert done.stdout == ""
    assert b"reading" in shown
    assert b"3/3" in shown
    assert b"cnnapps: page \\x1b[31m 2" in shown


def test_a_stderr_that_is_closed_or_full_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        warn("lost")
        monkeypatch.setattr(sys, "stderr", None)
        warn("lost")
        with Progress(3, "reading") as progress:
            progress.update(1)
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space"):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_devices() -> None:
    assert choose() == "cpu"
    assert choose("cpu", runtime="torch") == "cpu"
    assert choose("cuda:1", runtime="onnx") == "cuda:1"
    for name in ("gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cpu\n", ""):
        with pytest.raises(InputError, match="none of auto, cpu, cuda"):
            choose(name)


def test_without_cuda_auto_is_the_cpu_and_cuda_is_refused() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert choose("auto", runtime="torch") == "cpu"
    with pytest.raises(DependencyError, match=r"0 CUDA device\(s\), not cuda: use --device cpu"):
        choose("cuda", runtime="torch")


# --------------------------------------------------------------------------------- the package


def test_load_knows_its_apps() -> None:
    assert isinstance(cnnapps.__version__, str)
    with pytest.raises(InputError) as caught:
        cnnapps.load("no such app")
    assert str(caught.value) == f"no app 'no such app'; there are: {', '.join(APPS)}"


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys; old = set(sys.modules); import cnnapps; print(*set(sys.modules) - old)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.startswith("cnnapps")}
    others = {name.split(".")[0] for name in set(done.stdout.split()) - ours}
    assert ours <= {"cnnapps", "cnnapps.core", "cnnapps.core.version"}
    assert others <= sys.stdlib_module_names, "the standard library only"
    assert not others & {"json", "importlib", "dataclasses", "inspect", "asyncio"}
