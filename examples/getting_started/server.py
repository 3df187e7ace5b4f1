"""A LitServe app in one file, as its getting-started page has it, except that the port comes from the environment."""

import os

import litserve as ls


class Polynomial(ls.LitAPI):
    """A number in, its square and its cube added up out."""

    def setup(self, device):
        """Make two "models"."""
        self.square = lambda x: x**2
        self.cube = lambda x: x**3

    def predict(self, request):
        """Call both."""
        x = request["input"]
        return {"output": self.square(x) + self.cube(x)}


if __name__ == "__main__":
    server = ls.LitServer(Polynomial(max_batch_size=1), accelerator="auto")
    server.run(port=int(os.environ.get("PORT", 8000)))
