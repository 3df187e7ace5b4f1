"""Text in, scores out: `python -m service.server --port 8000`. A LitServe app as anybody might have one."""

import argparse
import re
from collections.abc import Sequence

import litserve as ls

_WEIGHTS = {"good": 1.0, "great": 2.0, "love": 1.5, "bad": -1.0, "awful": -2.0, "boring": -1.5}
_WORD = re.compile(r"[a-z]+")


class ReviewScores(ls.LitAPI):
    """How friendly a review is, from -1 to 1."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.weights = dict(_WEIGHTS)

    def decode_request(self, request: dict[str, str]) -> str:
        """The review's text."""
        return request["text"]

    def predict(self, x: Sequence[str]) -> list[float]:
        """A score for each text of a batch."""
        return [self._score(_WORD.findall(text.lower())) for text in x]

    def _score(self, words: Sequence[str]) -> float:
        found = [self.weights[word] for word in words if word in self.weights]
        return sum(found) / sum(map(abs, found)) if found else 0.0

    def encode_response(self, output: float) -> dict[str, float]:
        """As the client gets it."""
        return {"score": round(output, 4)}


def main() -> None:
    """Serve until it is told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    server = ls.LitServer(ReviewScores(max_batch_size=16, batch_timeout=0.002), accelerator="cpu")
    server.run(host=options.host, port=options.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
