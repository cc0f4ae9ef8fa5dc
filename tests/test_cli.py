"""``python -m cnnapps`` as a whole: what it imports, its help, its weights, its manners."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnnapps import __version__
from cnnapps.apps import APPS
from cnnapps.core.weights import installed

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / ".dev")}
HEAVY = {
    "numpy", "torch", "torchvision", "torchaudio", "cv2", "onnx", "onnxruntime", "onnxscript",
    "scipy", "sklearn", "matplotlib", "rich", "soundfile", "sentencepiece", "safetensors", "numba",
}  # fmt: skip
TAGS = [name for name, _ in installed()]


def cnnapps(*arguments: object, **options: Any) -> Any:
    options = {"capture_output": True, "timeout": 120, "env": ENVIRONMENT, "cwd": "/", **options}
    command = [sys.executable, "-m", "cnnapps", *map(os.fspath, map(_text, arguments))]
    return subprocess.run(command, **options)


def _text(argument: object) -> str | bytes:
    return argument if isinstance(argument, bytes) else str(argument)


def modules(*arguments: str) -> set[str]:
    """The top-level modules that are loaded when ``cnnapps ARGUMENTS`` has ended."""
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('\\n', *sys.modules, file=sys.stderr))\n"
        "from cnnapps.__main__ import main\n"
        f"main({list(arguments)!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, cwd="/"
    )
    assert done.returncode in (0, 2), done.stderr
    return {name.split(".")[0] for name in done.stderr.splitlines()[-1].split()}


# ---------------------------------------------------------------------------------- help, imports


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["weights", "--help"],
        ["nothing"],
        *([app, "--help"] for app in APPS),
        *([app, "train", "--help"] for app in APPS),
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    loaded = modules(*arguments)
    assert "click" in loaded
    assert not loaded & HEAVY


def test_listing_weights_needs_no_runtime() -> None:
    for verb in ("list", "verify"):
        assert not modules("weights", verb) & (HEAVY - {"numpy"})


def test_version_is_the_package_s() -> None:
    done = cnnapps("--version")
    assert (done.returncode, done.stdout.decode()) == (0, f"cnnapps {__version__}\n")
    toml = (ROOT / "pyproject.toml").read_text()
    assert f'\nversion = "{__version__}"\n' in toml


def test_help_names_every_command_and_fits_a_terminal() -> None:
    done = cnnapps("--help")
    text = done.stdout.decode()
    assert done.returncode == 0
    for name in (*APPS, "weights"):
        assert re.search(rf"^  {name} +\S", text, re.MULTILINE), f"{name} has no summary"
    assert max(map(len, text.splitlines())) <= 80
    assert cnnapps("-h").stdout == done.stdout
    assert "\x1b" not in text


def test_a_mistyped_command_asks_what_was_meant() -> None:
    for typed, meant in (("weigths", "weights"), ("textcl", "textcls")):
        done = cnnapps(typed, "list")
        assert done.returncode == 2
        assert done.stdout == b""
        assert f"Did you mean '{meant}'?" in done.stderr.decode()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    done = cnnapps("--completion", shell)
    assert done.returncode == 0, done.stderr
    assert b"_CNNAPPS_COMPLETE" in done.stdout
    assert cnnapps("--completion", "tcsh").returncode == 2


def test_completion_completes() -> None:
    environment = {
        **ENVIRONMENT, "_CNNAPPS_COMPLETE": "bash_complete", "COMP_WORDS": "cnnapps wei",
        "COMP_CWORD": "1",
    }  # fmt: skip
    code = "import sys; sys.argv[0] = 'cnnapps'; from cnnapps.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.stdout == b"plain,weights\n"


# ---------------------------------------------------------------------------------------- weights


@pytest.mark.skipif(not TAGS, reason="no weights are installed")
def test_installed_weights_are_listed_one_a_line() -> None:
    done = cnnapps("weights", "list")
    assert (done.returncode, done.stderr) == (0, b"")
    rows = done.stdout.decode().splitlines()
    assert [row.split()[0] for row in rows] == TAGS
    assert all(re.search(r" \d+\.\d MB  \S", row) for row in rows)
    listed = [json.loads(row) for row in cnnapps("weights", "list", "--json").stdout.splitlines()]
    assert [row["weights"] for row in listed] == TAGS
    assert all(row.keys() == {"weights", "bytes", "licence", "what"} for row in listed)
    assert all(row["licence"] and row["what"] and row["bytes"] > 1000 for row in listed)


@pytest.mark.skipif(not TAGS, reason="no weights are installed")
@pytest.mark.parametrize("tag", TAGS)
def test_every_tag_is_shown_and_verified(tag: str) -> None:
    done = cnnapps("weights", "show", tag)
    assert (done.returncode, done.stderr) == (0, b"")
    titles = [row[:11].rstrip() for row in done.stdout.decode().splitlines()]
    assert titles[:2] == ["weights", "what"]
    assert {"net", "size", "licence", "trained on", "measured"} <= set(titles)
    card = json.loads(cnnapps("weights", "show", tag, "--json").stdout)
    assert f"{card['app']}/{card['tag']}" == tag
    done = cnnapps("weights", "verify", tag)
    assert done.returncode == 0
    assert done.stdout.decode().startswith(f"{tag}: {len(card['files'])} files, ")


def test_all_installed_weights_are_whole() -> None:
    done = cnnapps("weights", "verify")
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == len(TAGS)


def test_a_folder_is_shown_verified_and_refused(tmp_path: Path) -> None:
    if not TAGS:
        pytest.skip("no weights are installed")
    source = dict(installed())[TAGS[0]]
    folder = tmp_path / "mine"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.pyc"))
    assert cnnapps("weights", "verify", folder).returncode == 0
    raw = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    raw["what"] = "\x1b[31mred\nsecond line \x9b31m"
    (folder / "card.json").write_text(json.dumps(raw))
    done = cnnapps("weights", "show", folder)
    assert done.returncode == 0
    assert b"\\x1b[31mred\\nsecond line \\x9b31m" in done.stdout
    model = folder / "model.safetensors"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    for verb in ("verify", "show"):
        done = cnnapps("weights", verb, folder)
        assert (done.returncode, done.stdout) == (1, b"")
        line = done.stderr.decode()
        assert line == (
            f"cnnapps: {folder}: model.safetensors differs from the sha256 in its card (damaged?)\n"
        )
    done = cnnapps("weights", "verify", folder, TAGS[0])  # the rest is verified all the same
    assert done.returncode == 1
    assert done.stdout.decode().startswith(f"{TAGS[0]}: ")


@pytest.mark.parametrize("name", ["default", "demo/none", "../x", "none", "", "\x1b[31m", "/etc"])
def test_weights_that_are_not_there(name: str) -> None:
    for verb in ("show", "verify"):
        done = cnnapps("weights", verb, name)
        assert (done.returncode, done.stdout) == (1, b"")
        lines = done.stderr.decode().splitlines()
        assert len(lines) == 1
        assert lines[0].isprintable()
        assert "no such weights; installed: " in lines[0] or "no card.json" in lines[0]
        assert all(tag in lines[0] for tag in TAGS) or "no card.json" in lines[0]


# ---------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize("arguments", ["--help", "--version", "weights list", "weights verify"])
def test_a_full_disk_and_a_closed_pipe(arguments: str) -> None:
    if not TAGS and "weights" in arguments:
        pytest.skip("no weights are installed")
    with open("/dev/full", "wb") as full:
        done = cnnapps(
            *arguments.split(), capture_output=False, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert done.stderr == b"cnnapps: No space left on device\n"
    command = f'"$0" -m cnnapps {arguments} | true; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable], capture_output=True, env=ENVIRONMENT, cwd="/"
    )
    assert (done.stdout, done.stderr) == (b"0\n", b"")


def test_any_locale_and_no_home(tmp_path: Path) -> None:
    for more in ({"LC_ALL": "C"}, {"LC_ALL": "en_US.ISO-8859-1"}, {"HOME": "/nonexistent"}):
        done = cnnapps("weights", "show", "猫".encode(), env={**ENVIRONMENT, **more})
        assert done.returncode == 1
        assert done.stderr.decode("utf-8").startswith("cnnapps: 猫: no such weights")
    done = cnnapps("weights", "show", b"\xff\xfe")
    assert done.returncode == 1
    assert done.stderr.startswith(b"cnnapps: \\udcff\\udcfe: no such weights")


@pytest.mark.parametrize(
    "words",
    [
        ["textcls", "a fine film"],
        ["go-policy", ROOT / "tests/data/go/katrain-data-xmgt97.sgf"],
        ["classify", ROOT / "tests/data/vision/chelsea.jpg"],
        ["textcls", "export", "-o", "out/net.onnx"],
        [
            "inspect",
            "filters",
            "classify/default",
            "-o",
            "out/maps.png",
            "--photo",
            ROOT / "tests/data/vision/chelsea.jpg",
        ],
    ],
    ids=lambda words: " ".join(Path(w).name for w in words),
)
def test_nothing_is_reported_and_no_identifier_kept(tmp_path: Path, words: list[object]) -> None:
    """ONNX Runtime's reports need a cache under the home and a mark in the temporary folder."""
    for name in ("home", "tmp", "out"):
        (tmp_path / name).mkdir()
    # It keeps silent in continuous integration, so this must not look like one.
    plain = {k: v for k, v in ENVIRONMENT.items() if not re.match("ORT_|XDG_|CI$|GITHUB|TF_", k)}
    folders = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    done = cnnapps(*words, env={**plain, **folders}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [*(tmp_path / "home").rglob("*")] == [*(tmp_path / "tmp").rglob("*")] == []


def test_onnx_runtime_is_imported_in_one_place() -> None:
    files = [f for part in ("apps", "core") for f in (ROOT / part).rglob("*.py")]
    pattern = re.compile(r"(?m)^\s*(?:import|from) onnxruntime|need\(\s*.onnxruntime.")
    found = {f.relative_to(ROOT).as_posix() for f in files if pattern.search(f.read_text("utf-8"))}
    assert found == {"core/runtime.py"}


@pytest.mark.parametrize(
    "words",
    ["textcls train", "go-policy train x.sgf", "classify train"],
)
def test_training_without_onnx_says_so_before_it_begins(tmp_path: Path, words: str) -> None:
    code = (
        "import sys; sys.modules['onnx'] = sys.modules['onnxscript'] = None; "
        f"from cnnapps.__main__ import main; main({words.split()!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "cnnapps: training needs onnx and onnxscript: pip install onnx onnxscript"
    )
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "words",
    ["textcls train", "go-policy train x.sgf", "classify train", "classify compare"],
)
def test_training_without_torch_says_what_to_install(words: str) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from cnnapps.__main__ import main; "
        f"main({words.split()!r})"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 1
    named = " ".join(words.split()[:2])
    assert done.stderr == f"cnnapps: {named} needs torch: pip install torch\n"
