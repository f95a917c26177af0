"""Runs one test of twemproxy's suite, for twemproxy_redis.py: CHECKOUT PROXY HOME MODULE TEST.

The suite starts servers and proxies with a shell, in the background, on fixed ports of every interface, and
ends them by name. Here they are children, on free ports of the loopback interface, with their files in HOME.
"""

import importlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import types

START_SECONDS = 10

# The one test of a timeout. The other tests get more than 400 ms, which is little on a busy machine: one of
# them stores 80 MB.
ABOUT_TIMEOUT = "test_slow_req_lua"

CHILDREN = []


def main():
    checkout, proxy, home, module, test = sys.argv[1:]
    for folder in ("tests/conf", "tests/lib", "tests"):
        sys.path.insert(0, os.path.join(checkout, folder))
    os.environ["T_LOGFILE"] = "-"
    # nose no longer runs; all that a test takes from it is a mark.
    sys.modules["nose"] = sys.modules["nose.tools"] = types.SimpleNamespace(nottest=lambda test: test)
    use_programs(importlib.import_module("conf").BINARYS, proxy, home)
    use_children(importlib.import_module("server_modules"), home, test)
    module = importlib.import_module(module)
    try:
        module.setup()
        getattr(module, test)()
        module.teardown()
    finally:
        for child in CHILDREN:
            child.kill()
            child.wait()


def use_programs(programs, proxy, home):
    """The suite's programs are those of the system, and the proxy under the name that the suite calls."""
    named = pathlib.Path(home, "nutcracker")
    named.symlink_to(proxy)
    programs["NUTCRACKER_BINS"] = named
    programs["REDIS_SERVER_BINS"] = shutil.which("redis-server")
    programs["REDIS_CLI"] = shutil.which("redis-cli")


def use_children(suite, home, test):
    """Changes where and how the suite's classes start and end programs."""
    timeout = 400 if test == ABOUT_TIMEOUT else 5000
    ports, initialize = {}, suite.Base.__init__

    def initialize_here(self, name, host, port, path):
        if port not in ports.values():
            port = ports.setdefault(port, ports.get(port) or free_ports())
        initialize(self, name, host, port, home + path)

    suite.Base.__init__ = initialize_here
    suite.Base.start, suite.Base.stop, suite.NutCracker.signal = start, stop, send_signal
    for kind in (suite.RedisServer, suite.NutCracker):
        kind._gen_conf = as_child(kind._gen_conf, timeout)


def as_child(generate, timeout):
    def configuration(self):
        text = generate(self).replace("0.0.0.0", "127.0.0.1").replace("  timeout: 400\n", f"  timeout: {timeout}\n")
        text = text.replace("daemonize yes", "daemonize no\nbind 127.0.0.1")
        # A server that is asked whether it lives then waits for its script, and does not say that it is busy.
        return text.replace("lua-time-limit 5000", "lua-time-limit 0")

    return configuration


def start(server):
    if server._alive():
        return
    command = [word for word in server.args["startcmd"].split() if word != "-d"]
    if server.args["name"] == "nutcracker":
        command += ["-a", "127.0.0.1"]
    server.process = subprocess.Popen(command, cwd=server.args["path"], stdout=sys.stderr)
    CHILDREN.append(server.process)
    deadline = time.monotonic() + START_SECONDS
    while not (server._alive() and is_listening(server)):
        if server.process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{server} does not start")
        time.sleep(0.05)


def is_listening(server):
    """nutcracker answers on its port for statistics before the pool listens."""
    try:
        socket.create_connection((server.host(), server.port())).close()
    except ConnectionRefusedError:
        return False
    return True


def stop(server):
    if hasattr(server, "process"):
        server.process.kill()
        server.process.wait()


def send_signal(server, name):
    server.process.send_signal(getattr(signal, f"SIG{name}"))
    # As long as the suite's pkill takes: the next signal may end the proxy before it has logged this one.
    time.sleep(0.05)


def free_ports():
    """A port that is free and whose neighbour 1000 above is free, too: there the suite wants the statistics."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1000))
            except (OSError, OverflowError):
                continue
            return port


if __name__ == "__main__":
    main()
