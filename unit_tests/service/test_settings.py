"""Settings come from flags and environment, are checked, and a wrong one is named with its source."""

import re
from pathlib import Path

import pytest

import service.settings
from service.settings import Settings, SettingsError, load_settings

# Setting, a wrong value, and what the message says about it.
_WRONG_VALUES = [
    ("host", "localhost", "127.0.0.1"),
    ("port", "80", "greater than or equal to 1024"),
    ("port", "http", "integer"),
    ("device", "tpu", "'auto', 'cpu' or 'cuda'"),
    ("workers_per_device", "0", "greater than or equal to 1"),
    ("api_processes", "many", "integer"),
    ("max_batch_size", "0", "greater than or equal to 1"),
    ("max_batch_size", "1025", "less than or equal to 1024"),
    ("batch_timeout_s", "0", "greater than 0"),
    ("batch_timeout_s", "nan", "less than or equal to 10"),
    ("micro_batch_size", "-1", "greater than or equal to 1"),
    ("request_timeout_s", "inf", "less than or equal to 3600"),
    ("keep_alive_s", "0", "greater than 0"),
    ("max_requests", "0", "greater than or equal to 1"),
    ("worker_timeout_s", "0.9", "greater than or equal to 1"),
    ("start_timeout_s", "0", "greater than 0"),
    ("stop_timeout_s", "-5", "greater than 0"),
    ("precision", "int8", "'float32', 'bfloat16' or 'float16'"),
    ("engine", "tensorrt", "'openvino', 'inductor' or 'eager'"),
    ("cuda_graphs", "perhaps", "valid boolean"),
    ("checkpoint", "/no/such/file.pth", "no such file"),
    ("checkpoint", "/tmp", "is a folder; name the file in it. What FSDP or DeepSpeed has written is put together"),
    ("labels", "Cat", "two or more different names"),
    ("labels", "Cat,Cat", "two or more different names"),
    ("labels", "Cat,", "two or more different names"),
    ("image_size", "8", "greater than or equal to 16"),
    ("crop_fraction", "1.5", "less than or equal to 1"),
    ("max_image_bytes", "20 MB", "integer"),
    ("max_image_pixels", "0", "greater than or equal to 1"),
    ("log_level", "loud", "'debug'"),
]


def _load(*arguments: str) -> Settings:
    return load_settings(arguments, "python -m service.server")


def _cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(service.settings, "cpu_count", lambda: count)


def test_the_defaults_are_those_that_are_documented() -> None:
    """Batches of at most 64, collected for at most 10 ms, of the embedded model, on a port of this machine alone."""
    settings = _load()
    assert (settings.max_batch_size, settings.batch_timeout_s) == (64, 0.01)
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.model, settings.checkpoint, settings.labels) == ("tf_efficientnet_lite0", None, ())
    assert (settings.image_size, settings.crop_fraction) == (224, 0.875)
    assert settings.keep_alive_s > 60, "load balancers keep a connection for 60 s"
    assert settings.max_image_pixels >= 8160 * 6144, "phones take such photos"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_stands_in_the_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has a flag and a description."""
    with pytest.raises(SystemExit) as ended:
        _load("--help")
    assert ended.value.code == 0
    assert f"--{name.replace('_', '-')}" in capsys.readouterr().out
    assert Settings.model_fields[name].description


def test_flags_and_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting can be given in both ways."""
    monkeypatch.setenv("CLASSIFIER_MAX_BATCH_SIZE", "16")
    settings = _load("--batch-timeout-s", "0.5", "--workers-per-device=3")
    assert (settings.max_batch_size, settings.batch_timeout_s, settings.workers_per_device) == (16, 0.5, 3)


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed is meant."""
    monkeypatch.setenv("CLASSIFIER_PORT", "9001")
    assert _load().port == 9001
    assert _load("--port", "9002").port == 9002


@pytest.mark.parametrize(
    ("flags", "most"),
    [
        (["--workers-per-device", "2"], 256),
        (["--workers-per-device", "1", "--max-batch-size", "4"], 128),
        (["--workers-per-device", "9"], 512),
        (["--max-requests", "7"], 7),
    ],
)
def test_there_is_room_for_two_batches_a_worker(flags: list[str], most: int) -> None:
    """Within bounds, and if nothing else is asked for."""
    assert _load(*flags).resolved_max_requests == most


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `CLASSIFIER_PORT= make serve`."""
    monkeypatch.setenv("CLASSIFIER_PORT", "")
    assert _load().port == 8000


