"""Servers for developers and benchmarks: `python -m tests.servers start postgres18` prints the URL of one."""

import argparse
import sys
from pathlib import Path

from tests.servers.account import base_folder, new_folder, write_file
from tests.servers.installations import POSTGRES_NAMES, Unavailable, find_pgbouncer, find_postgres
from tests.servers.neo4j import Neo4jServer, find_neo4j
from tests.servers.opensearch import OpenSearchServer, find_opensearch
from tests.servers.packages import install_missing
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer, find_redis

NAMES = (*POSTGRES_NAMES, "pgbouncer", "redis", "opensearch", "neo4j")


def main() -> int:
    """Run one command; the exit code is 0 when it did what was asked, 1 when something is missing."""
    arguments = _parser().parse_args()
    try:
        match arguments.command:
            case "start":
                print(start(arguments.name, dict(arguments.settings)))
            case "stop":
                for name in arguments.names or NAMES[::-1]:
                    stop(name)
            case "status":
                status()
            case "install":
                return install_missing()
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


def start(name: str, settings: dict[str, str]) -> str:
    """Start a server, unless it runs already, and return its URL; pgbouncer starts postgres18, behind it, too."""
    if name == "pgbouncer":
        start("postgres18", {})
        bouncer = kept_pgbouncer() or PgBouncer.create(_kept_server("postgres18"), folder=_keep(name))
        _remember_port(bouncer.folder, bouncer.port)
        if not bouncer.running:
            bouncer.start()
        return bouncer.url()
    if name == "redis":
        redis = kept_redis() or RedisServer.create(folder=_keep(name))
        _remember_port(redis.folder, redis.port)
        write_file(redis.folder / "password", redis.password)
        redis.start()
        return redis.url()
    if name == "opensearch":
        search = kept_opensearch() or OpenSearchServer.create(folder=_keep(name))
        _remember_port(search.folder, search.port)
        search.start()
        return search.url()
    if name == "neo4j":
        graph = kept_neo4j() or Neo4jServer.create(folder=_keep(name))
        _remember_port(graph.folder, graph.port)
        graph.start()
        return graph.url()
    server = kept_postgres(name) or PostgresServer.create(name, settings=settings, folder=_keep(name))
    if not server.running:
        server.start()
    _remember_port(server.folder, server.port)
    return server.url()


def stop(name: str) -> None:
    """Stop a server that was started with `start`, and delete its data."""
    kept = _kept(name)
    if kept is not None:
        kept.remove()
        _link(name).unlink()


def status() -> None:
    """Print one line for each server: what is installed, and the URL when it was started."""
    for name in NAMES:
        try:
            found = str(_FINDERS[name]() if name in _FINDERS else find_postgres(name))
        except Unavailable as reason:
            found = str(reason)
        kept = _kept(name)
        print(f"{name:<12} {kept.url() if kept is not None and kept.running else 'not started':<72} {found}")


def kept_postgres(name: str) -> PostgresServer | None:
    """The server that `start` made under this name, if there is one."""
    folder = _link(name)
    return PostgresServer(find_postgres(name), folder.resolve(), _port(folder)) if (folder / "port").exists() else None


def kept_pgbouncer() -> PgBouncer | None:
    """The pgbouncer that `start` made, if there is one."""
    folder = _link("pgbouncer")
    return (
        PgBouncer(_kept_server("postgres18"), folder.resolve(), _port(folder)) if (folder / "port").exists() else None
    )


def kept_redis() -> RedisServer | None:
    """The Redis that `start` made, if there is one."""
    folder = _link("redis")
    if not (folder / "port").exists():
        return None
    return RedisServer(folder.resolve(), _port(folder), (folder / "password").read_text(encoding="utf-8"))


def kept_opensearch() -> OpenSearchServer | None:
    """The OpenSearch that `start` made, if there is one."""
    folder = _link("opensearch")
    return OpenSearchServer(folder.resolve(), _port(folder)) if (folder / "port").exists() else None


def kept_neo4j() -> Neo4jServer | None:
    """The Neo4j that `start` made, if there is one."""
    folder = _link("neo4j")
    if not (folder / "port").exists():
        return None
    return Neo4jServer(folder.resolve(), _port(folder), (folder / "password").read_text(encoding="utf-8"))


def _kept(name: str) -> PostgresServer | PgBouncer | RedisServer | OpenSearchServer | Neo4jServer | None:
    match name:
        case "pgbouncer":
            return kept_pgbouncer()
        case "redis":
            return kept_redis()
        case "opensearch":
            return kept_opensearch()
        case "neo4j":
            return kept_neo4j()
        case _:
            return kept_postgres(name)


_FINDERS = {"pgbouncer": find_pgbouncer, "redis": find_redis, "opensearch": find_opensearch, "neo4j": find_neo4j}


def _kept_server(name: str) -> PostgresServer:
    server = kept_postgres(name)
    if server is None:
        raise Unavailable(f"{name} was not started; run `python -m tests.servers start {name}`")
    return server


def _link(name: str) -> Path:
    return base_folder() / f"kept-{name}"


def _keep(name: str) -> Path:
    folder = new_folder(base_folder() / "kept", f"{name}-")
    _link(name).unlink(missing_ok=True)
    _link(name).symlink_to(folder)
    return folder


def _port(folder: Path) -> int:
    return int((folder / "port").read_text(encoding="utf-8"))


def _remember_port(folder: Path, port: int) -> None:
    (folder / "port").write_text(str(port), encoding="utf-8")


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form name=value")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start a server and print its URL; it keeps running until `stop`")
    starting.add_argument("name", choices=NAMES)
    starting.add_argument("-c", dest="settings", metavar="NAME=VALUE", type=_setting, action="append", default=[])
    stopping = commands.add_parser("stop", help="stop servers (all when none is named) and delete their data")
    stopping.add_argument("names", nargs="*", metavar="NAME", choices=[*NAMES, []])
    commands.add_parser("status", help="show what is installed and what runs")
    commands.add_parser("install", help="on Debian: install the servers' packages that are missing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
