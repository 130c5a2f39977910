"""The command line: each command is a typed function, its docstring the help.

Nothing heavy is imported before a command needs it, so that help and errors come at once.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from cyclopts import App

from acclimate._version import __version__
from acclimate.commands.benchmark import bench, table
from acclimate.commands.data import example, list_domains, prepare, show
from acclimate.commands.review import figures, report, select
from acclimate.commands.run import run_command
from acclimate.commands.serve import serve
from acclimate.commands.use import check, evaluate, export, predict, translate
from acclimate.errors import AcclimateError
from acclimate.progress import OF_ANOTHER, say


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    _write_anything()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if OF_ANOTHER in os.environ:
        threading.Thread(target=_stop_with_the_parent, daemon=True).start()
    try:
        build_app(tokens)(tokens)
    except AcclimateError as error:
        say(f"acclimate: {error}", error=True)
        _leave(error.exit_code)
    except KeyboardInterrupt:
        how_to_go_on = "; a run goes on with: acclimate run --resume RUN" if tokens[:1] == ["run"] else ""
        say(f"acclimate: interrupted{how_to_go_on}")
        _leave(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(141)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        say(f"acclimate: {error.filename or 'writing'}: {error.strerror}", error=True)
        _leave(2)
    except Exception:
        if not _is_one_of_several():
            raise
        traceback.print_exc()
        _leave(1)


def _stop_with_the_parent() -> None:
    """Stop this process, as Ctrl-C does, when the one is gone that started it and holds the other end of its input."""
    while os.read(0, 1024):  # not through sys.stdin, whose lock would be held when this process ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _write_anything() -> None:
    """Let names that the terminal's encoding does not have be written: bytes as they are, the rest with backslashes."""

    def as_bytes(error: UnicodeError) -> tuple[bytes, int]:
        assert isinstance(error, UnicodeEncodeError)
        text = error.object[error.start : error.end]
        written = b"".join(
            bytes([ord(one) - 0xDC00]) if 0xDC80 <= ord(one) <= 0xDCFF else one.encode("ascii", "backslashreplace")
            for one in text
        )
        return written, error.end

    codecs.register_error("acclimate", as_bytes)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="acclimate")


def _is_one_of_several() -> bool:
    together = sys.modules.get("torch.distributed")
    return together is not None and together.is_initialized()


def _leave(code: int) -> NoReturn:
    """Exit. One of several processes does so at once, so that the others see it go and nothing waits for them."""
    if _is_one_of_several():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def build_app(tokens: Sequence[str]) -> App:
    """Return the command line; ``tokens`` decide which method's settings ``run`` takes."""
    app = App(
        name="acclimate",
        version=__version__,
        help=(
            "Adapt an image classifier to a new domain without a single label there.\n\n"
            "New here? `acclimate data example` writes two small folders to try it on, and says what to type next."
        ),
        suppress_keyboard_interrupt=False,  # main says how to go on
    )
    app.command(run_command(tokens), name="run", sort_key=0)
    data = App(name="data", help="List, fetch and look at domains.", sort_key=1)
    in_order: list[Callable[..., Any]] = [predict, check, evaluate, translate, report, figures, select]
    in_order += [export, serve, bench, table]
    for place, command in enumerate(in_order, 2):
        app.command(command, sort_key=place)
    data.command(list_domains, name="list")
    data.command(prepare)
    data.command(show)
    data.command(example)
    app.command(data)
    app.register_install_completion_command(help="Complete commands and options in this shell: bash, zsh or fish.")
    return app
