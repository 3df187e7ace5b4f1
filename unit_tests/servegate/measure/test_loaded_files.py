"""Each arm of a comparison runs its own code, and says so; wrong code is never compared."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from servegate.errors import WrongCodeError
from servegate.measure.code_path import make_environment
from servegate.measure.http.service import HttpService
from servegate.records import Checkout
from unit_tests.builders import stub_server
from unit_tests.builders.repository import ROOT
from unit_tests.builders.two_arms import TwoArms, codes

INSIDE = ROOT / "servegate" / "measure" / "inside"
OWN_CODE = ["base", "head"]
PACKAGE = {"service/__init__.py", "service/model.py", "service/worker.py"}
# What an editable install of scikit-build-core or meson-python does: it comes before the path.
EARLY_FINDER = """\
import importlib.util, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "service":
            folder = {code!r} + "/service"
            return importlib.util.spec_from_file_location(
                name, folder + "/__init__.py", submodule_search_locations=[folder]
            )

sys.meta_path.insert(0, Finder)
"""


@pytest.fixture
def arms(tmp_path: Path) -> TwoArms:
    return TwoArms(tmp_path)


class TestOwnCode:
    """What would lead both arms to the head's code, were not each arm's own first on its path."""

    def test_of_a_src_layout_that_is_installed_editable(self, tmp_path: Path) -> None:
        arms = TwoArms(tmp_path, "src")
        (arms.make_environment() / "_service.pth").write_text(f"{arms.code('head')}\n")
        report = arms.run()
        assert codes(report) == OWN_CODE
        assert report.base.loaded.keys() == report.head.loaded.keys() == {f"src/{name}" for name in PACKAGE}

    @pytest.mark.parametrize("options", [(), ("-P",)])
    def test_beside_a_path_that_names_the_head(
        self, arms: TwoArms, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", str(arms.code("head")))
        assert codes(arms.run("{python}", *options, "-m", "service.worker")) == OWN_CODE

    def test_without_the_current_folder_on_the_path(self, arms: TwoArms, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONSAFEPATH", "1")
        monkeypatch.setenv("PYTHONPATH", str(arms.code("head")))
        assert codes(arms.run()) == OWN_CODE

    def test_by_a_script(self, arms: TwoArms) -> None:
        """No loader loads it, and yet it counts."""
        report = arms.run("{python}", "service/worker.py")
        assert codes(report) == OWN_CODE
        assert report.head.loaded.keys() == PACKAGE

    def test_of_spawned_children(self, arms: TwoArms) -> None:
        for name in ("base", "head"):
            arms.write(name, "service/child.py", "def run():\n    from service import late\n")
            arms.write(name, "service/late.py", "")
            arms.write(
                name,
                "service/model.py",
                f"CODE = {name!r}\n\ndef start():\n"
                "    import multiprocessing\n"
                "    from service.child import run\n"
                "    child = multiprocessing.get_context('spawn').Process(target=run)\n"
                "    child.start()\n"
                "    child.join()\n",
            )
        assert arms.run().base.loaded.keys() == PACKAGE | {"service/child.py", "service/late.py"}

    def test_in_an_environment_that_lies_in_the_head(self, arms: TwoArms) -> None:
        """Its packages belong to neither checkout; one may have the name of a folder of the project."""
        arms.environment = arms.code("head") / ".venv"
        packages = arms.make_environment()
        (packages / "docker").mkdir()
        (packages / "docker" / "__init__.py").write_text("")
        for name in ("base", "head"):
            arms.write(name, "docker/build.py", "")
            arms.write(name, "service/__init__.py", "import docker\n")
        report = arms.run()
        assert codes(report) == OWN_CODE
        assert report.head.loaded.keys() == PACKAGE


class TestWrongCode:
    """What each arm's own folder first on the path doesn't prevent."""

    def test_of_an_editable_install_that_comes_before_the_path(self, arms: TwoArms) -> None:
        packages = arms.make_environment()
        (packages / "_editable.py").write_text(EARLY_FINDER.format(code=str(arms.code("head"))))
        (packages / "_editable.pth").write_text("import _editable\n")
        with pytest.raises(WrongCodeError, match=r"the base loaded service.* from .*/head/service/__init__\.py"):
            arms.run()

    def test_of_an_ordinary_install_that_comes_before_the_path(self, arms: TwoArms) -> None:
        packages = arms.make_environment()
        (packages / "first.pth").write_text(f"import sys; sys.path.insert(0, {str(packages)!r})\n")
        (packages / "service").mkdir()
        for file in arms.code("head").glob("service/*.py"):
            (packages / "service" / file.name).write_text(file.read_text())
        with pytest.raises(WrongCodeError, match=r"the base loaded service.* from .*/site-packages/service"):
            arms.run("{python}", "-P", "-m", "service.worker")

    def test_ends_the_run_before_anything_is_measured(self, arms: TwoArms) -> None:
        arms.write("base", "elsewhere.py", "")
        arms.write("head", "elsewhere.py", "")
        path = f"import sys\nsys.path.insert(0, {str(arms.code('head'))!r})\nimport elsewhere\n"
        arms.write(
            "base",
            "service/worker.py",
            f"{path}print('{{\"ready\": {{}}}}', flush=True)\nsys.exit(sys.stdin.readline())\n",
        )
        with pytest.raises(WrongCodeError, match=r"the base loaded elsewhere from .*/head/elsewhere\.py"):
            arms.run()

    def test_of_a_copy_that_is_neither_arms(self, tmp_path: Path) -> None:
        """As the working tree is, where both arms are copies; its code lies deeper than any name tells."""
        arms, tree = TwoArms(tmp_path, "backend/code"), TwoArms(tmp_path / "tree", "backend/code")
        (arms.make_environment() / "_service.pth").write_text(f"{tree.code('head')}\n")
        with pytest.raises(WrongCodeError, match=r"the base loaded .* from .*/tree/head/backend/code/service/"):
            arms.run()
        assert codes(arms.run(environment={"PYTHONPATH": "backend/code"})) == OWN_CODE

    def test_that_lies_beside_the_project_in_its_repository(self, tmp_path: Path) -> None:
        """Both arms have the whole repository, and each must load its own neighbours."""
        arms = TwoArms(tmp_path, "services/api")
        for name in ("base", "head", "working tree"):
            folder = tmp_path / name / "packages" / "common"
            folder.mkdir(parents=True)
            (folder / "__init__.py").write_text("")
        for name in ("base", "head"):
            arms.write(name, "service/model.py", f"import common\nCODE = {name!r}\n\ndef start():\n    pass\n")
        in_project = arms.of_folder("services/api")
        with pytest.raises(WrongCodeError, match=r"loaded common from .*working tree"):
            in_project.run(environment={"PYTHONPATH": str(tmp_path / "working tree" / "packages")})
        own = in_project.run(environment={"PYTHONPATH": "../../packages"})
        assert "packages/common/__init__.py" in own.base.loaded

    def test_behind_an_absolute_link_to_the_working_tree(self, arms: TwoArms, tmp_path: Path) -> None:
        """The link is each arm's own, and what it leads to is neither's."""
        working_tree = tmp_path / "working tree"
        shutil.copytree(arms.code("head"), working_tree)
        for name in ("base", "head"):
            model = arms.code(name) / "service" / "model.py"
            model.unlink()
            model.symlink_to(working_tree / "service" / "model.py")
        with pytest.raises(WrongCodeError, match=r"loaded service\.model from"):
            arms.run()

    def test_of_an_absolute_path_in_the_command(self, arms: TwoArms) -> None:
        for name in ("base", "head"):
            arms.write(name, "start/app.py", "import runpy\nrunpy.run_module('service.worker', run_name='__main__')\n")
        script = arms.code("head") / "start" / "app.py"
        with pytest.raises(WrongCodeError, match=r"the base loaded __main__ from .*/head/start/app\.py"):
            arms.run("{python}", str(script))

    def test_that_comes_with_the_first_request(self, arms: TwoArms) -> None:
        """When both were ready all was right."""
        late = "import sys\nfrom service import model\nprint('{\"ready\": {}}', flush=True)\nsys.stdin.readline()\n"
        late += f"sys.path.insert(0, {str(arms.code('head'))!r})\nimport late\nprint('{{\"seconds\": [1, 1]}}')\n"
        late += "for line in sys.stdin: print('{\"seconds\": [1]}', flush=True)\n"
        for name in ("base", "head"):
            arms.write(name, "service/worker.py", late)
        arms.write("head", "late.py", "")
        with pytest.raises(WrongCodeError, match=r"the base loaded late from .*/head/late\.py"):
            arms.run()

    @pytest.mark.parametrize("option", ["-I", "-E", "-S"])
    def test_may_be_what_an_interpreter_runs_that_tells_nothing(self, arms: TwoArms, option: str) -> None:
        alone = "import sys\nprint('{\"ready\": {}}', flush=True)\n"
        alone += "for line in sys.stdin: print('{\"seconds\": [1, 1]}', flush=True)\n"
        for name in ("base", "head"):
            arms.write(name, "service/alone.py", alone)
        assert arms.run("{python}", "service/alone.py").base.loaded.keys() == {"service/alone.py"}
        with pytest.raises(WrongCodeError, match=r"processes told nothing of the Python files.* Leave out .* -I, -E"):
            arms.run("{python}", option, "service/alone.py")


def test_a_command_without_the_interpreter_is_measured_though_it_tells_nothing(arms: TwoArms) -> None:
    line = "echo '{\"ready\": {}}'; while read job; do echo '{\"seconds\": [0.1, 0.1]}'; done"
    report = arms.run("/bin/sh", "-c", line)
    assert report.base.loaded == report.head.loaded == {}
    assert not report.loads_same_code


def test_equal_code_is_told_apart_from_a_change(arms: TwoArms) -> None:
    assert not arms.run().loads_same_code
    arms.write("head", "service/model.py", (arms.code("base") / "service/model.py").read_text())
    arms.write("head", "service/not_loaded.py", "")
    assert arms.run().loads_same_code
    arms.write("head", "service/__init__.py", "import service.not_loaded\n")
    arms.write("base", "service/__init__.py", "import service.not_loaded\n")
    arms.write("base", "service/not_loaded.py", "1\n")
    assert not arms.run().loads_same_code


def test_a_sitecustomize_of_the_user_still_runs(arms: TwoArms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "sitecustomize.py").write_text("MARK = 'theirs'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "theirs"))
    for name in ("base", "head"):
        arms.write(name, "service/model.py", "import sitecustomize\nCODE = sitecustomize.MARK\ndef start(): pass\n")
    report = arms.run()
    assert codes(report) == ["theirs", "theirs"]
    assert report.loads_same_code


def test_a_log_that_cannot_be_written_breaks_no_service(arms: TwoArms, tmp_path: Path) -> None:
    path = [str(INSIDE), str(arms.code("base"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "SERVEGATE_LOADED_LOG": str(tmp_path)}
    command = [sys.executable, "-c", "from service.model import CODE; print(CODE)"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("base\n", "")


def test_a_checkouts_code_leads_the_path_of_each_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing is compared; a path that the target sets stands in the place of this process's."""
    (tmp_path / "src").mkdir()
    checkout = Checkout("head", tmp_path, sys.executable)
    monkeypatch.setenv("PYTHONPATH", "/ours")
    assert make_environment(checkout, {"A": "1"}) == {"A": "1", "PYTHONPATH": f"{tmp_path}:{tmp_path}/src:/ours"}
    assert make_environment(checkout, {"PYTHONPATH": "lib"})["PYTHONPATH"] == f"{tmp_path}:{tmp_path}/src:lib"


def test_a_server_has_that_path_too(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    shutil.copy(stub_server.__file__, tmp_path / "stub.py")
    (tmp_path / "src" / "in_src.py").write_text("")
    start = "import runpy, in_src; runpy.run_path('stub.py', run_name='__main__')"
    service = HttpService(["{python}", "-P", "-c", start], {"PYTHONPATH": str(ROOT)})
    with service.process(Checkout("head", tmp_path, sys.executable)) as server:
        assert server.process.returncode is None
