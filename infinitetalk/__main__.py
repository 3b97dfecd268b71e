"""`python -m infinitetalk {bench,download,generate,merge,serve,tiny}`."""

import argparse
import sys
from importlib import import_module

COMMANDS = {
    "bench": ("infinitetalk.bench.command", "measure speed, memory and agreement on this machine"),
    "download": ("infinitetalk.checkpoints.download", "fetch the published weights"),
    "generate": ("infinitetalk.generate.command", "make a video from an image and a voice"),
    "merge": ("infinitetalk.checkpoints.merge", "merge weights and LoRA files into one file, quick to load"),
    "serve": ("infinitetalk.server.command", "keep the model loaded and render jobs of the service"),
    "tiny": ("infinitetalk.checkpoints.tiny", "write a tiny random checkpoint, to try every path on a CPU"),
}


def main(arguments: list[str] | None = None) -> int:
    from infinitetalk.errors import InfiniteTalkError

    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="infinitetalk", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, help_text) in COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        if name in arguments[:1]:  # Imports of the other commands take seconds.
            import_module(module).add_arguments(command)
    options = parser.parse_args(arguments)
    try:
        status: int = import_module(COMMANDS[options.command][0]).run(options)
    except InfiniteTalkError as error:
        print(f"{error.code}: {error.detail}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
