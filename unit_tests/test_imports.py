"""A test stands on its own: what several of them use is a builder or a fixture."""

import re

from unit_tests.builders.repository import ROOT

# Also in the text of a program that a test starts.
_OF_A_TEST = re.compile(r"^ *(?:from|import) unit_tests\b.*\btest_\w+", re.MULTILINE)


def test_no_file_imports_a_test() -> None:
    files = sorted((ROOT / "unit_tests").rglob("*.py"))
    assert len(files) > 50
    found = {file.name: imports for file in files if (imports := _OF_A_TEST.findall(file.read_text()))}
    assert found == {}
