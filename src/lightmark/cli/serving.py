"""Command `serve`: the browser page and, with --api, landmarks over HTTP."""

from __future__ import annotations

import os
import signal
import sys
import threading
import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from lightmark.cli.detecting import quiet_pillow
from lightmark.cli.options import FOLDER, MIN_FACE, MODEL, WORD, Command
from lightmark.errors import ConfigError, MissingExtraError
from lightmark.runtime.shipped import DEFAULT_MODEL

if TYPE_CHECKING:
    from lightmark.serve.workers import Workers

ENDPOINT_ONLY = ("model", "detector", "min_face", "threads", "workers", "queue", "max_bytes", "max_pixels", "timeout")
MOST_WORKERS = 4  # default limit: each may hold a decoded picture, 150 MB at the default --max-pixels


@click.command(cls=Command, short_help="The browser page, and landmarks over HTTP")
@click.option(
    "--host", default="127.0.0.1", show_default=True,
    help="Address to listen on. Any but this machine's own exposes the server to the network, without password or "
    "encryption; outside localhost browsers allow the camera over HTTPS only, which needs a proxy in front.",
)  # fmt: skip
@click.option(
    "--allow-host", "allow_hosts", multiple=True, metavar="NAME",
    help="A further host name of this server, as behind a proxy; may be repeated. Addresses, localhost, "
    "--host and, on a network, this machine's own names are known; any other Host header is refused (DNS rebinding).",
)  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
@click.option("--quiet", is_flag=True, help="Do not log requests.")
@click.option("--page", type=FOLDER, help="Folder of another built page to serve instead of the package's.")
@click.option(
    "--api", is_flag=True,
    help="Also serve POST /v1/landmarks (a picture in, JSON out), described at /docs and /openapi.json. Off by "
    "default, since the page computes in the browser and needs no upload.",
)  # fmt: skip
@click.option("--model", type=MODEL, default=DEFAULT_MODEL, show_default=True, help="A shipped name or an ONNX file.")
@click.option("--detector", type=WORD, default="auto", show_default=True, help="Face detector, as for detect.")
@MIN_FACE
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of the model.")
@click.option(
    "--workers", type=click.IntRange(1),
    help=f"Pictures at a time; by default as many as there are cores, up to {MOST_WORKERS}.",
)  # fmt: skip
@click.option("--queue", type=click.IntRange(0), default=16, show_default=True, help="Pictures that may wait.")
@click.option(
    "--max-bytes", type=click.IntRange(1), default=20_000_000, show_default=True, help="Largest request body."
)
@click.option("--max-pixels", type=click.IntRange(1), default=50_000_000, show_default=True, help="Largest picture.")
@click.option(
    "--timeout", type=click.FloatRange(0, 3600, min_open=True), default=10.0, show_default=True,
    help="Seconds from a request's header to its response.",
)  # fmt: skip
@click.pass_context
def serve(
    context: click.Context, host: str, allow_hosts: tuple[str, ...], port: int, open_browser: bool, quiet: bool,
    page: Path | None, api: bool, model: Path, detector: str, min_face: float | None, threads: int,
    workers: int | None, queue: int, max_bytes: int, max_pixels: int, timeout: float,
) -> None:  # fmt: skip
    """Serve the browser page and, with --api, landmarks over HTTP, until Ctrl-C.

    The page computes landmarks in the browser itself; pictures and camera stay there. All options from --model on are
    for the endpoint of --api. It responds 503 with Retry-After when workers and queue are full or --timeout has passed,
    and 4xx with the reason to an invalid request.

    \b
    Exit status:
      0    ended by Ctrl-C
      2    wrong use, or nothing to serve
      143  ended by SIGTERM
    In both cases running requests are finished first, and new ones are refused.
    """
    require_serve()
    if not api:
        require_no_endpoint_options(context)
    from lightmark.serve.app import build_app
    from lightmark.serve.server import names_of, open_socket, run, url_of
    from lightmark.serve.static import PAGE, model_files, page_files
    from lightmark.serve.workers import Workers

    files = page_files(page or PAGE) | model_files()
    pool, endpoint = None, None
    if api:
        from lightmark.landmarker import Landmarker
        from lightmark.serve.endpoint import Endpoint, Limits

        pool = Workers(workers or min(os.cpu_count() or 1, MOST_WORKERS), queue)
        landmarker = Landmarker(model, detector, threads, min_face=min_face)
        endpoint = Endpoint(landmarker, pool, Limits(max_bytes, max_pixels, timeout))
    with open_socket(host, port) as listening:
        url = url_of(listening)
        log = None if quiet else partial(click.echo, err=True)
        app = build_app(files, endpoint, url, log, [*names_of(host), *allow_hosts])
        with quiet_pillow():
            ended_by = run(app, listening, timeout + 1, partial(announce, url, open_browser))
    end(143 if ended_by == signal.SIGTERM else 0, pool)


def announce(url: str, open_browser: bool) -> None:
    """Print the address of the page, and open it in the browser if asked to."""
    click.echo(url)
    if open_browser:
        # In a thread, because a text browser returns only when the user quits it.
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def require_serve() -> None:
    """Raise `MissingExtraError` with the install command if the extra `serve` is missing."""
    try:
        import starlette  # noqa: F401  # only to check that it is installed
        import uvicorn  # noqa: F401  # the same
    except ImportError as error:
        raise MissingExtraError(f'serving needs {error.name}: pip install "lightmark[serve]"') from error


def require_no_endpoint_options(context: click.Context) -> None:
    """Raise `ConfigError` for an endpoint option without --api, which would have no effect."""
    for name in ENDPOINT_ONLY:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise ConfigError(f"--{name.replace('_', '-')} is for the endpoint, which is off; add --api")


def end(status: int, workers: Workers | None) -> None:
    """Exit with `status`, also while a worker thread still runs."""
    if workers is not None:
        workers.close()
        if workers.busy:
            # A thread cannot be stopped, and Python waits for it at exit, however long it takes.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    sys.exit(status)
