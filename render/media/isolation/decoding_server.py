"""`python -m render.media.isolation.decoding_server`: decodes strangers' files, each in a process of its own.

Says READY, then reads a job a line, as JSON, and writes a line of what came of it. It has loaded the decoders and does
nothing else, so that a new process for each file costs a fork of some milliseconds. It holds no secret and no
connection, has one thread, and ends with the process that started it. The other end is
`render.media.isolation.client`.
"""

import json
import os
import sys
import traceback
from errno import EFBIG, EMFILE, ENOMEM
from typing import Any, NoReturn

from render.parent_death import die_with_parent

READY = b"ready\n"  # Before the first job, so that a server that cannot start is not taken for a file that ended it.
MAX_ANSWER_BYTES = 2**20


def main() -> None:
    die_with_parent()
    from render.media.isolation import jobs  # noqa: F401  # Takes half a second, in which the parent may die.

    answers = os.dup(1)
    os.dup2(2, 1)  # Whatever a library prints must not be taken for an answer.
    os.write(answers, READY)
    for line in sys.stdin.buffer:
        os.write(answers, json.dumps(_in_own_process(json.loads(line), answers)).encode() + b"\n")


def _in_own_process(job: dict[str, Any], answers: int) -> dict[str, Any]:
    try:
        read, write = os.pipe()
        child = os.fork()
    except OSError as error:  # The machine has no memory or no descriptor left. Who reads this starts another server.
        return {"not_started": error.strerror}
    if child == 0:
        os.close(answers)
        os.close(read)
        _decode(job, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read(MAX_ANSWER_BYTES)
    _, status, usage = os.wait4(child, 0)
    return {
        "said": json.loads(said) if os.waitstatus_to_exitcode(status) == 0 else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "most_bytes": usage.ru_maxrss * 1024,
    }


def _decode(job: dict[str, Any], write: int) -> NoReturn:
    # Imported by `main` already.
    from accounts.errors import ServiceError
    from render.media.isolation import jobs, process_limits

    said: dict[str, Any]
    try:
        die_with_parent()
        process_limits.apply(process_limits.Limits(**job["limits"]))
        said = {"answer": jobs.do(job["job"], job["arguments"])}
    except ServiceError as error:
        said = {"error": {"code": error.code, "detail": error.detail, "param": error.param}}
    except MemoryError:
        said = {"exceeded": "memory"}
    except OSError as error:
        exceeded = {EFBIG: "file size", ENOMEM: "memory", EMFILE: "open files"}.get(error.errno or 0)
        said = {"exceeded": exceeded} if exceeded else {"errno": error.errno, "text": error.strerror}
    except Exception:  # noqa: BLE001  # It is raised again where the job came from.
        said = {"bug": traceback.format_exc()}
    try:
        os.write(write, json.dumps(said).encode())
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
