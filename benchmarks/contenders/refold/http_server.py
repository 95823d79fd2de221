"""A bank on a server in a process of its own: `…http_server URL projections|none bank|busy_bank`. It prints where it
serves.
"""

import sys
from importlib import import_module

from refold.server import Bounds, Server
from refold.server.serving import run


def main(url: str, projections: bool, module: str) -> None:
    """Serve until the end is asked for."""
    app = import_module(f"benchmarks.contenders.refold.{module}").app
    bounds = Bounds(rate=1e9, streams=10_000, own_streams=10_000)
    server = Server(app, url, bounds=bounds, projections=projections)
    run(server, "127.0.0.1:0", ready=lambda where: print(where, flush=True))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "projections", sys.argv[3])
