"""One run that measures: its gate, its machine and its commit, and what it leaves when it ends."""

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from servegate.errors import BaselineError, CheckoutError, NoBaselineError, ServegateError, SettingsError
from servegate.judging.arms import collect_details
from servegate.options.settings import Settings
from servegate.records import Fingerprint
from servegate.report.folder import write_report
from servegate.report.results import RunFacts, results_document
from servegate.session.allowances import find_allowances
from servegate.session.gate import Gate
from servegate.session.machine_claim import claim_machine
from servegate.session.reference import describe_reference
from servegate.session.requests import list_requests
from servegate.session.selection import Selection
from servegate.storage.accepted import find_accepted
from servegate.storage.baselines import Baseline, StoredFile, baseline_path, read_baseline, write_baseline
from servegate.storage.commits import identify, list_differing_files, read_head, require_clean, resolve_commit
from servegate.storage.history import append_run
from servegate.telemetry.gpu_facts import tell_other_processes
from servegate.telemetry.machine import read_fingerprint


class GateSession:
    """State of a run, from the moment when pytest is configured.

    Attributes
    ----------
    notes:
        Lines for the reader of the run.

    Raises
    ------
    ServegateError
        When what the run is to be compared with, or to be accepted, isn't there.
    """

    def __init__(self, config: pytest.Config, settings: Settings, progress: Callable[[str], None]) -> None:
        self.settings = settings
        self.fingerprint = read_fingerprint(settings.project.packages, settings.measuring.details)
        if settings.measuring.deployed is not None:
            self.fingerprint = replace(self.fingerprint, place=settings.measuring.deployed.name)
        self.notes: list[str] = []
        self._why_no_baseline = ""
        self._baseline_path = baseline_path(settings.files.baselines, self.fingerprint.machine_class)
        self._stored = StoredFile.at(self._baseline_path)
        self.gate = Gate(Selection(settings), self._find_baseline(), progress)
        versus = settings.judging.versus
        # Resolved once: HEAD or a branch may be another commit when the run ends.
        self.gate.reference = resolve_commit(settings.root, versus) if versus is not None else self._find_accepted()
        self._base = self.gate.reference or (self.gate.baseline.checkout.commit if self.gate.baseline else None)
        if settings.judging.is_judged:
            self.gate.selection.allowances, notes = find_allowances(settings, self._base)
            self.notes += notes
        self._config = config
        self._began = datetime.now(UTC)
        self._commit, self._is_changed = read_head(settings.root)
        if versus is not None and self.gate.reference == self._commit and not self._is_changed:
            self.notes.append(
                f"nothing differs: the working tree has no changes, and {versus} is its commit, "
                "so the run compares that with itself"
            )

    def claim_machine(self) -> None:
        """Keep other runs of this user from measuring on this machine until pytest ends.

        Raises
        ------
        MachineInUseError
            When one measures already, and this run isn't to wait for it.
        """
        measuring = self.settings.measuring
        if measuring.deployed is not None:
            return
        command = shlex.join(["pytest", *map(str, self._config.invocation_params.args)])
        claim = claim_machine(command, self.settings.root, waits=measuring.waits, progress=self.gate.progress)
        if claim is not None:
            self._config.add_cleanup(claim.release)
        self.notes += tell_other_processes()
        # The run may have waited for another one until now.
        self.gate.begin()

    def _find_baseline(self) -> Baseline | None:
        root, judging, project = self.settings.root, self.settings.judging, self.settings.project
        if self.settings.is_accepting:
            require_clean(root, self.settings.files.baselines)
            identify(root, project.service, project.lock)
        if judging.versus is not None or not judging.is_judged:
            return None
        try:
            return read_baseline(self.settings.files.baselines, self.fingerprint.machine_class)
        except NoBaselineError as error:
            self._why_no_baseline = str(error)
            return None

    def _find_accepted(self) -> str | None:
        """The accepted commit to compare with, where results are to be judged and this class has no figures."""
        settings, project = self.settings, self.settings.project
        if self.gate.baseline is not None or not settings.judging.is_judged or settings.measuring.deployed is not None:
            return None
        try:
            accepted = (
                find_accepted(settings.root, settings.files.baselines, project.service, project.lock)
                if settings.judging.confirm
                else None
            )
        except CheckoutError as error:
            self._why_no_baseline += f"; nor is there an accepted commit to compare with: {error}"
            accepted = None
        if accepted is None:
            self.notes.append(f"NO_BASELINE: {self._why_no_baseline}")
            paths = " ".join(os.path.relpath(path, settings.root) for path in settings.files.paths)
            self.notes.append(
                f"compare with a commit: pytest {paths} --perf-versus HEAD; "
                f"or store what this machine measures as its baseline: pytest {paths} --perf-accept"
            )
            return None
        self.notes.append(f"{self._why_no_baseline}; compared side by side with the commit accepted last: {accepted}")
        return accepted.commit

    @property
    def complete_fingerprint(self) -> Fingerprint:
        """The fingerprint with the details that the measured processes reported."""
        return replace(self.fingerprint, details={**self.fingerprint.details, **self.gate.results.details})

    def finish(self, exit_status: int) -> int:
        """Write the output of this run: its baseline if the user accepts it, and its report.

        Parameters
        ----------
        exit_status:
            The exit status that pytest has because of the tests alone.

        Returns
        -------
        int
            The exit status, which changes if a baseline can't be stored.
        """
        if not self.gate.results.cells:
            return exit_status
        if self.settings.is_accepting:
            exit_status = self._accept_if(exit_status)
        self._report(exit_status)
        return exit_status

    def _accept_if(self, exit_status: int) -> int:
        if exit_status != pytest.ExitCode.OK:
            self.notes.append("not accepted: only a run in which every test passes becomes a baseline")
            return exit_status
        try:
            self.notes.append(f"accepted: {self._accept()}; commit it to keep it")
        except ServegateError as error:
            self.notes.append(f"not accepted: {error}")
            return pytest.ExitCode.TESTS_FAILED
        return exit_status

    def _report(self, exit_status: int) -> None:
        reports = self.gate.results.reports
        if reports and all(report.loads_same_code for report in reports):
            self.notes.append("no Python file that the service loads differs between base and head")
        if any(not (report.base.loaded and report.head.loaded) for report in reports):
            self.notes.append(
                "a process loaded no Python file of the project, so nothing vouches for the code that it ran"
            )
        facts = RunFacts(
            sentence=self.gate.sentence,
            began=self._began,
            ended=datetime.now(UTC),
            exit_status=int(exit_status),
            arguments=[str(argument) for argument in self._config.invocation_params.args],
            commit=self._commit,
            is_changed=self._is_changed,
            compared_with=describe_reference(self.settings, self.gate.reference, self.gate.baseline),
            rule=self.settings.judging.rule,
            fingerprint=self.complete_fingerprint,
            differences=self.gate.baseline.differences(self.complete_fingerprint.details) if self.gate.baseline else (),
            selected=self.gate.selection.cells,
            failing=self.gate.failing,
            arms=collect_details(self.gate.results.reports),
            load=self.gate.outside.found,
            changed_files=None if self._base is None else list_differing_files(self.settings.root, self._base),
            requests=list_requests(self.gate.selection.targets),
            notes=tuple(self.notes),
        )
        found = self.gate.results
        document = results_document(
            facts, list(found.cells.values()), found.groups, list(found.figures.values()), found.failures
        )
        report, history = self.settings.files.report, self.settings.files.history
        try:
            if history is not None:
                append_run(history, document)
            if report is not None:
                write_report(report, document)
                self.notes.append(f"report: {report / 'index.html'}")
        except ServegateError as error:  # a missing report must not change the exit status
            self.notes.append(str(error))

    def _accept(self) -> str:
        root, files, project = self.settings.root, self.settings.files, self.settings.project
        require_clean(root, files.baselines)
        lost = self._stored_cells() - {str(cell) for cell in self.gate.results.cells}
        if lost:
            raise SettingsError(
                f"the stored baseline has cells that this run did not measure: {', '.join(sorted(lost))}; "
                f"measure all, or remove {self._baseline_path} first"
            )
        config = self._config
        session: Any = config.pluginmanager.get_plugin("pytest-benchmark")
        machine_info = session.get_machine_info()
        machine_info.pop("node", None)  # reports are shared, and a host's name is private
        machine_info["servegate"] = vars(self.complete_fingerprint)
        document = config.hook.pytest_benchmark_generate_json(
            config=config,
            benchmarks=session.benchmarks,
            include_data=False,
            machine_info=machine_info,
            commit_info=config.hook.pytest_benchmark_generate_commit_info(config=config),
        )
        checkout = identify(root, project.service, project.lock)
        complete = self.complete_fingerprint
        return str(write_baseline(files.baselines, complete, checkout, document, replaces=self._stored))

    def _stored_cells(self) -> set[str]:
        try:
            return set(read_baseline(self.settings.files.baselines, self.fingerprint.machine_class).throughput_per_s)
        except BaselineError:
            return set()  # none, or one that can't be used and is replaced, as its message advises
