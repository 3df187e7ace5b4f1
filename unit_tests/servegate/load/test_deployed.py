"""A service behind TLS and a key: let in and measured, or told apart why not, before any load is sent."""

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import web

from servegate.errors import DeployedError, SettingsError
from servegate.load.deployed import Deployed
from servegate.load.workload import KEY_VARIABLE, Workload
from servegate.measure.http.service import HttpService
from servegate.measure.http.targets import HttpTarget
from servegate.processes.ports import free_port
from servegate.records import Cell
from unit_tests.builders.gate_settings import read_settings
from unit_tests.builders.targets import make_conditions
from unit_tests.builders.tiny_project import TinyProject

KEY = "open sesame"
ANSWER = {"label": "Cat"}
WORKLOAD = Workload("/predict", b"a cat", {"Content-Type": "text/plain"}, ANSWER)
TARGET = HttpTarget("api", HttpService(["none is started"]), WORKLOAD)


@dataclass
class Site:
    """A server on a thread of the test's process, and the requests that it has had."""

    port: int
    certificate: Path | None = None
    requests: list[str] = field(default_factory=list)

    def target(self, scheme: str = "https", host: str = "localhost", path: str = "", **others: str | None) -> Deployed:
        known = {"ca_file": str(self.certificate) if self.certificate else None, "api_key": KEY, **others}
        deployed = Deployed.from_options(f"{scheme}://{host}:{self.port}{path}", known["ca_file"])
        return replace(deployed, api_key=known["api_key"])


def serve(site: Site) -> Iterator[Site]:
    """Until the test is over."""

    async def predict(request: web.Request) -> web.Response:
        site.requests.append(request.path)
        if request.headers.get("X-API-Key") != KEY:
            return web.Response(status=401 if "X-API-Key" not in request.headers else 403)
        if request.path == "/moved/predict":
            return web.Response(status=307, headers={"Location": "/predict"})
        if request.path == "/wrong/predict":
            return web.json_response({"label": "Dog"})
        return web.json_response(ANSWER)

    async def run() -> None:
        app = web.Application()
        app.add_routes([web.post(path + "/predict", predict) for path in ("", "/moved", "/wrong")])
        runner = web.AppRunner(app)
        await runner.setup()
        context = None
        if site.certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(site.certificate, site.certificate.with_name("key.pem"))
        await web.TCPSite(runner, "127.0.0.1", site.port, ssl_context=context).start()
        started.set()
        await ended.wait()
        await runner.cleanup()

    loop, started, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert started.wait(30)
    yield site
    loop.call_soon_threadsafe(ended.set)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of localhost, signed by itself."""
    folder = tmp_path_factory.mktemp("certificate")
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "cert.pem"


@pytest.fixture
def secure(certificate: Path) -> Iterator[Site]:
    yield from serve(Site(free_port(), certificate))


@pytest.fixture
def plain() -> Iterator[Site]:
    yield from serve(Site(free_port()))


def check(deployed: Deployed) -> None:
    """One request, with the key."""
    deployed.check(deployed.with_key(WORKLOAD, "X-API-Key"))


class TestCheck:
    """One request before any load."""

    def test_who_has_the_key_and_trusts_the_certificate_is_let_in(self, secure: Site) -> None:
        check(secure.target())
        assert secure.requests == ["/predict"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"api_key": None}, rf"wants a key: set {KEY_VARIABLE} \(status 401\)"),
            ({"api_key": "wrong"}, rf"refuses the key of {KEY_VARIABLE} \(status 403\)"),
            ({"ca_file": None}, r"its certificate is not trusted \(self.signed certificate\).*--perf-server-ca"),
            ({"host": "127.0.0.1"}, r"its certificate is not trusted \(.*IP address mismatch"),
            ({"path": "/other"}, r"/other/predict: there is no such path \(status 404\)"),
            ({"path": "/moved"}, r"answers with a redirection \(status 307\)"),
            ({"path": "/wrong"}, r"/wrong/predict: answer.label is 'Dog', expected 'Cat'"),
        ],
    )
    def test_each_reason_has_a_message_of_its_own(
        self, secure: Site, options: dict[str, str | None], message: str
    ) -> None:
        with pytest.raises(DeployedError, match=message):
            check(secure.target(**options))  # type: ignore[arg-type]
        assert len(secure.requests) <= 1

    def test_no_such_host(self) -> None:
        with pytest.raises(DeployedError, match="there is no such host"):
            check(Deployed("https://host.invalid"))

    def test_nothing_answers_there(self) -> None:
        with pytest.raises(DeployedError, match="nothing answers there"):
            check(Deployed(f"http://127.0.0.1:{free_port()}"))

    def test_tls_where_there_is_none(self, plain: Site) -> None:
        with pytest.raises(DeployedError, match="speaks no TLS; is it http://"):
            check(plain.target())

    def test_no_tls_where_there_is(self, secure: Site) -> None:
        with pytest.raises(DeployedError, match="gave no answer"):
            check(secure.target("http"))


class TestMeasuring:
    """Load through a real client."""

    def test_every_answer_is_checked_and_what_it_costs_there_is_not_known(self, secure: Site) -> None:
        with TARGET.open(replace(make_conditions(), deployed=secure.target())) as instrument:
            sample = instrument.measure(Cell("api", "concurrency", 4), 0.3)
        assert sample.failures == ()
        assert sample.answers > 8
        assert sample.throughput_per_s > 10
        assert sample.telemetry is None
        assert sample.core_ms_per_unit is None

    def test_who_is_not_let_in_sends_no_load(self, secure: Site) -> None:
        with (
            pytest.raises(DeployedError, match="refuses the key"),
            TARGET.open(replace(make_conditions(), deployed=secure.target(api_key="wrong"))),
        ):
            pass
        assert len(secure.requests) == 1


class TestOptions:
    """What is refused on the command line."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--perf-server-url=https://a.example"], "name the load, as in --perf-cells 'api=1,8'"),
            (["--perf-server-url=a.example", "--perf-cells=api=1"], "must look like https://host.example:8443"),
            (["--perf-server-url=ftp://a.example", "--perf-cells=api=1"], "must look like"),
            (["--perf-server-url=https://me:secret@a.example", "--perf-cells=api=1"], f"the variable {KEY_VARIABLE}"),
            (["--perf-server-url=https://a.example", "--perf-server-ca=no.pem", "--perf-cells=api=1"], "no such file"),
            (["--perf-server-ca=no.pem"], "name that with --perf-server-url"),
            (["--perf-server-url=https://a.example", "--perf-cells=api=1", "--perf-versus=HEAD"], "starts two"),
        ],
    )
    def test_what_makes_no_sense(self, pytester: pytest.Pytester, options: Sequence[str], message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            read_settings(pytester, *options)

    def test_the_key_comes_from_the_environment_and_is_not_shown(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(KEY_VARIABLE, KEY)
        settings = read_settings(pytester, "--perf-server-url=https://a.example:8443/", "--perf-cells=api=1")
        assert settings.measuring.deployed == Deployed("https://a.example:8443", api_key=KEY)
        assert KEY not in repr(settings)
        assert not settings.judging.confirm

    def test_only_the_groups_with_a_named_load_are_measured(self, tiny_project: TinyProject) -> None:
        result = tiny_project.run("perf_tests", "--perf-server-url=https://a.example:8443", "--perf-cells=api=1")
        result.assert_outcomes(passed=1, deselected=1)
        result.stdout.fnmatch_lines(["servegate: *, the service at https://a.example:8443; *"])
        result.stdout.fnmatch_lines(["servegate: machine class deployed-a-example-8443"])
