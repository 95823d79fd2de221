"""A Prometheus of our own, on the loopback, which scrapes what a test says, and is asked over its HTTP API."""

import contextlib
import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.servers.account import base_folder, new_folder, run_as_server, write_file
from tests.servers.installations import Unavailable
from tests.servers.ports import free_port
from tests.servers.processes import wait_until
from tests.servers.server import Server

INSTALL_HINT = "run `make servers` (Debian's package prometheus), or put prometheus and promtool on the PATH"

_CONFIGURATION = """\
global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
  evaluation_interval: 200ms
rule_files: {rules}
scrape_configs:
  - job_name: refold
    static_configs:
      - targets: {targets}
"""


def find_prometheus(program: str = "prometheus") -> Path:
    """The program (or `promtool`, which comes with it); raises Unavailable when it is not on this machine."""
    found = shutil.which(program)
    if found is None:
        raise Unavailable(f"{program} was not found; {INSTALL_HINT}")
    return Path(found)


class Prometheus(Server):
    """One server with a folder of its own. Make one with `create`, and `remove` it at the end (or use it in a
    `with`).
    """

    title, pid_file = "prometheus", "prometheus.pid"

    @classmethod
    def create(cls, *targets: str, rules: Path | None = None, folder: Path | None = None) -> Self:
        """A new server, not started yet, which scrapes these addresses (`127.0.0.1:9464`) five times a second, and
        evaluates the rules of a file. Raises Unavailable when the program is not on this machine.
        """
        find_prometheus()
        folder = folder or new_folder(base_folder() / "runs", f"{os.getpid()}-prometheus-")
        names = []
        if rules is not None:
            write_file(folder / "rules.yml", rules.read_text(encoding="utf-8"))
            names.append(str(folder / "rules.yml"))
        write_file(
            folder / "prometheus.yml",
            _CONFIGURATION.format(targets=json.dumps(list(targets)), rules=json.dumps(names)),
        )
        return cls(folder, free_port())

    def start(self) -> None:
        """Start, and return when it answers. Raises RuntimeError or TimeoutError when it does not come up."""
        # A shell lets go of it and says its id: Prometheus itself has no way to run in the background.
        write_file(
            self.folder / "start.sh",
            f'cd "{self.folder}"\n'
            f"GOMAXPROCS=1 {find_prometheus()} --config.file={self.folder}/prometheus.yml"
            f" --storage.tsdb.path={self.folder}/data --web.listen-address=127.0.0.1:{self.port} --log.level=warn"
            f" > {self.folder}/server.log 2>&1 < /dev/null &\n"
            "echo $! > prometheus.pid\n",
        )
        run_as_server(["sh", self.folder / "start.sh"], cwd=self.folder)
        wait_until(self._ready, f"prometheus to be ready (log: {self.folder / 'server.log'})", timeout=30)

    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now: for each series its labels (`metric`) and its `value`."""
        answer = self._ask("/api/v1/query", {"query": expression})
        found: list[dict[str, Any]] = answer["result"]
        return found

    def value(self, expression: str) -> float | None:
        """The value of an expression that gives one series at most."""
        found = self.query(expression)
        if len(found) > 1:
            raise ValueError(f"{expression} gives {len(found)} series: {found}")
        return float(found[0]["value"][1]) if found else None

    def alerts(self) -> set[str]:
        """The names of the alerts that are pending or firing."""
        return {alert["labels"]["alertname"] for alert in self._ask("/api/v1/alerts", {})["alerts"]}

    def _ask(self, path: str, parameters: Mapping[str, str]) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url()}{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def _ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url()}/-/ready", timeout=5):
            return True
        return False


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool, which checks and tests rules."""
    command = [str(find_prometheus("promtool")), *(str(each) for each in arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
