"""A web service as many are written: it calls `papermill.execute_notebook` for each POST.

One synchronous worker on the standard library's WSGI server. Prints `ready`, and its port.
"""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

import papermill

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


def execute(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Execute the notebook of the body, and answer with the executed one."""
    raw = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.ipynb").write_bytes(raw)
        papermill.execute_notebook(
            f"{folder}/in.ipynb", f"{folder}/out.ipynb", progress_bar=False, kernel_name="python3"
        )
        executed = json.loads((Path(folder) / "out.ipynb").read_bytes())
    body = json.dumps({"status": "success", "notebook": executed}).encode()
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    )
    return [body]


def main() -> None:
    """Serve until it is ended."""
    with make_server("127.0.0.1", 0, execute, handler_class=_Quiet) as server:
        print(f"ready\n{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
