"""Three endpoints of one server: `python -m reviews.server --port 8000`.

`POST /words` counts the words of a text. `POST /upload` does so for an uploaded file. `POST /summary` answers a text
with its longest words, one at a time.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import Annotated

import litserve as ls
from fastapi import Body


class CountWords(ls.LitAPI):
    """How often each word is in a text."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def decode_request(self, request: dict[str, str]) -> str:
        """The text."""
        return request["text"]

    def predict(self, x: str) -> dict[str, int]:
        """A count for each word."""
        return dict(Counter(x.lower().split()))

    def encode_response(self, output: dict[str, int]) -> dict[str, dict[str, int]]:
        """As the client gets it."""
        return {"words": output}


class CountUpload(CountWords):
    """The same for an uploaded file."""

    def decode_request(self, request: Annotated[bytes, Body(media_type="text/plain")]) -> str:
        """The file's text."""
        return request.decode()


class Summarise(ls.LitAPI):
    """The five longest words of a text."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def decode_request(self, request: dict[str, str]) -> str:
        """The text."""
        return request["text"]

    def predict(self, x: str) -> Iterator[str]:
        """One word after the other."""
        yield from sorted(x.split(), key=len, reverse=True)[:5]

    def encode_response(self, output):  # without a type: FastAPI takes it for one document's
        """As the client gets them."""
        for word in output:
            yield {"word": word}


def main() -> None:
    """Serve until it is told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    apis = [
        CountWords(api_path="/words"),
        CountUpload(api_path="/upload"),
        Summarise(api_path="/summary", stream=True),
    ]
    server = ls.LitServer(apis, accelerator="cpu")
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
