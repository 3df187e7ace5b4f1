"""The two arms of a comparison: sibling folders that are made the same way."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from servegate.errors import CheckoutError, ReferenceCheckoutError
from servegate.processes.guard import guard
from servegate.records import Checkout
from servegate.storage.carried import carry
from servegate.storage.commits import resolve_commit
from servegate.storage.environments import EnvironmentRecipe, environment_python
from servegate.storage.exports import copy_work_tree, export_commit
from servegate.storage.git import run_git
from servegate.storage.repositories import Repository


@dataclass(frozen=True)
class Arms:
    """The two checkouts of a comparison.

    Attributes
    ----------
    base:
        A commit's files.
    head:
        The working tree's files as they were when the arms were made.
    """

    base: Checkout
    head: Checkout


@contextmanager
def open_arms(
    root: Path,
    reference: str,
    recipe: EnvironmentRecipe,
    *,
    carried: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Arms]:
    """Put a commit and the working tree into sibling folders, without bytecode; they are removed at the end.

    They have the whole repository, because a project in one of its folders may need files beside the project.

    Parameters
    ----------
    root:
        The project: its repository, or a folder of that.
    reference:
        The base: a branch, tag or commit.
    recipe:
        The recipe for the base's environment.
    carried:
        Files or folders of the project that git ignores and both arms need.
    progress:
        Called with a line of text about the environment.

    Raises
    ------
    ReferenceCheckoutError
        If a submodule, a file of Git LFS or the environment of the commit can't be made.
    CheckoutError
        Without git or the commit, when files can't be read or written, or when a submodule or a file of Git LFS of the
        working tree, or a carried file, can't be had. The messages say what to do.
    """
    commit = resolve_commit(root, reference)
    repository = Repository.around(root)
    project = run_git(root, "rev-parse", "--show-prefix")
    with tempfile.TemporaryDirectory(prefix="arms-", dir=guard().folder) as folder:
        base, head = Path(folder) / "base", Path(folder) / "head"
        try:
            # The head first: the folder may lie in the working tree, and what is in it would be copied.
            head.mkdir()
            copy_work_tree(repository, head, needed=project)
            base.mkdir()
            with _blaming_the_base():
                export_commit(repository, commit, base, needed=project)
                if not (base / project).is_dir():
                    raise CheckoutError(f"the commit {reference} has no folder {project}")
            carry(root, carried, (base / project, head / project))
            with _blaming_the_base():
                python = environment_python(head / project, base / project, recipe, progress)
            for arm in (base, head):
                _remove_bytecode(arm)
        except OSError as error:
            raise CheckoutError(f"the two folders of the comparison can't be made: {error}") from None
        yield Arms(
            Checkout("base", base / project, python, repository=base),
            replace(Checkout.working_tree(head / project), repository=head),
        )


@contextmanager
def open_twins(root: Path, *, carried: Sequence[str] = ()) -> Iterator[Arms]:
    """Put the working tree into sibling folders twice, as `open_arms` does with a commit and the working tree.

    Raises
    ------
    CheckoutError
        For the same reasons as in `open_arms`, about the working tree.
    """
    repository = Repository.around(root)
    project = run_git(root, "rev-parse", "--show-prefix")
    with tempfile.TemporaryDirectory(prefix="arms-", dir=guard().folder) as folder:
        base, head = Path(folder) / "base", Path(folder) / "head"
        try:
            for arm in (base, head):
                arm.mkdir()
                copy_work_tree(repository, arm, needed=project)
            carry(root, carried, (base / project, head / project))
            for arm in (base, head):
                _remove_bytecode(arm)
        except OSError as error:
            raise CheckoutError(f"the two folders of the comparison can't be made: {error}") from None
        yield Arms(
            Checkout("base", base / project, sys.executable, repository=base),
            replace(Checkout.working_tree(head / project), repository=head),
        )


@contextmanager
def _blaming_the_base() -> Iterator[None]:
    """Turn an error about the commit's files or environment into a ReferenceCheckoutError: the head is not to blame."""
    try:
        yield
    except CheckoutError as error:
        raise ReferenceCheckoutError(str(error)) from error


def _remove_bytecode(folder: Path) -> None:
    """An arm that brought its bytecode would start sooner than one that must compile."""
    for bytecode in list(folder.rglob("__pycache__")):
        shutil.rmtree(bytecode, ignore_errors=True)