@pytest.mark.parametrize(("name", "value", "reason"), _WRONG_VALUES)
def test_a_wrong_flag_is_named(name: str, value: str, reason: str) -> None:
    """The message says which flag, its value and what is allowed."""
    flag = f"--{name.replace('_', '-')}"
    for arguments in ((flag, value), (f"{flag}={value}",)):
        with pytest.raises(SettingsError, match=re.escape(f"{flag}={value}: ")) as caught:
            _load(*arguments)
        assert reason in str(caught.value)


@pytest.mark.parametrize(("name", "value", "reason"), _WRONG_VALUES)
def test_a_wrong_variable_is_named(name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which variable, its value and what is allowed."""
    variable = f"CLASSIFIER_{name.upper()}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=re.escape(f"{variable}={value}: ")) as caught:
        _load()
    assert reason in str(caught.value)


def test_every_setting_but_the_models_name_can_be_wrong() -> None:
    """The table above is complete."""
    assert {name for name, _, _ in _WRONG_VALUES} == set(Settings.model_fields) - {"model"}


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each, whichever source."""
    monkeypatch.setenv("CLASSIFIER_DEVICE", "tpu")
    with pytest.raises(SettingsError) as caught:
        _load("--port", "80")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["--port=80", "CLASSIFIER_DEVICE=tpu"]


@pytest.mark.parametrize("name", ["CLASSIFIER_MAXBATCH", "CLASSIFIER_", "classifier_batch_size"])
def test_an_unknown_variable_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt setting must not be ignored; the message lists those that there are."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"unknown environment variable {name}; known: .*CLASSIFIER_MAX_BATCH_SIZE"):
        _load()


_SERVICE_LINKS = {
    "CLASSIFIER_PORT": "tcp://10.0.171.239:8000",
    "CLASSIFIER_SERVICE_HOST": "10.0.171.239",
    "CLASSIFIER_SERVICE_PORT": "8000",
    "CLASSIFIER_SERVICE_PORT_HTTP": "8000",
    "CLASSIFIER_PORT_8000_TCP": "tcp://10.0.171.239:8000",
    "CLASSIFIER_PORT_8000_TCP_PROTO": "tcp",
    "CLASSIFIER_PORT_8000_TCP_PORT": "8000",
    "CLASSIFIER_PORT_8000_TCP_ADDR": "10.0.171.239",
    "CLASSIFIER_PORT_53_UDP": "udp://10.0.171.239:53",
    # Of a second service, called classifier-canary.
    "CLASSIFIER_CANARY_PORT": "tcp://10.0.171.240:8000",
    "CLASSIFIER_CANARY_SERVICE_HOST": "10.0.171.240",
    "CLASSIFIER_CANARY_SERVICE_PORT_HTTP": "8000",
    "CLASSIFIER_CANARY_PORT_8000_TCP_ADDR": "10.0.171.240",
}


def test_the_service_links_of_kubernetes_are_no_settings(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are ignored with a line in the log, and a flag still counts."""
    for name, value in _SERVICE_LINKS.items():
        monkeypatch.setenv(name, value)
    assert _load().port == 8000
    assert len(caplog.records) == 1
    assert all(name in caplog.records[0].message for name in _SERVICE_LINKS)
    assert _load("--port", "9000").port == 9000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLASSIFIER_PORTS", "1"),
        ("CLASSIFIER_SERVICE", "x"),
        ("CLASSIFIER_PORT_8000", "1"),
        ("CLASSIFIER_API_PORT", "9"),
    ],
)
def test_what_only_resembles_a_service_link_is_unknown(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"unknown environment variable {name};"):
        _load()


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell has seen what a container's environment holds."""
    (tmp_path / "best.ckpt").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLASSIFIER_CHECKPOINT", "~/best.ckpt")
    assert _load("--labels", "Cat,Dog").checkpoint == tmp_path / "best.ckpt"
    monkeypatch.setenv("CLASSIFIER_CHECKPOINT", "~nobody-of-this-name/best.ckpt")
    with pytest.raises(SettingsError, match="there is no home folder for ~ in this path; write it out"):
        _load("--labels", "Cat,Dog")


@pytest.mark.parametrize("arguments", [("--no-such-flag",), ("--max-batch", "3"), ("photo.jpg",)])
def test_an_unknown_flag_is_refused(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2 with the usage; an abbreviation is no flag either."""
    with pytest.raises(SystemExit) as ended:
        _load(*arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_labels_and_checkpoint_belong_together(tmp_path: Path) -> None:
    """Labels alone would rename cats and dogs, a checkpoint alone would have no names."""
    checkpoint = tmp_path / "weights.pth"
    checkpoint.touch()
    for arguments in (("--labels", "Lynx,Wolf"), ("--checkpoint", str(checkpoint))):
        with pytest.raises(SettingsError, match=r"CLASSIFIER_CHECKPOINT and CLASSIFIER_LABELS .* belong together"):
            _load(*arguments)
    settings = _load("--labels", "Lynx, Wolf", "--checkpoint", str(checkpoint))
    assert (settings.labels, settings.checkpoint) == (("Lynx", "Wolf"), checkpoint)


def test_a_batch_cannot_wait_longer_than_its_requests() -> None:
    """The message names both settings with their values."""
    with pytest.raises(SettingsError, match=r"--batch-timeout-s\)=5 must be below .*--request-timeout-s\)=2"):
        _load("--batch-timeout-s", "5", "--request-timeout-s", "2")


@pytest.mark.parametrize("flags", [("--device", "cuda"), ("--device", "cpu", "--precision", "float16")])
def test_openvino_is_refused_where_it_would_not_run_as_asked(flags: tuple[str, ...]) -> None:
    """The message says what goes with it."""
    with pytest.raises(SettingsError, match=r"--engine\)=openvino runs in float32 or bfloat16 on a CPU alone"):
        _load("--engine", "openvino", *flags)
    assert _load("--engine", "openvino", "--device", "cpu").precision == "auto"


@pytest.mark.parametrize("flags", [("--device", "cpu"), ("--device", "cuda", "--engine", "eager")])
def test_cuda_graphs_are_refused_where_there_are_none(flags: tuple[str, ...]) -> None:
    """A GPU's compiled passes alone are recorded. They are off unless they are asked for: no GPU has measured them."""
    with pytest.raises(
        SettingsError, match=r"CLASSIFIER_CUDA_GRAPHS \(--cuda-graphs\)=on is for a GPU with the engine"
    ):
        _load("--cuda-graphs", "on", *flags)
    assert _load("--cuda-graphs", "on", "--device", "cuda").cuda_graphs
    assert not _load("--device", "cuda").cuda_graphs


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("cores", [1, 2, 3, 4, 7, 8, 16, 96])
def test_workers_and_threads_never_exceed_the_cores(cores: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU one-thread workers fill the cores up to eight; what they leave becomes threads."""
    _cores(monkeypatch, cores)
    settings = _load("--device", device)
    workers = settings.resolved_workers_per_device
    assert workers == (min(cores, 8) if device == "cpu" else 2)
    assert workers * settings.threads_per_worker <= max(cores, workers)
    assert device == "cpu" or settings.threads_per_worker == 1, "they would only copy"
    assert 1 <= settings.resolved_api_processes <= max(1, cores // 4)
    assert settings.decoding_threads * settings.resolved_api_processes <= cores


@pytest.mark.parametrize(("workers", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_threads_are_the_cores_share_of_the_workers(
    workers: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer workers have more threads each; none has less than one."""
    _cores(monkeypatch, 8)
    assert _load("--workers-per-device", str(workers)).threads_per_worker == threads


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_auto_is_the_cpu_where_gpus_are_hidden(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that CUDA may not use is no device."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert _load().resolved_device == "cpu"
    assert _load("--device", "cuda").resolved_device == "cuda", "what is asked for is taken"


def test_settings_cannot_be_changed() -> None:
    """What was checked stays so."""
    with pytest.raises(ValueError, match="frozen"):
        _load().port = 9000
