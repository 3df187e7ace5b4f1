"""Name the commit or the baseline that a run is compared with, for the run's document."""

from servegate.errors import CheckoutError
from servegate.options.settings import Settings
from servegate.storage.baselines import Baseline
from servegate.storage.git import run_git


def describe_reference(
    settings: Settings, reference: str | None, baseline: Baseline | None
) -> dict[str, str | None] | None:
    """Name the commit with its full hash and its subject; None where nothing is compared.

    Parameters
    ----------
    reference:
        The full hash of the commit that is compared with without a look at stored figures; None where there is none.
    """
    root = settings.root
    if reference is not None:
        name, subject = settings.judging.versus or reference, _read_subject(settings, reference)
        return {"kind": "commit", "reference": name, "commit": reference, "subject": subject}
    if baseline is None:
        return None
    path = baseline.path.relative_to(root) if baseline.path.is_relative_to(root) else baseline.path
    commit = baseline.checkout.commit
    subject = _read_subject(settings, commit)
    return {"kind": "baseline", "reference": commit, "commit": commit, "subject": subject, "path": str(path)}


def _read_subject(settings: Settings, commit: str) -> str | None:
    """Return None where the commit isn't here, as after a rebase or in a shallow clone."""
    try:
        return run_git(settings.root, "log", "-1", "--format=%s", commit, "--") or None
    except CheckoutError:
        return None
