"""Say how the two arms differ on purpose, as in their engine: their processes report it."""

from collections.abc import Mapping

from servegate.findings.wording import enumerate_names, quote

# Last words of the details that say how a process runs; others, as versions, stand with the machine.
_HOW_IT_RUNS = frozenset({"engine", "precision", "device", "devices", "threads"})


def describe_arms(arms: Mapping[str, Mapping[str, str]]) -> str:
    """Name the differences, as in "`api` and `model` run with engine b instead of a"; empty where there are none.

    Parameters
    ----------
    arms:
        Details of `base` and `head` by name, as in `model engine`; may be empty.
    """
    base, head = arms.get("base", {}), arms.get("head", {})
    owners: dict[str, list[str]] = {}
    for name in dict.fromkeys([*head, *base]):
        owner, _, detail = name.rpartition(" ")
        then, now = base.get(name), head.get(name)
        if detail in _HOW_IT_RUNS and then is not None and now is not None and then != now:
            owners.setdefault(f"with {detail} {now} instead of {then}", []).append(owner)
    # Groups with the same differences share a clause.
    differences: dict[tuple[str, ...], list[str]] = {}
    for difference, names in owners.items():
        differences.setdefault(tuple(names), []).append(difference)
    return "; ".join(f"{_say_who(names)} {enumerate_names(said)}" for names, said in differences.items())


def _say_who(names: tuple[str, ...]) -> str:
    quoted = [quote(name) if name else "the service" for name in names]
    return f"{enumerate_names(quoted)} {'run' if len(quoted) > 1 else 'runs'}"
