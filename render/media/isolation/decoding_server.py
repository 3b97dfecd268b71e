"""`python -m render.media.isolation.decoding_server`: decodes customers' files, each in a process of its own.

It writes READY, then reads requests, one line of JSON each, and answers each with one line. It has the decoders loaded
and does nothing else, so that a new process for each file costs a fork of some milliseconds. It holds no secret and no
connection, has one thread, and ends with the process that started it. The other end is `render.media.isolation.client`.
"""

import json
import os
import sys
import traceback
from errno import EFBIG, EMFILE, ENOMEM
from typing import Any, NoReturn

from render.parent_death import die_with_parent

READY = b"ready\n"  # tells a server that cannot start from a file that crashes it
MAX_ANSWER_BYTES = 2**20


def main() -> None:
    die_with_parent()
    from PIL import Image

    from render.media.isolation import jobs  # noqa: F401  # takes half a second, in which the parent may die

    Image.init()  # Pillow imports its plug-ins late, 30 ms in the process of each file.
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    os.write(answers, READY)
    for line in sys.stdin.buffer:
        os.write(answers, json.dumps(_run(json.loads(line), answers)).encode() + b"\n")


def _run(request: dict[str, Any], answers: int) -> dict[str, Any]:
    """Run the request in a process of its own, and return its outcome."""
    try:
        read, write = os.pipe()
        child = os.fork()
    except OSError as error:  # The machine has no memory or no descriptor left: the client starts another server.
        return {"not_started": error.strerror}
    if child == 0:
        os.close(answers)
        os.close(read)
        _decode(request, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read(MAX_ANSWER_BYTES)
    _, status, usage = os.wait4(child, 0)
    return {
        "answer": json.loads(answer) if os.waitstatus_to_exitcode(status) == 0 else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "most_bytes": usage.ru_maxrss * 1024,
    }


def _decode(request: dict[str, Any], write: int) -> NoReturn:
    # Imported by `main` already.
    from accounts.errors import ServiceError
    from render.media.isolation import jobs, process_limits

    answer: dict[str, Any]
    try:
        die_with_parent()
        process_limits.apply(process_limits.Limits(**request["limits"]))
        answer = {"result": jobs.do(request["job"], request["arguments"])}
    except ServiceError as error:
        answer = {"error": {"code": error.code, "detail": error.detail, "param": error.param}}
    except MemoryError:
        answer = {"exceeded": "memory"}
    except OSError as error:
        exceeded = {EFBIG: "file size", ENOMEM: "memory", EMFILE: "open files"}.get(error.errno or 0)
        answer = {"exceeded": exceeded} if exceeded else {"errno": error.errno, "text": error.strerror}
    except Exception:  # noqa: BLE001  # the client raises it again
        answer = {"bug": traceback.format_exc()}
    try:
        os.write(write, json.dumps(answer).encode())
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
