"""How every command behaves, on a small real one: verbs, batches, output files, kills, pipes."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.core.command import (
    FloatRange,
    Job,
    Writer,
    answer_all,
    chosen_format,
    in_shard,
    parse_shard,
)
from cnnapps.core.errors import InputError
from cnnapps.core.files import write_bytes

SCRIPT = Path(__file__).with_name("demo_app.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / ".dev")}


def demo(*arguments: str | bytes, stdin: bytes = b"", **options: Any) -> Any:
    options = {"timeout": 120, "env": ENVIRONMENT, **options}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], input=stdin, capture_output=True, **options
    )


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT, **options}
    return subprocess.Popen([sys.executable, str(SCRIPT), *arguments], **options)


def shell(command: str, folder: Path) -> Any:
    """The command in bash, where $0 and $1 are Python and the demo."""
    return subprocess.run(
        ["bash", "-c", command, sys.executable, str(SCRIPT)],
        cwd=folder,
        capture_output=True,
        env=ENVIRONMENT,
        timeout=120,
    )


def wait_for_records(folder: Path, process: subprocess.Popen[bytes], n: int = 4) -> None:
    """Until the run into ``out`` has noted ``n`` times how far it is."""
    note = folder / "out.part.json"
    while not note.exists() or note.read_text().count("\n") < n:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def one_line(err: bytes) -> str:
    """The only line of stderr, printable."""
    lines = err.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].isprintable()
    return lines[0]


# ------------------------------------------------------------------------------------------ verbs


def test_predict_is_the_default_verb(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one\ntwo\n")
    name = str(file)
    expected = b"# one header line\nONE\nTWO\nand more\n"
    for arguments in ([name], ["predict", name], ["--threads", "1", name], ["--", name]):
        done = demo("upper", *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")
    (tmp_path / "train").write_text("x\n")
    for arguments in (["./train"], ["--", "train"], ["predict", "train"]):
        assert demo("upper", *arguments, cwd=tmp_path).stdout == b"# one header line\nX\n"
    assert demo("upper", "train", "x", cwd=tmp_path).stdout == b"training on x\n"


def test_help_of_an_app_has_the_options_of_predict_and_the_verbs() -> None:
    done = demo("upper", "--help")
    text = done.stdout.decode()
    assert done.returncode == 0
    assert "upper [OPTIONS] INPUT..." in text
    assert "--threads" in text
    assert "Train on DATA." in text
    assert max(map(len, text.splitlines())) <= 80
    bare = demo("upper")  # click shows the help on stderr as a usage error, or on stdout
    assert bare.returncode in (0, 2)
    assert b"--threads" in bare.stdout + bare.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["uper", "x"], "No such command 'uper'. Did you mean 'upper'?"),
        (["nothing"], "No such command 'nothing'."),
        (["upper", "trian"], "No verb 'trian': did you mean 'train'? (an input: -- trian)"),
        (["upper", "Train", "x"], "did you mean 'train'?"),
        (["upper", "--nothing", "x"], "No such option"),
        (["upper", "--threads", "0", "x"], "0 is not in the range"),
        (["upper", "--format", "xml", "x"], "'xml' is not one of"),
        (["upper", "--json", "--format", "text", "x"], "exclude each other"),
        (["upper", "--shard", "3/2", "x"], "is not PART/PARTS"),
        (["upper", "--resume", "x"], "--resume needs -o FILE"),
        (["upper", "-o", "/", "x"], "-o /: is a folder"),
        (["upper", "--json"], "Missing argument 'INPUT...'"),
        (["upper", "--\x1b[31mred", "x"], "\\x1b[31mred"),
        (["\x1b]0;title\x07"], "\\x1b]0;title\\x07"),
    ],
)
def test_usage_errors_are_short_harmless_and_end_with_2(arguments: list[str], reason: str) -> None:
    done = demo(*arguments)
    err = done.stderr.decode()
    assert done.returncode == 2
    assert done.stdout == b""
    assert reason in err
    assert len(err.splitlines()) <= 5
    assert all(line.isprintable() for line in err.splitlines())


def test_what_no_one_foresaw_is_one_line_and_a_traceback_on_request() -> None:
    done = demo("upper", "fail")
    assert done.returncode == 1
    assert one_line(done.stderr) == (
        "cnnapps: internal error: LookupError: no one\\nforesaw \\x1b[31m this"
        " (--debug shows where)"
    )
    done = demo("upper", "fail", "--debug")
    assert done.returncode == 1
    assert b"Traceback" in done.stderr
    assert b"demo_app.py" in done.stderr


# ---------------------------------------------------------------------------------------- batches


def test_an_input_that_fails_costs_itself_only(tmp_path: Path) -> None:
    lines = ["one", "bad x", "two", "bug here", "three", "oom", "eof", "four", "", "five"]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    done = demo("upper", "a.txt", "--json", cwd=tmp_path)
    rows = [json.loads(row) for row in done.stdout.splitlines()[1:]]
    assert done.returncode == 1
    assert [row["input"] for row in rows] == lines
    assert [row["line"] for row in rows] == list(range(1, 11))
    errors = {row["input"]: row["error"] for row in rows if "error" in row}
    assert errors == {
        "bad x": "is bad",
        "bug here": "internal error: KeyError: 'bug here' (--debug shows where)",
        "oom": "out of memory",
        "eof": "internal error: EOFError: Compressed file ended (--debug shows where)",
    }
    assert [row["result"] for row in rows if "result" in row] == [
        "ONE", "TWO\nand more", "THREE", "FOUR", "", "FIVE",
    ]  # fmt: skip
    assert done.stderr.decode().splitlines() == [
        f"cnnapps: a.txt:{lines.index(line) + 1}: {reason}" for line, reason in errors.items()
    ]


def test_too_few_answers_never_slip_by_one() -> None:
    done = demo("upper", "-", "--json", stdin=b"a\nshort\nb\n")
    rows = [json.loads(row) for row in done.stdout.splitlines()[1:]]
    assert [row.get("result") for row in rows] == ["A", None, "B"]
    assert "0 answers to 1 inputs" in rows[1]["error"]
    assert done.returncode == 1


def test_a_missing_library_ends_the_run_with_its_remedy() -> None:
    done = demo("upper", "-", stdin=b"a\ntorch x\nb\n")
    assert done.returncode == 1
    assert one_line(done.stderr) == "cnnapps: this line needs torch: pip install torch"


def test_missing_files_names_with_escapes_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("x\n")
    evil = b"\x1b[31m\n\xff.txt"
    (tmp_path / os.fsdecode(evil)).write_bytes(b"inside\n")
    done = demo("upper", "none", ".", "good", evil, "--json", cwd=tmp_path)
    assert done.returncode == 1
    rows = [json.loads(row) for row in done.stdout.splitlines()[1:]]
    assert [row.get("result") for row in rows] == [None, None, "X", "INSIDE"]
    assert b"none" in done.stderr
    evil_refused = demo("upper", evil + b"x", cwd=tmp_path)
    for text in (done.stderr, evil_refused.stderr, evil_refused.stdout.splitlines()[1]):
        assert all(line.isprintable() or "\t" in line for line in text.decode().splitlines())
    assert b"\x1b" not in done.stdout + done.stderr + evil_refused.stdout + evil_refused.stderr


def test_answers_come_as_soon_as_their_inputs_do() -> None:
    process = start("upper", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(3):
        process.stdin.write(b"a\nb\nc\nd\n")
        process.stdin.flush()
        got = process.stdout.readline() + process.stdout.readline()
        while got.count(b"D") == 0:  # would wait for ever if answers were held back
            got += process.stdout.readline()
    process.stdin.close()
    assert process.wait(timeout=60) == 0


# --------------------------------------------------------------------------------------- shards


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    parts=st.integers(1, 12),
    lines=st.integers(0, 60),
    names=st.lists(st.text(), max_size=20, unique=True),
)
def test_every_input_is_in_exactly_one_shard(parts: int, lines: int, names: list[str]) -> None:
    shards = [(part, parts) for part in range(1, parts + 1)]
    for number in range(1, lines + 1):
        assert sum(in_shard(shard, number=number) for shard in shards) == 1
        assert in_shard(None, number=number)
    for name in names:
        assert sum(in_shard(shard, name=name) for shard in shards) == 1
    assert in_shard(None, name="x")
    counts = [sum(in_shard(s, number=n) for n in range(1, lines + 1)) for s in shards]
    assert max(counts) - min(counts) <= 1


def test_a_file_stays_in_its_shard_on_every_machine_and_undecodable_names_work() -> None:
    first = [n for n in map(str, range(20)) if in_shard((1, 4), name=n)]
    assert first == ["0", "9", "10", "12"]  # sha256("0") begins 5feceb66ffc86f38
    assert sum(in_shard((part, 3), name="\udcff.png") for part in (1, 2, 3)) == 1


@pytest.mark.parametrize("text", ["1/1", "3/8", "999999999/999999999"])
def test_shards_that_are(text: str) -> None:
    part, parts = map(int, text.split("/"))
    assert parse_shard(None, None, text) == (part, parts)
    assert parse_shard(None, None, None) is None


@pytest.mark.parametrize(
    "text", ["", "0/3", "4/3", "1", "1/0", "-1/2", "1/2/3", "a/b", "1/2\n", "١/٢"]
)
def test_shards_that_are_not(text: str) -> None:
    with pytest.raises(click.BadParameter):
        parse_shard(None, None, text)


def test_the_shards_of_a_run_together_are_the_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"line {i}\n" for i in range(23)))
    whole = demo("upper", "a.txt", "--json", cwd=tmp_path).stdout.splitlines()[1:]
    parts: list[bytes] = []
    for part in (1, 2, 3):
        done = demo("upper", "a.txt", "--json", "--shard", f"{part}/3", cwd=tmp_path)
        parts += done.stdout.splitlines()[1:]
    assert sorted(parts) == sorted(whole)
    assert len(set(parts)) == 23


# ----------------------------------------------------------------------------------- output files


def lines_of(n: int) -> bytes:
    """Lines that are answered by one line, by two, and by a refusal."""
    kinds = ("line {}", "two {}", "bad {}", "line {} 猫")
    return "".join(kinds[i % 4].format(i) + "\n" for i in range(n)).encode()


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(lines_of(10))
    plain = demo("upper", "a.txt", "--json", cwd=tmp_path)
    done = demo("upper", "a.txt", "-o", "out.json", cwd=tmp_path)  # the suffix gives the format
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", plain.stderr)
    assert (tmp_path / "out.json").read_bytes() == plain.stdout
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "out.json"]
    assert demo("upper", "a.txt", "-o", "-", "--json", cwd=tmp_path).stdout == plain.stdout
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere/out")
    demo("upper", "a.txt", "-o", "link", cwd=tmp_path)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "out").read_bytes().startswith(b"# one header line\nLINE 0")


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    path.chmod(0o600)
    writer = Writer(str(path))
    writer.write("new")
    writer.close()
    assert path.read_text() == "new\n" and path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_write_protected_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    path.chmod(0o400)
    with pytest.raises(PermissionError):
        Writer(str(path))
    with pytest.raises(PermissionError):
        write_bytes(path, b"new")
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_file_is_not_replaced_by_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_bytes(b"old")
    fails = Job("a", error=InputError("a", "is bad"))
    for job, code, text in ((fails, 1, b"old"), (Job("b", value="new"), 0, b"new\n")):
        writer = Writer(str(output))
        render = lambda job, result: None if job.error else result  # noqa: E731
        assert answer_all([[job]], lambda values: values, writer, render) == code
        assert output.read_bytes() == text and os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_killed_and_resumed_again_and_again_ends_with_the_same_bytes(
    tmp_path: Path, form: str
) -> None:
    (tmp_path / "a.txt").write_bytes(lines_of(150))
    options = ("upper", "a.txt", "--format", form, "--total")
    whole = demo(*options, "-o", "whole", cwd=tmp_path)
    rng = random.Random(form)
    out, part = tmp_path / "out", tmp_path / "out.part"
    kills = code = 0
    command = (*options, "-o", "out", "--sleep", "0.002", "--resume")
    while kills < 12:
        process = start(*command, cwd=tmp_path)
        before = part.stat().st_size if part.exists() else 0
        while process.poll() is None and (not part.exists() or part.stat().st_size <= before):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.communicate()
        if process.returncode == -signal.SIGKILL:
            assert not out.exists()
            kills += 1
        else:
            code = process.returncode
            break
    assert kills >= 3
    if not out.exists():
        code = demo(*command, cwd=tmp_path).returncode
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()
    assert code == whole.returncode == 1, "a refusal before the kill counts"
    names = [n for n in os.listdir(tmp_path) if not n.startswith(".out.part.json.")]
    assert sorted(names) == ["a.txt", "out", "whole"]


def test_a_cut_last_line_and_lost_records_are_written_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(lines_of(40))
    demo("upper", "a.txt", "-o", "whole", cwd=tmp_path)
    process = start("upper", "a.txt", "-o", "out", "--sleep", "0.05", cwd=tmp_path)
    part, note = tmp_path / "out.part", tmp_path / "out.part.json"
    wait_for_records(tmp_path, process)
    process.kill()
    process.communicate()
    with open(part, "ab") as file:
        file.write(b"LINE 9")
    with open(note, "ab") as file:
        file.write(b"[12, 99")
    done = demo("upper", "a.txt", "-o", "out", "--resume", cwd=tmp_path)
    assert done.returncode == 1
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


def stopped_run(folder: Path) -> None:
    """A run that was killed in its middle, into ``out``."""
    (folder / "a.txt").write_bytes(lines_of(40))
    process = start("upper", "a.txt", "-o", "out", "--sleep", "0.05", cwd=folder)
    wait_for_records(folder, process)
    process.kill()
    process.communicate()


def test_files_of_the_user_that_have_the_names_of_a_part_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(lines_of(2))
    for name, content in (("out.part", "my thesis"), ("out.part.json", "{}")):
        for more in ([], ["--resume"]):
            (tmp_path / name).write_text(content)
            done = demo("upper", "a.txt", "-o", "out", *more, cwd=tmp_path)
            assert done.returncode == 1
            assert f"{name}: is in the way" in one_line(done.stderr)
            assert (tmp_path / name).read_text() == content
            assert {p.name for p in tmp_path.iterdir()} == {"a.txt", name}
        (tmp_path / name).unlink()
    for name in ("out", "out.part", "out.part.json"):
        for item in (name, "-"):
            (tmp_path / name).write_bytes(lines_of(2))
            done = shell(f'"$0" "$1" upper {item} -o out < {name}', tmp_path)
            assert done.returncode == 2
            assert b"is one of the inputs" in done.stderr
            assert (tmp_path / name).read_bytes() == lines_of(2)
            (tmp_path / name).unlink()


def test_an_output_is_no_file_of_weights(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(lines_of(2))
    card = json.dumps({"format": 1, "files": {"graph.onnx": {}}})
    (tmp_path / "card.json").write_text(card)
    for name in ("card.json", "graph.onnx"):
        done = demo("upper", "a.txt", "-o", name, cwd=tmp_path)
        assert done.returncode == 1
        assert "belongs to the weights in that folder" in one_line(done.stderr)
    assert (tmp_path / "card.json").read_text() == card
    assert demo("upper", "a.txt", "-o", "out", cwd=tmp_path).returncode == 0


def test_a_part_of_another_run_is_refused_and_kept(tmp_path: Path) -> None:
    stopped_run(tmp_path)
    before = (tmp_path / "out.part").read_bytes()
    for change in (["--weights", "other"], ["--shard", "1/2"], ["--json"], ["a.txt"]):
        done = demo("upper", "a.txt", "-o", "out", "--resume", *change, cwd=tmp_path)
        assert done.returncode == 1
        assert "belongs to another run" in one_line(done.stderr)
        assert (tmp_path / "out.part").read_bytes() == before
    (tmp_path / "out.part.json").write_text('{"run": nul')
    done = demo("upper", "a.txt", "-o", "out", "--resume", cwd=tmp_path)
    assert "is damaged; start without --resume" in one_line(done.stderr)
    assert (tmp_path / "out.part").read_bytes() == before
    done = demo("upper", "a.txt", "-o", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert (tmp_path / "out").exists()


def test_two_runs_into_one_file_do_not_mix(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(lines_of(8))
    with open(tmp_path / "out.part", "wb") as file:
        file.write(b"of the first run")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        for more in ([], ["--resume"]):
            done = demo("upper", "a.txt", "-o", "out", *more, cwd=tmp_path)
            assert done.returncode == 1
            assert "another run is writing it" in one_line(done.stderr)
            assert (tmp_path / "out.part").read_bytes() == b"of the first run"
    (tmp_path / "out.part").unlink()
    assert demo("upper", "a.txt", "-o", "out", cwd=tmp_path).returncode == 1
    assert (tmp_path / "out").exists()


def test_ctrl_c_keeps_what_is_done_and_ends_with_130(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(lines_of(40))
    # A test run in the background of a shell ignores Ctrl-C, and so would its children.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    process = start(
        "upper", "a.txt", "-o", "out", "--sleep", "0.05", cwd=tmp_path, preexec_fn=heard
    )
    wait_for_records(tmp_path, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    assert b"Traceback" not in err
    assert demo("upper", "a.txt", "-o", "out", "--resume", cwd=tmp_path).returncode == 1
    demo("upper", "a.txt", "-o", "whole", cwd=tmp_path)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


# ---------------------------------------------------------------------------------------- streams


def test_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("line\n" * 5000)
    for arguments in ("upper a.txt", "upper --help", "--help"):
        command = f'"$0" "$1" {arguments} | head -n 1; echo "${{PIPESTATUS[0]}}"'
        done = shell(command, tmp_path)
        assert done.stderr == b"", arguments
        assert done.stdout.splitlines()[-1] == b"0", arguments


@pytest.mark.parametrize("arguments", [["upper", "-"], ["upper", "-", "--json"], ["--help"]])
def test_a_full_disk_is_one_line_and_1(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *arguments],
            input=b"a\n",
            stdout=full,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
    assert done.returncode == 1
    assert "No space left on device" in one_line(done.stderr)


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"line\n" * 5000)
    command = 'ulimit -f 4; exec "$0" "$1" upper a.txt -o out'
    done = shell(command, tmp_path)
    assert done.returncode == 1
    assert one_line(done.stderr) == "cnnapps: out: File too large"
    assert not (tmp_path / "out").exists()
    done = demo("upper", "a.txt", "-o", "/dev/full", cwd=tmp_path)
    assert done.returncode == 1
    assert one_line(done.stderr) == "cnnapps: /dev/full: No space left on device"
    done = demo("upper", "a.txt", "-o", "none/out", cwd=tmp_path)
    assert done.returncode == 1
    assert one_line(done.stderr) == "cnnapps: none/out: No such file or directory"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_end_nothing_and_nothing_lands_in_the_output(
    tmp_path: Path, closed: str
) -> None:
    (tmp_path / "a.txt").write_bytes(b"line\nbad\n")
    command = f'exec "$0" "$1" upper a.txt -o out {closed}'
    done = shell(command, tmp_path)
    assert done.returncode == 1
    assert done.stdout == b""
    refusal = "error\twhat the predictor calls it: is bad"
    assert (tmp_path / "out").read_text() == f"# one header line\nLINE\n{refusal}\n"
    plain = shell(f'exec "$0" "$1" upper a.txt {closed}', tmp_path)
    assert plain.returncode == 1
    assert b"Traceback" not in plain.stderr
    assert b"cnnapps:" not in plain.stdout, "errors never go to stdout"


def test_answers_that_no_one_can_get_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"line\n")
    for arguments, closed, code, reason in (
        ("upper a.txt", ">&-", 1, "cnnapps: stdout: Bad file descriptor\n"),
        ("upper a.txt --help", ">&-", 1, "cnnapps: Bad file descriptor\n"),
        ("upper -", "<&-", 1, "cnnapps: Bad file descriptor\n"),
        ("upper a.txt -o out", ">&-", 0, ""),
        ("upper a.txt", "<&-", 0, ""),
    ):
        done = shell(f'exec "$0" "$1" {arguments} {closed}', tmp_path)
        assert (done.returncode, done.stderr.decode()) == (code, reason), arguments
    assert shell('exec "$0" "$1" upper a.txt 2>&-', tmp_path).stdout.endswith(b"\nLINE\n")


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1", "zh_CN.GBK"])
def test_results_are_utf_8_in_any_locale(tmp_path: Path, locale: str) -> None:
    (tmp_path / "猫.txt").write_text("猫 é\n", encoding="utf-8")
    environment = {**ENVIRONMENT, "LC_ALL": locale, "PYTHONUTF8": "0"}
    done = demo("upper", "猫.txt".encode(), "--json", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[1].decode("utf-8"))
    assert row["result"] == "猫 É"


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "NaN", "1e999"])
def test_a_number_is_finite(word: str) -> None:
    with pytest.raises(click.BadParameter):
        FloatRange(min=-1).convert(word, None, None)
    with pytest.raises(click.BadParameter):
        FloatRange().convert(word, None, None)
    assert FloatRange(0, 1).convert("0.5", None, None) == 0.5


def test_formats_by_option_suffix_and_default() -> None:
    suffixes = {".json": "json", ".txt": "text"}
    assert chosen_format("text", False, "a.json", suffixes, "text") == "text"
    assert chosen_format(None, True, "a.txt", suffixes, "text") == "json"
    assert chosen_format("json", True, None, suffixes, "text") == "json"
    assert chosen_format(None, False, "A.JSON", suffixes, "text") == "json"
    assert chosen_format(None, False, "a.csv", suffixes, "text") == "text"
    assert chosen_format(None, False, None, suffixes, "text") == "text"
    with pytest.raises(click.UsageError):
        chosen_format("text", True, None, suffixes, "text")
