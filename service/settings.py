"""Every setting of the service, with its unit: environment (`CLASSIFIER_*`) and command line."""

import logging
import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from loky import cpu_count
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.gpus import GpuError, count_usable_gpus

ENV_PREFIX = "CLASSIFIER_"
_LOG = logging.getLogger(__name__)
# Variables that Kubernetes and Docker set in every container if there is a service or a link called `classifier`.
_SERVICE_LINK = re.compile(
    rf"{ENV_PREFIX}(?:(?:[A-Z0-9_]+_)?SERVICE_(?:HOST|PORT(?:_[A-Z0-9_]+)?)"
    r"|(?:[A-Z0-9_]+_)?PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_LINKED_PORT = re.compile(r"(?:tcp|udp|sctp)://")

Precision = Literal["float32", "bfloat16", "float16"]
Device = Literal["cpu", "cuda"]
Engine = Literal["openvino", "inductor", "eager"]

CAT, DOG = "Cat", "Dog"
OPENVINO_PRECISIONS: Sequence[Precision] = ("float32", "bfloat16")
WORKERS_ON_GPU = 2
"""With two workers the copies of one batch overlap with the work of the other. The model alone has the same number of
batches in flight on a GPU when it is measured as the API's capacity."""


class SettingsError(Exception):
    """A setting has a wrong value; the message says which, where it came from and what is allowed."""


class Settings(BaseSettings):
    """The settings of the service. A command-line flag wins over its environment variable."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    host: Literal["127.0.0.1", "0.0.0.0", "::"] = Field(
        "127.0.0.1", description="address to listen on; LitServe knows these three"
    )
    port: int = Field(8000, ge=1024, le=65535, description="TCP port to listen on")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where there is one")
    workers_per_device: int | None = Field(
        None, ge=1, le=256, description="inference processes a device; default: from device and cores"
    )
    api_processes: int | None = Field(
        None, ge=1, le=64, description="HTTP processes; default: one for every four cores"
    )
    max_batch_size: int = Field(64, ge=1, le=1024, description="most requests that are predicted together")
    batch_timeout_s: float = Field(0.01, gt=0, le=10, description="seconds that a batch waits for company at most")
    micro_batch_size: int | None = Field(
        None, ge=1, le=1024, description="images a forward pass; default: what is fastest on the device"
    )
    request_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="seconds that a request may take; then 504, or 408 if its body is not here"
    )
    keep_alive_s: float = Field(
        75.0,
        gt=0,
        le=3600,
        description="seconds that an idle connection stays open; longer than the load balancer keeps it",
    )
    max_requests: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="requests in flight at a time; beyond it 503; default: two batches a worker, from 128 to 512",
    )
    worker_timeout_s: float = Field(
        30.0, ge=1, le=3600, description="seconds without a sign of life after which a worker is replaced"
    )
    start_timeout_s: float = Field(
        660.0, gt=0, le=86_400, description="seconds in which a worker must be ready, compiling included"
    )
    stop_timeout_s: float = Field(
        20.0, gt=0, le=600, description="seconds that requests in flight have after a stop signal"
    )
    precision: Literal["auto"] | Precision = Field(
        "auto", description="auto: bfloat16 on a GPU and on a CPU that multiplies it in hardware, else float32"
    )
    engine: Literal["auto"] | Engine = Field(
        "auto",
        description="what runs the model; auto: openvino on a CPU, else inductor; eager doesn't compile it",
    )
    cuda_graphs: bool = Field(
        False,
        description="on or off: replay a CUDA graph of each batch size, on a GPU; the step forward of `make gpu-check` "
        "measures whether that pays",
    )
    model: str = Field(
        "tf_efficientnet_lite0", min_length=1, description="timm model name; the default's weights need no hub"
    )
    checkpoint: Path | None = Field(
        None, description="file with fine-tuned weights of the model: of torch.save, Lightning or safetensors"
    )
    labels: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="the checkpoint's labels in order of its outputs, as in Cat,Dog"
    )
    image_size: int = Field(224, ge=16, le=2048, description="pixels a side of the model's input")
    crop_fraction: float = Field(
        0.875, gt=0, le=1, description="share of the photo's shorter side that the centre crop shows"
    )
    max_image_bytes: int = Field(
        20_000_000, ge=1_000, le=1_000_000_000, description="largest image file in bytes; beyond it 413"
    )
    max_image_pixels: int = Field(
        52_000_000, ge=1, le=1_000_000_000, description="most pixels an image may have; beyond it 413"
    )
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        "info", description="how much the server logs"
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _split_labels(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(label.strip() for label in value.split(","))
        return value

    @field_validator("labels")
    @classmethod
    def _labels_are_distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if labels and (len(labels) < 2 or "" in labels or len(set(labels)) != len(labels)):
            raise ValueError("must be two or more different names with commas between, as in Cat,Dog")
        return labels

    @field_validator("checkpoint")
    @classmethod
    def _checkpoint_exists(cls, checkpoint: Path | None) -> Path | None:
        if checkpoint is None:
            return None
        try:
            # No shell has seen what a container's environment holds.
            checkpoint = checkpoint.expanduser()
        except RuntimeError:
            raise ValueError("there is no home folder for ~ in this path; write it out") from None
        if not checkpoint.exists():
            raise ValueError("no such file")
        if checkpoint.is_dir():
            raise ValueError(
                "is a folder; name the file in it. What FSDP or DeepSpeed has written is put together into one file "
                "first, with torch.distributed.checkpoint.format_utils.dcp_to_torch_save or DeepSpeed's zero_to_fp32.py"
            )
        return checkpoint

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if (self.checkpoint is None) != (not self.labels):
            raise ValueError(
                f"{ENV_PREFIX}CHECKPOINT and {ENV_PREFIX}LABELS (--checkpoint, --labels) belong together: "
                "a checkpoint's outputs need names, and names without a checkpoint change nothing"
            )
        if self.batch_timeout_s >= self.request_timeout_s:
            raise ValueError(
                f"{ENV_PREFIX}BATCH_TIMEOUT_S (--batch-timeout-s)={self.batch_timeout_s:g} must be below "
                f"{ENV_PREFIX}REQUEST_TIMEOUT_S (--request-timeout-s)={self.request_timeout_s:g}"
            )
        if self.engine == "openvino" and not (
            self.resolved_device == "cpu" and self.precision in ("auto", *OPENVINO_PRECISIONS)
        ):
            raise ValueError(
                f"{ENV_PREFIX}ENGINE (--engine)=openvino runs in {' or '.join(OPENVINO_PRECISIONS)} on a CPU alone; "
                f"add {ENV_PREFIX}DEVICE=cpu and {ENV_PREFIX}PRECISION=float32 (--device, --precision), or take another"
            )
        if self.cuda_graphs and not (self.resolved_device == "cuda" and self.engine in ("auto", "inductor")):
            raise ValueError(
                f"{ENV_PREFIX}CUDA_GRAPHS (--cuda-graphs)=on is for a GPU with the engine inductor; set it to off on "
                "a CPU and with another engine"
            )
        return self

    @cached_property
    def gpu_count(self) -> int:
        """GPUs that CUDA may use; none are looked for where only the CPU is asked for."""
        if self.device == "cpu":
            return 0
        try:
            return count_usable_gpus()
        except GpuError as error:
            raise SettingsError(
                f"{ENV_PREFIX}DEVICE (--device)={self.device}: {error}. To run on the CPU, set it to cpu"
            ) from error

    @property
    def resolved_device(self) -> Device:
        """`cuda` when it was asked for or is there, else `cpu`.

        Raises
        ------
        SettingsError
            Where a GPU may be used and its driver doesn't work, or it is too old: the CPU is no silent replacement.
        """
        if self.device == "auto":
            return "cuda" if self.gpu_count else "cpu"
        return self.device

    @property
    def device_count(self) -> int:
        """GPUs, each of which gets workers of its own; 1 on the CPU.

        Raises
        ------
        SettingsError
            For the same reasons as `resolved_device`, and if the user asked for a GPU and there is none.
        """
        if self.resolved_device == "cpu":
            return 1
        if not self.gpu_count:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            hidden = "" if visible is None else f" with CUDA_VISIBLE_DEVICES={visible}"
            raise SettingsError(
                f"{ENV_PREFIX}DEVICE (--device)=cuda: there is no GPU that CUDA may use{hidden}; `nvidia-smi -L` lists "
                "those of the machine, and a container gets them by --gpus. To run on the CPU, set it to cpu"
            )
        return self.gpu_count

    @property
    def resolved_workers_per_device(self) -> int:
        """On a CPU one one-thread worker a core, eight at most; on a GPU `WORKERS_ON_GPU`."""
        if self.workers_per_device is not None:
            return self.workers_per_device
        return min(usable_cores(), 8) if self.resolved_device == "cpu" else WORKERS_ON_GPU

    @property
    def reported_labels(self) -> tuple[str, ...]:
        """The labels that an answer has: the checkpoint's, or those of the groups of ImageNet's classes."""
        return self.labels or (CAT, DOG)

    @property
    def resolved_max_requests(self) -> int:
        """While a worker has a batch in hand the next one can come together."""
        return self.max_requests or min(512, max(128, 2 * self.max_batch_size * self.resolved_workers_per_device))

    @property
    def threads_per_worker(self) -> int:
        """Threads of one worker: workers times threads never exceed the usable cores (one each at least).

        On a GPU one: others would only help to copy, and take the cores of those that decode.
        """
        return 1 if self.resolved_device == "cuda" else max(1, usable_cores() // self.resolved_workers_per_device)

    @property
    def decoding_threads(self) -> int:
        """Threads of one HTTP process: those of all together are as many as the usable cores (one each at least)."""
        return max(1, usable_cores() // self.resolved_api_processes)

    @property
    def resolved_api_processes(self) -> int:
        """HTTP processes: decoding runs in them, beside the workers."""
        return self.api_processes or max(1, usable_cores() // 4)


def usable_cores() -> int:
    """Cores that this process may use: affinity and cgroup quota count, not what the machine has."""
    cores: int = cpu_count()
    return cores


def load_settings(arguments: Sequence[str], program: str) -> Settings:
    """Read the settings of a process from its command line and environment.

    Parameters
    ----------
    arguments:
        The command line without the program's name.
    program:
        The command that a usage message shows, as in ``python -m service.server``.

    Raises
    ------
    SettingsError
        With one line for every wrong value, which names the value's source.
    SystemExit
        From argparse: status 2 for an unknown flag, 0 after ``--help``.
    """
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    links = sorted(filter(_is_service_link, os.environ))
    if links:
        _LOG.warning("ignored, since they are a container's service links and no settings: %s", ", ".join(links))
        # pydantic-settings would read CLASSIFIER_PORT; nothing else here wants them.
        for name in links:
            del os.environ[name]
    unknown = sorted(name for name in os.environ if name.upper().startswith(ENV_PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsError(f"unknown environment variable {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    command_line: dict[str, Any] = {"_cli_parse_args": list(arguments), "_cli_prog_name": program}
    try:
        return Settings(**command_line)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(dict(item), arguments) for item in error.errors())) from None


def _is_service_link(name: str) -> bool:
    is_port = name.startswith(ENV_PREFIX) and name.endswith("PORT")
    return bool(_SERVICE_LINK.fullmatch(name) or (is_port and _LINKED_PORT.match(os.environ[name])))


def _explain(error: dict[str, object], arguments: Sequence[str]) -> str:
    location = error["loc"]
    message = str(error["msg"]).removeprefix("Value error, ")
    if not (isinstance(location, tuple) and location):
        return message
    name = str(location[0]).replace("_", "-")
    flag = f"--{name}"
    from_flag = any(argument == flag or argument.startswith(f"{flag}=") for argument in arguments)
    source = flag if from_flag else f"{ENV_PREFIX}{name.replace('-', '_').upper()}"
    return f"{source}={error['input']}: {message}"
