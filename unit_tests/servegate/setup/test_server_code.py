"""Tests of the facts that are read from the source of a LitServe app."""

import ast

import pytest

from servegate.setup.server_code import Endpoint, ServerCode, makes_server, read_server

GETTING_STARTED = """\
import litserve as ls

class Engine(ls.LitAPI):
    def setup(self, device):
        pass
    def predict(self, request):
        return {"output": request["input"] ** 2}

if __name__ == "__main__":
    server = ls.LitServer(Engine(max_batch_size=1), accelerator="auto")
    server.run(port=8000)
"""


def read(source: str, *others: str) -> ServerCode:
    return read_server(ast.parse(source), [ast.parse(other) for other in others])


def test_the_getting_started_file() -> None:
    assert read(GETTING_STARTED) == ServerCode(
        endpoints=(Endpoint("/predict", ("input",)),),
        health_path="/health",
        port_option=None,
        port_variable=None,
        run_line=11,
        writes_client=True,
    )


@pytest.mark.parametrize(
    ("port", "option", "variable"),
    [
        ("server.run(port=int(os.environ['PORT']))", None, "PORT"),
        ("server.run(port=int(os.environ.get('MY_PORT', 8000)))", None, "MY_PORT"),
        ("server.run(port=int(os.getenv('PORT', '8000')))", None, "PORT"),
        ("from os import getenv\nserver.run(port=int(getenv('PORT')))", None, "PORT"),
        ("parser.add_argument('--port', type=int)", "--port", None),
        ("import typer\ndef main(port: int = 8000): server.run(port=port)\ntyper.run(main)", "--port", None),
        ("def main(port: int = 8000): server.run(port=port)\nmain()", None, None),
        ("key = os.environ['REPORT']", None, None),
    ],
)
def test_where_the_port_comes_from(port: str, option: str | None, variable: str | None) -> None:
    code = read(port)
    assert (code.port_option, code.port_variable) == (option, variable)


def test_endpoints_are_told_with_the_class_from_another_file() -> None:
    server = """\
from app.apis import Words, Tags, Stream, Upload
from litserve import LitServer
LitServer([Words(api_path="/words"), Tags(api_path="/tags"), Stream(api_path="/s", stream=True), Upload(api_path="/u")],
          healthcheck_path="/ready").run(generate_client_file=False)
"""
    apis = """\
from litserve import LitAPI
class Text(BaseModel):
    text: str
    language: str = "en"
class Words(LitAPI):
    def decode_request(self, request: Text):
        return request.text
class Tags(Words):
    def decode_request(self, request):
        return request.get("tags"), request["text"]
class Stream(LitAPI):
    def predict(self, x): ...
class Upload(LitAPI):
    def decode_request(self, request):
        return request["file"].file.read()
"""
    code = read(server, apis)
    assert code.endpoints == (
        Endpoint("/words", ("text", "language")),
        Endpoint("/tags", ("tags", "text")),
        Endpoint("/s", is_stream=True),
        Endpoint("/u", ("file",), takes_form=True),
    )
    assert (code.health_path, code.writes_client) == ("/ready", False)


def test_a_class_that_is_its_own_base_in_two_files_is_no_endless_question() -> None:
    source = "class A(B): ...\nclass B(A): ...\nls.LitServer(A()).run()"
    assert read(source).endpoints == (Endpoint(),)


@pytest.mark.parametrize(
    ("source", "makes"),
    [(GETTING_STARTED, True), ("from litserve import LitServer", False), ("x = LitServer(a)", True)],
)
def test_a_module_that_makes_a_server(source: str, makes: bool) -> None:
    assert makes_server(ast.parse(source)) is makes
