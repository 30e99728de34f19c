"""The wheel holds the package and nothing else, and the tests pass against it."""

import configparser
import shutil
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from .processes import ROOT, python

pytestmark = pytest.mark.xdist_group("packaging")
# What a build reads; a copy of it, so that no build/ or egg-info lands in the checkout, nor is read from there.
FILES = ["setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE"]
FOLDERS = ["keras_initlab", "callbacks"]
SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def python_ok(*arguments, **options):
    done = python(*arguments, path=None, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def built_wheel(source, folder):
    python_ok("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for name in FOLDERS:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignore)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return built_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Python of an environment with the wheel; what it depends on comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    python_ok("-m", "venv", "--without-pip", folder)
    executable = folder / "bin" / "python"
    purelib = python_ok("-c", "import sysconfig; print(sysconfig.get_path('purelib'))", executable=executable)
    site = Path(purelib.stdout.strip())
    python_ok("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel)
    # A path of its own and not a site folder: an editable installation there is not followed.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return executable


def package_folders():
    inside = (ROOT / "keras_initlab").rglob("__init__.py")  # does not follow the link to callbacks/
    outside = (ROOT / "callbacks").rglob("__init__.py")
    names = {".".join(path.parent.relative_to(ROOT).parts) for path in inside if "callbacks" not in path.parts}
    return names | {".".join(("keras_initlab", *path.parent.relative_to(ROOT).parts)) for path in outside}


def test_every_package_is_listed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert sorted(config["options"]["packages"].split()) == sorted(package_folders())


def test_the_wheel_has_one_top_level_name(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"keras_initlab"}
    assert "keras_initlab/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)


def test_the_wheel_has_every_module(wheel):
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "keras_initlab").rglob("*.py")}
    modules |= {f"keras_initlab/{path.relative_to(ROOT)}" for path in (ROOT / "callbacks").rglob("*.py")}
    assert {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")} == modules


def test_the_source_distribution_builds_the_same_wheel(source, wheel, tmp_path):
    python_ok("-c", SDIST, tmp_path, cwd=source)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        assert not [m.name for m in file.getmembers() if "/keras_initlab/callbacks" in m.name]
        file.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    again = built_wheel(tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path)
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_a_file_of_tests_passes_against_the_wheel(installed, tmp_path):
    where = "import keras_initlab as kil; print(kil.__file__); print(kil.callbacks.__file__)"
    files = python_ok("-c", where, executable=installed, cwd=tmp_path).stdout.split()
    assert all(Path(file).is_relative_to(installed.parents[1]) for file in files)
    # A copy elsewhere: beside the checkout pytest would put the checkout before the wheel.
    shutil.copy(ROOT / "tests" / "initializers" / "test_seeds.py", tmp_path)
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", tmp_path]
    done = python_ok("-m", "pytest", *options, "test_seeds.py", executable=installed, cwd=tmp_path)
    assert " passed" in done.stdout


def test_there_is_no_global_module_callbacks(installed, tmp_path):
    elsewhere = python("-c", "import callbacks", executable=installed, cwd=tmp_path, path=None)
    assert "ModuleNotFoundError: No module named 'callbacks'" in elsewhere.stderr
    # In the checkout Python finds the folder, which refuses to be anything but keras_initlab.callbacks.
    at_root = python("-c", "import callbacks", executable=sys.executable, cwd=ROOT, path=None)
    assert "ImportError: attempted relative import beyond top-level package" in at_root.stderr
