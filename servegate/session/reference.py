"""What a run is compared with, as its document names it."""

from servegate.errors import CheckoutError
from servegate.session.settings import Settings
from servegate.storage.baselines import Baseline
from servegate.storage.commits import resolve_commit
from servegate.storage.git import run_git


def describe_reference(
    settings: Settings, reference: str | None, baseline: Baseline | None
) -> dict[str, str | None] | None:
    """Name the commit with its full hash and its subject; None where nothing is compared."""
    root = settings.root
    if reference is not None:
        commit: str | None = _resolve(settings, reference)
        return {"kind": "commit", "reference": reference, "commit": commit, "subject": _read_subject(settings, commit)}
    if baseline is None:
        return None
    path = baseline.path.relative_to(root) if baseline.path.is_relative_to(root) else baseline.path
    commit = baseline.checkout.commit
    subject = _read_subject(settings, commit)
    return {"kind": "baseline", "reference": commit, "commit": commit, "subject": subject, "path": str(path)}


def _resolve(settings: Settings, reference: str) -> str | None:
    try:
        return resolve_commit(settings.root, reference)
    except CheckoutError:
        return None


def _read_subject(settings: Settings, commit: str | None) -> str | None:
    """Return None where the commit isn't here, as after a rebase or in a shallow clone."""
    if commit is None:
        return None
    try:
        return run_git(settings.root, "log", "-1", "--format=%s", commit, "--") or None
    except CheckoutError:
        return None
