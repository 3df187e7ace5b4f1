"""Good and bad requests for as long as one likes, while workers are killed: `make soak`, minutes and more configurable.

Prints what was sent and what came back; status 1 if an answer was wrong or missing, or a good request was refused that
no killed worker had in hand.
"""

import argparse
import asyncio
import base64
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
import psutil
from PIL import Image

from perf_tests.photos import cat_jpeg
from servegate.processes.server import ServerProcess
from tools.stress.bad_requests import MAX_IMAGE_BYTES, BadRequest, bad_requests
from tools.stress.image_files import cat, cat_png, encode, exif, json_body, segment, with_segments
from tools.stress.server_processes import workers_of

_ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 30.0
_TOLERANCE = 2e-3
_WARM_UP_SHARE = 0.2
_SAMPLE_EVERY_S = 2.0
_HEAD_SHARE = 0.05
# As Java's HttpClient offers HTTP/2 with each request.
_JAVA = {
    "content-type": "image/jpeg",
    "connection": "Upgrade, HTTP2-Settings",
    "upgrade": "h2c",
    "http2-settings": "AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA",
}


@dataclass
class Tally:
    """The answers to the requests.

    Attributes
    ----------
    refused:
        Good requests that got a 503 because their worker was killed.
    slowest_s:
        The longest that any request took.
    """

    good: int = 0
    bad: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    wrong: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        """All requests that have their end."""
        return self.good + self.bad + self.refused + self.wrong.total() + self.lost.total()


@dataclass(frozen=True)
class GoodRequest:
    """A body with what is right for it."""

    body: bytes
    headers: Mapping[str, str]
    cat: float


class Soak:
    """One server under load.

    Parameters
    ----------
    good:
        Each unlike the others, so that an answer that belongs to another request is noticed.
    """

    def __init__(self, url: str, good: Sequence[GoodRequest], bad: Sequence[BadRequest]) -> None:
        self.tally = Tally()
        self._url, self._good, self._bad = url, good, bad
        self._random = random.Random(7)

    async def run(self, requests: int, concurrency: int, bad_share: float) -> None:
        """Send so many requests, so many at a time."""
        left = iter(range(requests))

        async def one_client(session: aiohttp.ClientSession) -> None:
            for _ in left:
                start_s = time.monotonic()
                if self._random.random() < bad_share:
                    await self.send_bad(self._random.choice(self._bad))
                elif self._random.random() < _HEAD_SHARE:
                    await self.send_head(session)
                else:
                    await self.send_good(session, self._random.choice(self._good))
                self.tally.slowest_s = max(self.tally.slowest_s, time.monotonic() - start_s)

        connector = aiohttp.TCPConnector(limit=concurrency)
        timeout = aiohttp.ClientTimeout(_TIMEOUT_S + 5)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(one_client(session) for _ in range(concurrency)))

    async def send_good(self, session: aiohttp.ClientSession, good: GoodRequest) -> None:
        """Count its answer as good, refused, wrong or lost."""
        try:
            async with session.post(f"{self._url}/predict", data=good.body, headers=good.headers) as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.tally.lost[f"good: {error!r}"] += 1
            return
        if response.status == 503 and "worker" in answer["detail"]:
            self.tally.refused += 1
        elif response.status == 200 and abs(_cat(answer) - good.cat) < _TOLERANCE:
            self.tally.good += 1
        else:
            self.tally.wrong[f"good: {response.status} {answer}"] += 1

    async def send_head(self, session: aiohttp.ClientSession) -> None:
        """Ask whether the server can be reached, as a monitor does."""
        try:
            async with session.head(f"{self._url}/live") as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.tally.lost[f"HEAD: {error!r}"] += 1
            return
        if response.status == 200 and not body:
            self.tally.good += 1
        else:
            self.tally.wrong[f"HEAD: {response.status} {body!r}"] += 1

    async def send_bad(self, bad: BadRequest) -> None:
        """Count its answer as bad, wrong or lost."""
        try:
            async with asyncio.timeout(_TIMEOUT_S + 5):
                status = await self._status_of(bad)
        except TimeoutError:
            self.tally.lost[bad.name] += 1
            return
        if status == bad.status:
            self.tally.bad += 1
        else:
            self.tally.wrong[f"{bad.name}: {status} instead of {bad.status}"] += 1

    async def _status_of(self, bad: BadRequest) -> int | None:
        host, _, port = self._url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        received = b""
        try:
            writer.write(bad.sent)
            if bad.is_cut_off:
                writer.write_eof()
            while more := await reader.read(65_536):
                received += more
        except ConnectionError:
            pass  # who says too much is answered before he has ended, and cut off
        finally:
            writer.close()
        return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.1 ") else None


def _cat(answer: dict[str, list[dict[str, float]]]) -> float:
    return next(item["probability"] for item in answer["predictions"] if str(item["label"]) == "Cat")


