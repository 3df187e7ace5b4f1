"""Two endpoints of one server, whose port comes from the environment: `PORT=8000 python -m service.server`.

`POST /count` counts the words of a text. `POST /tags`, with raw bytes, tells which tags a text has.
"""

import os
from collections.abc import Sequence
from typing import Annotated

import litserve as ls
from fastapi import Body


class CountWords(ls.LitAPI):
    """How many words a text has."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def decode_request(self, request: dict[str, str]) -> str:
        """The text."""
        return request["text"]

    def predict(self, x: Sequence[str]) -> list[int]:
        """A count for each text of a batch."""
        return [len(text.split()) for text in x]

    def encode_response(self, output: int) -> dict[str, int]:
        """As the client gets it."""
        return {"words": output}


class FindTags(ls.LitAPI):
    """The words of a text that begin with a hash sign."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> str:
        """The text."""
        return request.decode()

    def predict(self, x: str) -> list[str]:
        """The tags of one text."""
        return [word for word in x.split() if word.startswith("#")]

    def encode_response(self, output: list[str]) -> dict[str, list[str]]:
        """As the client gets it."""
        return {"tags": output}


def main() -> None:
    """Serve until it is told to stop."""
    apis = [CountWords(max_batch_size=8, batch_timeout=0.002, api_path="/count"), FindTags(api_path="/tags")]
    server = ls.LitServer(apis, accelerator="cpu", healthcheck_path="/ready")
    port = int(os.environ["PORT"])
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
