"""What is built and installed: wheel, sdist, a bare environment, and the editable one.

Nothing is downloaded: the builds run without isolation, and the environments see the installed
click and the like through a .pth file that leads to this environment.
"""

from __future__ import annotations

import email
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command: object, **options: Any) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=500, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def build(kind: str, source: Path, out: Path) -> Path:
    """The wheel or sdist of a source tree, with the build backend that is installed here."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    run(sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", out, source)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


def contents(wheel: Path) -> dict[str, int]:
    """Name -> CRC of everything in a wheel but its own list of files."""
    with zipfile.ZipFile(wheel) as archive:
        return {i.filename: i.CRC for i in archive.infolist() if not i.filename.endswith("RECORD")}


def test_the_wheel_of_the_sdist_is_the_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert contents(build("wheel", source, tmp_path / "out")) == contents(wheel)
    tops = {name.split("/")[1] for name in names if "/" in name}
    assert tops <= {
        "__init__.py", "__main__.py", "py.typed", "apps", "core", "weights", "tests",
        "requirements", "pyproject.toml", "README.md", "LICENSE", "NOTICE", "PKG-INFO",
        ".gitignore",
    }  # fmt: skip
    assert not [name for name in names if ".dev" in name or "__pycache__" in name]


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(contents(wheel))
    tops = {name.split("/")[0] for name in names}
    assert tops == {"cnnapps", f"cnnapps-{PROJECT['version']}.dist-info"}
    packages = {name.split("/")[1] for name in names if name.startswith("cnnapps/")}
    assert packages <= {"__init__.py", "__main__.py", "py.typed", "apps", "core", "weights"}
    if (ROOT / ".git").exists():
        tracked = run("git", "ls-files", "apps", "core", "weights", cwd=ROOT).split("\n")
        missing = {f"cnnapps/{n}" for n in tracked if n and (ROOT / n).exists()} - names
        assert not missing, "files of the repository that are not shipped"
    assert not [n for n in names if n.endswith((".pyc", ".nbi", ".nbc", ".part"))]
    with zipfile.ZipFile(wheel) as archive:
        sizes = {i.filename: i.file_size for i in archive.infolist()}
    assert max(sizes.values()) <= 25_000_000
    assert sum(sizes.values()) <= 100_000_000


def test_the_metadata_is_the_project_s(wheel: Path) -> None:
    info = f"cnnapps-{PROJECT['version']}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        meta = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        entry = archive.read(f"{info}/entry_points.txt").decode()
        names = archive.namelist()
    assert meta["Name"] == "cnnapps"
    assert meta["License-Expression"] == "MIT"
    required = {re.split(r"[<>=]", d)[0] for d in meta.get_all("Requires-Dist") if ";" not in d}
    assert required == {re.split(r"[<>=]", d)[0] for d in PROJECT["dependencies"]}
    assert "cnnapps = cnnapps.__main__:main" in entry
    assert f"{info}/licenses/LICENSE" in names
    assert f"{info}/licenses/NOTICE" in names


def light() -> list[str]:
    lines = (ROOT / "requirements" / "predict.txt").read_text().splitlines()
    return [re.split(r"[<>=]", line)[0] for line in lines if line and line[0] != "#"]


def test_the_light_install_is_a_part_of_the_whole_and_has_no_torch() -> None:
    everything = {re.split(r"[<>=]", d)[0] for d in PROJECT["dependencies"]}
    assert set(light()) < everything
    assert not {name for name in light() if "torch" in name or "onnxscript" in name}


def environment(folder: Path) -> tuple[Path, Path]:
    """A virtual environment that sees this one's libraries behind its own: (python, site)."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    return python, site


def pip(site: Path, *arguments: object) -> None:
    run(
        sys.executable, "-m", "pip", "--python", site.parents[2] / "bin" / "python", "install",
        "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--quiet",
        *arguments, cwd="/",
    )  # fmt: skip


def borrow(site: Path, *more: Path) -> None:
    """Let the environment see the libraries of this one (no cnnapps among them is used)."""
    paths = [*map(str, more), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (site / "zz_borrowed.pth").write_text("\n".join(dict.fromkeys(paths)) + "\n")


ABSENT = (
    "import importlib.util as u, sys\n"
    "assert [n for n in ('core', 'apps', 'weights', 'tests') if u.find_spec(n)] == []\n"
    "import cnnapps; print(cnnapps.__file__)\n"
)


def test_the_wheel_in_a_bare_environment(wheel: Path, tmp_path: Path) -> None:
    python, site = environment(tmp_path / "venv")
    pip(site, wheel)
    assert sorted(p.name for p in site.iterdir()) == [
        "cnnapps",
        f"cnnapps-{PROJECT['version']}.dist-info",
    ]
    where = run(python, "-c", ABSENT, cwd="/").strip()
    assert where == str(site / "cnnapps" / "__init__.py")
    borrow(site)
    command = python.with_name("cnnapps")
    assert run(command, "--version", cwd="/") == f"cnnapps {PROJECT['version']}\n"
    assert run(python, "-m", "cnnapps", "--version", cwd="/") == run(command, "--version", cwd="/")
    listed = run(command, "weights", "list", cwd="/").splitlines()
    shipped = {n for n in contents(wheel) if n.endswith("card.json")}
    assert len(listed) == len(shipped)
    run(command, "weights", "verify", cwd="/")
    assert "Commands:" in run(command, "--help", cwd="/")


def test_the_editable_install_leads_to_the_repository(tmp_path: Path) -> None:
    python, site = environment(tmp_path / "venv")
    borrow(site)
    pip(site, "--editable", ROOT)
    (pth,) = [p for p in site.glob("*.pth") if p.name != "zz_borrowed.pth"]
    assert pth.read_text().strip() == str(ROOT / ".dev"), "a plain path: static tools follow it"
    where = run(python, "-c", ABSENT, cwd="/").strip()
    assert Path(where).resolve() == ROOT / "__init__.py"
    run(python, "-c", "from cnnapps.core.blocks import ConvBlock", cwd="/")
    assert run(python.with_name("cnnapps"), "--version", cwd="/").startswith("cnnapps ")