async def good_requests(url: str) -> list[GoodRequest]:
    """Photos of which each has a probability of its own, as the service that has nothing else to do answers them."""
    photo = cat()
    photos = [photo, *(photo.crop((x, 0, x + 300, 300)) for x in (0, 75, 150)), photo.rotate(90), photo.rotate(180)]
    photos += [photo.resize((60, 40)), Image.new("RGB", (50, 50), "navy")]
    sent = [(json_body(encode(photo, "PNG")), "application/json") for photo in photos]
    sent += [(cat_jpeg(), "image/jpeg"), (encode(photos[3], "WEBP"), "application/octet-stream")]
    # As other clients send them: a form, base64 in lines and of another alphabet, no type, curl's default, EXIF of many
    # entries, the end marker lost, an offer of another protocol.
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="cat.png"\r\n\r\n%s\r\n--x--\r\n'
    lines = b'{"image": "data:image/png;base64,%s"}' % base64.encodebytes(cat_png()).replace(b"\n", b"\\n")
    url_safe = json.dumps({"image": base64.urlsafe_b64encode(encode(photos[5], "PNG")).decode()}).encode()
    entries = segment(0xE1, b"Exif\0\0" + exif([(0x9000, 7, 4, b"abcd")] * 5_000)) * 10
    sent += [(form % encode(photos[4], "PNG"), "multipart/form-data; boundary=x"), (lines, "text/json")]
    sent += [(with_segments(cat_jpeg(), entries), ""), (cat_jpeg()[:-2], "binary/octet-stream")]
    sent += [(url_safe, ""), (encode(photos[2], "WEBP"), "application/x-www-form-urlencoded")]
    requests = [(body, {"content-type": content_type}) for body, content_type in sent]
    requests.append((encode(photos[1], "JPEG", progressive=True), _JAVA))
    good = []
    async with aiohttp.ClientSession() as session:
        for body, headers in requests:
            async with session.post(f"{url}/predict", data=body, headers=headers) as response:
                good.append(GoodRequest(body, headers, _cat(await response.json())))
    return good


async def _kill_workers(server: ServerProcess, every_s: float) -> None:
    """One at a time: the next when the last one's successor is ready."""
    choices = random.Random(3)
    async with aiohttp.ClientSession() as session:
        while True:
            await asyncio.sleep(every_s)
            async with session.get(f"{server.url}/health") as response:
                is_ready = response.status == 200
            if is_ready:
                choices.choice(workers_of(server.process.pid)).kill()


async def _sample_memory(server: ServerProcess, soak: Soak, samples: dict[int, list[tuple[int, float]]]) -> None:
    while True:
        root = psutil.Process(server.process.pid)
        for process in (root, *root.children(recursive=True)):
            try:
                memory_mb = process.memory_info().rss / 1e6
            except psutil.NoSuchProcess:
                continue  # it has ended since it was listed
            samples.setdefault(process.pid, []).append((soak.tally.answered, memory_mb))
        await asyncio.sleep(_SAMPLE_EVERY_S)


def slopes_mb(samples: dict[int, list[tuple[int, float]]], requests: int) -> dict[int, float]:
    """Megabytes that each process grew by for 10,000 requests after the warm-up, where it was there for all of it."""
    slopes: dict[int, float] = {}
    for pid, points in samples.items():
        settled = np.array([point for point in points if point[0] >= _WARM_UP_SHARE * requests])
        if points[0][0] < _WARM_UP_SHARE * requests and len(settled) > 2 and settled[-1, 0] > 0.9 * requests:
            slopes[pid] = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0]) * 10_000
    return slopes


async def _run(server: ServerProcess, arguments: argparse.Namespace) -> bool:
    soak = Soak(server.url, await good_requests(server.url), bad_requests())
    samples: dict[int, list[tuple[int, float]]] = {}
    beside = [asyncio.create_task(_sample_memory(server, soak, samples))]
    if arguments.kill_every_s:
        beside.append(asyncio.create_task(_kill_workers(server, arguments.kill_every_s)))
    start_s = time.monotonic()
    await soak.run(arguments.requests, arguments.concurrency, arguments.bad_share)
    elapsed_s, tally = time.monotonic() - start_s, soak.tally
    for task in beside:
        if not task.cancel():
            task.result()  # it has failed, and says how
    ended = server.process.log_tail().count("has ended with status")
    print(
        f"{tally.answered} requests in {elapsed_s:.0f} s: {tally.good} good, {tally.bad} bad with their status, "
        f"{tally.refused} refused from a killed worker's hands, {tally.wrong.total()} wrong, "
        f"{tally.lost.total()} lost; the slowest took {tally.slowest_s:.1f} s; {ended} workers at least were replaced"
    )
    for what, count in [*tally.wrong.most_common(20), *tally.lost.most_common(20)]:
        print(f"  {count} times {what}")
    for pid, slope in slopes_mb(samples, arguments.requests).items():
        print(f"  process {pid}: {samples[pid][-1][1]:.0f} MB, {slope:+.2f} MB for 10,000 requests")
    return not (tally.wrong or tally.lost)


def main(arguments: Sequence[str]) -> int:
    """Run; the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.stress.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--bad-share", type=float, default=0.25)
    parser.add_argument(
        "--kill-every-s",
        type=float,
        default=20.0,
        help="seconds between two killed workers, more if the new one takes longer; 0: none",
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        flags = ["--max-image-bytes", str(MAX_IMAGE_BYTES), "--request-timeout-s", f"{_TIMEOUT_S:g}"]
        command = [sys.executable, "-m", "service.server", *flags, "--log-level", "error"]
        environment = {"TMPDIR": folder, "PROMETHEUS_MULTIPROC_DIR": ""}
        with ServerProcess(command, cwd=_ROOT, env=environment, ready_deadline_s=180) as server:
            return 0 if asyncio.run(_run(server, options)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
