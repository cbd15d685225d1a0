"""Answer over HTTP with the class of an image and the radius within which it cannot change.

    python -m jaxcert.serve --workdir runs/quickstart
    curl --data-binary @digit.png -H 'Content-Type: image/png' http://127.0.0.1:8000/certify

    python -m jaxcert.serve --workdir runs/rs --config.certify.procedure=sequence \\
        --deadline 0.5

The certificate is the one of the run's config, which `--config.certify...` changes. An answer has
`predicted` (null where it abstains), `radius`, `abstained`, `reason` and `n`, the samples. With a
deadline, of the server or of a request (`/certify?deadline=0.2`), procedure sequence answers with
what is proven when the time is up: its bounds hold at every look together. Procedures of a fixed
number of samples have no certificate then. Each answer is wrong with probability at most alpha.
GET / says what answers. The server listens to this machine alone unless --host says otherwise; it
has no passwords and no encryption. Ctrl-C ends it.
"""

from __future__ import annotations

import secrets
import sys

from jaxcert import cli
from jaxcert.errors import InputError, exit_cleanly
from jaxcert.progress import say

OPTIONS: cli.Options = {
    "--host HOST": ("127.0.0.1", "address to listen at; 0.0.0.0: all of this machine"),
    "--port PORT": (8000, "port to listen at; 0: a free one"),
    "--deadline SECONDS": (
        None,
        "answer a request within so many seconds if it names no deadline itself (default: "
        "as long as it takes)",
    ),
    "--waiting N": (64, "images that may wait; further requests are answered with 503"),
}


def main(argv: list[str] | None = None) -> int:
    args = cli.parse(argv, __doc__, OPTIONS, needs="workdir")
    from jaxcert.api import serving

    deadline = _seconds(args.deadline)
    # whoever chooses the images must not know the noise
    seed = secrets.randbits(32)
    say("serve: compile")
    server = serving.Server(
        serving.predictor_of(args.config, args.workdir, seed=seed),
        host=args.host,
        port=args.port,
        deadline=deadline,
        waiting=args.waiting,
        resize=tuple(args.config.data.resize),
    )
    with server:
        say(f"serve: {args.workdir} at {server.url}/certify")
        server.serve_forever()
    return 0


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"--deadline has {text!r}: give seconds, such as 0.5."
        ) from None


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
