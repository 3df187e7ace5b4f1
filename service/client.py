"""Ask a running server: `python -m service.client photo.jpg [more.png …] [--url http://127.0.0.1:8000]`."""

import argparse
import base64
import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import requests

_TIMEOUT_S = 60.0


class ClientError(Exception):
    """Why there is no answer for a file."""


class NoServerError(ClientError):
    """Nothing answers at the URL."""


def classify(path: Path, url: str) -> list[tuple[str, float]]:
    """Send one image file to the server.

    Returns
    -------
    list of (label, probability)
        Best first; probabilities in 0..1.

    Raises
    ------
    ClientError
        When the file can't be read, the server isn't there or refuses the image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ClientError(f"can't read the file: {error.strerror}") from None
    try:
        with requests.Session() as session:
            session.trust_env = not _is_this_machine(url)
            response = session.post(
                f"{url.rstrip('/')}/predict", json={"image": base64.b64encode(data).decode()}, timeout=_TIMEOUT_S
            )
    except (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
        raise NoServerError(f"{url!r} is not a URL such as http://127.0.0.1:8000") from None
    except requests.ConnectionError:
        raise NoServerError(f"no server answers at {url}; start one with: make serve") from None
    except requests.Timeout:
        raise NoServerError(f"the server at {url} did not answer within {_TIMEOUT_S:.0f} s") from None
    except requests.RequestException as error:
        raise NoServerError(f"the answer of {url} breaks off or is no HTTP: {error}") from None
    try:
        answer = response.json()
        if not response.ok:
            raise ClientError(f"the server refuses it ({response.status_code}): {answer['detail']}")
        return [(item["label"], float(item["probability"])) for item in answer["predictions"]]
    except (ValueError, KeyError, TypeError):
        raise ClientError(
            f"{url} is no image classifier: it answers {response.status_code} {response.reason}"
        ) from None


def _is_this_machine(url: str) -> bool:
    """A proxy of the environment can't reach what listens here, and answers for it."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def main(arguments: Sequence[str]) -> int:
    """Print one line a file. Returns 0, 1 if a file failed, 2 if there is no server."""
    parser = argparse.ArgumentParser(prog="python -m service.client", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="photo.jpg")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the server listens (%(default)s)")
    options = parser.parse_args(arguments)
    status = 0
    for path in options.files:
        try:
            predictions = classify(path, options.url)
        except NoServerError as error:
            print(error, file=sys.stderr)
            return 2
        except ClientError as error:
            print(f"{path}: {error}", file=sys.stderr)
            status = 1
            continue
        print(f"{path}: " + ", ".join(f"{label} {probability:.1%}" for label, probability in predictions))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
