"""Installing: the build backend, offline."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from tests.support import REPOSITORY, TestCase

PYTHON = REPOSITORY / "python"


class Package(TestCase):
    def build(self, call: str, folder: str) -> str:
        """Runs one hook of the backend as an installer does, and returns the path of what it made."""
        os.makedirs(folder, exist_ok=True)
        code = f"import sys; sys.path.insert(0, 'build_backend'); import cortex_build; print(cortex_build.{call}({folder!r}))"
        done = subprocess.run([sys.executable, "-B", "-c", code], cwd=PYTHON, check=True, stdout=subprocess.PIPE, text=True)
        return os.path.join(folder, done.stdout.strip())

    def test_the_wheel_is_whole(self) -> None:
        path = self.build("build_wheel", self.folder)
        with zipfile.ZipFile(path) as wheel:
            names = set(wheel.namelist())
            for file in (PYTHON / "cortex").iterdir():
                if file.suffix in (".py", ".typed"):
                    self.assertEqual(wheel.read(f"cortex/{file.name}"), file.read_bytes())
            info = f"cortex-{cortex.__version__}.dist-info"
            self.assertLessEqual({f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD"}, names)
            self.assertFalse([n for n in names if n.startswith("tests")], "tests are not installed")
            metadata = wheel.read(f"{info}/METADATA").decode("utf-8")
            self.assertIn(f"\nVersion: {cortex.__version__}\n", metadata)
            needed = [line for line in metadata.split("\n\n")[0].splitlines() if line.startswith("Requires-Dist")]
            self.assertEqual(needed, ['Requires-Dist: botocore>=1.29.27; extra == "iam"'], "nothing is needed without the extra")
            self.assertIn("\nProvides-Extra: iam\n", metadata)

    def test_importing_it_imports_no_botocore(self) -> None:
        code = "import cortex, sys; print([m for m in sys.modules if m.startswith('boto')])"
        done = subprocess.run([sys.executable, "-B", "-c", code], cwd=PYTHON, check=True, stdout=subprocess.PIPE, text=True)
        self.assertEqual(done.stdout.strip(), "[]")

    def test_the_same_files_make_the_same_wheel(self) -> None:
        one, two = (Path(self.build("build_wheel", os.path.join(self.folder, n))).read_bytes() for n in "ab")
        self.assertEqual(one, two)

    def test_pip_installs_it_without_a_network(self) -> None:
        target = os.path.join(self.folder, "site")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-cache-dir"]
        # An index that cannot be reached: an installation that needs one fails.
        environment = dict(os.environ, PIP_INDEX_URL="http://127.0.0.1:1/", PIP_RETRIES="0", PIP_ROOT_USER_ACTION="ignore")
        if subprocess.run([sys.executable, "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            self.skipTest("there is no pip for this Python")
        subprocess.run([*pip, "--target", target, str(PYTHON)], check=True, env=environment)
        code = "import cortex; print(cortex.__file__, cortex.client().env_name)"
        done = subprocess.run(
            [sys.executable, "-B", "-c", code], cwd=self.folder, env=dict(environment, PYTHONPATH=target), check=True,
            stdout=subprocess.PIPE, text=True,
        )
        self.assertEqual(done.stdout.split(), [os.path.join(target, "cortex", "__init__.py"), "local"])
        self.assertTrue(os.path.exists(os.path.join(target, "cortex", "py.typed")))

    def test_only_the_standard_library_of_python_3_9_is_used(self) -> None:
        for file in sorted((PYTHON / "cortex").glob("*.py")):
            allowed = {"cortex", "__future__"}
            tree = ast.parse(file.read_text("utf-8"), feature_version=(3, 9))
            imported = list(ast.walk(tree))
            if file.name == "credentials.py":  # imports botocore within functions: when something is signed
                functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
                inner = {n for f in functions for n in ast.walk(f) if isinstance(n, (ast.Import, ast.ImportFrom))}
                imported = [n for n in imported if n not in inner]
                for node in inner:
                    module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                    self.assertEqual((module or "").split(".")[0], "botocore")
            for node in imported:
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                for name in names:
                    top = name.split(".")[0]
                    self.assertTrue(top in allowed or self.is_standard(top), f"{file.name} imports {name}")

    @staticmethod
    def is_standard(name: str) -> bool:
        known = getattr(sys, "stdlib_module_names", None)  # Python 3.10 has the list
        return known is None or name in known
