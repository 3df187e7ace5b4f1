"""The exceptions of servegate.

ServegateError
├── SettingsError          an option or ini value is wrong, or options contradict each other
├── ProcessError           a measured process did not start, died or did not stop
├── DeployedError          a service that runs elsewhere can't be reached, or doesn't let us in
├── MeasurementError       measuring itself failed: no figure, so no verdict
├── BaselineError          a stored baseline can't be used
│   └── NoBaselineError    there is none for this class of machine
├── ReportError            the report can't be written
├── HistoryError           the results of past runs can't be kept or read
├── MissingExtraError      a package of one of servegate's extras isn't installed
├── SetupError             `servegate init` or `servegate doctor` can't do its work in this project
├── CheckoutError          the working tree or its git history is not as needed
├── ReferenceCheckoutError  the other checkout of a comparison side by side can't be measured
│   └── NothingToCompareError  it has no service or no performance tests yet
├── MachineInUseError      another run measures on this machine
└── WrongCodeError         a process of a comparison ran other code than its checkout's
"""


class ServegateError(Exception):
    """Base of all errors that servegate raises for its user; the message says what to do."""


class SettingsError(ServegateError):
    """An option or ini value is wrong, or options contradict each other."""


class ProcessError(ServegateError):
    """A measured process did not start, died or did not stop. The message ends with the tail of its log."""


class DeployedError(ServegateError):
    """A service that runs elsewhere can't be reached, or doesn't let us in; nothing was measured."""


class MeasurementError(ServegateError):
    """Measuring itself failed: there is no figure, so there is no verdict."""


class BaselineError(ServegateError):
    """A stored baseline can't be used: corrupt, half-written, from another class of machine or a newer version."""


class NoBaselineError(BaselineError):
    """There is no stored baseline for this class of machine."""


class ReportError(ServegateError):
    """The report can't be written."""


class HistoryError(ServegateError):
    """The results of past runs can't be kept or read."""


class MissingExtraError(ServegateError):
    """A package of one of servegate's extras isn't installed."""


class SetupError(ServegateError):
    """`servegate init` or `servegate doctor` can't do its work in this project."""


class CheckoutError(ServegateError):
    """The working tree or its git history is not as needed."""


class ReferenceCheckoutError(ServegateError):
    """The other checkout of a comparison side by side can't be measured; this one is not to blame."""


class NothingToCompareError(ReferenceCheckoutError):
    """The other checkout has no service or no performance tests yet: nothing can have become worse."""


class WrongCodeError(ServegateError):
    """A process of a comparison side by side ran other code than its checkout's, or didn't tell which it ran."""


class MachineInUseError(ServegateError):
    """Another run of this user measures on this machine, and this one was told to end then."""
