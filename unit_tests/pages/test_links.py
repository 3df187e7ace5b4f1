"""Links between the pages lead somewhere, and the site of docs/ can be built without one that doesn't."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from unit_tests.builders.pages import ALL_PAGES, find_headings, find_links
from unit_tests.builders.repository import ROOT


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and mkdocs make it."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", words).strip())


def anchors(page: Path) -> set[str]:
    return {slug(heading) for heading in find_headings(str(page.relative_to(ROOT)))}


def links(name: str) -> list[str]:
    """Targets of a page's links to files and headings."""
    return [target for target in find_links(name) if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("name", ALL_PAGES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    page = ROOT / name
    for target in links(name):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


def test_every_decision_stands_in_the_list_of_decisions() -> None:
    listed = set(links("docs/decisions/index.md"))
    assert listed == {path.name for path in (ROOT / "docs" / "decisions").glob("2*.md")}


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, "-m", "mkdocs", "build", "--site-dir", site]
    command += ["--config-file", folder / "mkdocs.yml"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_site_is_built_and_loads_nothing_from_a_network(tmp_path: Path) -> None:
    built = build(ROOT, tmp_path)
    assert built.returncode == 0, built.stderr
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"', page.read_text())
        loaded += re.findall(r'<link[^>]*\shref="([^"]+)"', page.read_text())
        assert [target for target in loaded if re.match(r"(https?:)?//", target)] == []


@pytest.mark.parametrize("target", ["nowhere.md", "index.md#no-such-heading", "/absolute.md"])
def test_a_broken_link_ends_the_build(target: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Start\n\n[a link]({target})\n")
    settings = (ROOT / "mkdocs.yml").read_text()
    navigation = settings[settings.index("nav:\n") : settings.index("not_in_nav:")]
    (tmp_path / "mkdocs.yml").write_text(settings.replace(navigation, ""))
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert target.lstrip("/").partition("#")[0] in built.stderr


def test_a_heading_has_the_anchor_that_both_sites_make() -> None:
    assert slug("6. More load than one machine makes") == "6-more-load-than-one-machine-makes"
    assert slug("The way of one image: `POST /predict`") == "the-way-of-one-image-post-predict"
    assert "license" in anchors(ROOT / "README.md")
