"""Runs the real Milvus server of the package `milvus` in a folder and on ports of its own, for as long as standard input
stays open: whoever started it may end in any way, and the server ends with it.

    milvus_server.py FOLDER [--authorization] [--env NAME=VALUE]... [KEY.SUB=VALUE]...

Each answer is one line of JSON on standard output. The first one comes when the server is healthy:
    {"port": 40001, "health": "http://127.0.0.1:40002/healthz", "storage": "FOLDER/data", "pid": 123}
or says why it is not: {"error": "..."}. Then lines are read from standard input:
    kill   SIGKILL, as a power cut             -> {"ended": true}
    stop   SIGTERM, then SIGKILL               -> {"ended": true}
    start  starts it again on the same data    -> as the first line
    alive  whether the process is there        -> {"alive": true}
At the end of input the server is stopped and FOLDER is removed.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import milvus

START_SECONDS = 180
STOP_SECONDS = 3
STARTS = 3
DIED_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def answer(**values):
    print(json.dumps(values), flush=True)


def unpacked():
    """The folder with the binary and its libraries: 24 files that are packed in the wheel and unpacked once (9 s)."""
    folder = os.path.join(sys.prefix, "milvus-bin")
    with open(folder + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(folder, "complete")):
            shutil.rmtree(folder, ignore_errors=True)
            milvus._initialize_data_files(folder)  # into its folder `bin`
            open(os.path.join(folder, "complete"), "w").close()
    return os.path.join(folder, "bin")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Server:
    def __init__(self, folder, settings, environment):
        self.folder, self.settings, self.environment = folder, settings, environment
        self.binaries = unpacked()
        self.process = None

    def configure(self):
        config = milvus.MilvusServerConfig(data_dir=self.folder)
        keys = [key for key in config.configurable_items if key.endswith("_port")]
        ports = free_ports(len(keys) + 3)
        for key, port in zip(keys, ports[3:]):
            config.update(**{key: port})
        self.port, (self.health_port, client, peer) = config.configs["proxy_port"], ports[:3]
        for key, value in self.settings:
            own = key in config.configurable_items
            config.set(key, {"true": True, "false": False}.get(value, value) if own else value)
        config.resolve()
        # The embedded etcd listens on 2379 and 2380 whatever `etcd.endpoints` says; only a file of its own moves it.
        client, peer = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        with open(os.path.join(self.folder, "configs", "etcd.yaml"), "w") as file:
            file.write(
                f"listen-client-urls: {client}\nadvertise-client-urls: {client}\nlisten-peer-urls: {peer}\n"
                f"initial-advertise-peer-urls: {peer}\ninitial-cluster: default={peer}\n"
            )

    def launch(self):
        environment = {
            **os.environ,
            # 1800 s by default: SIGTERM would hang as long with a loaded collection.
            "COMMON_GRACEFULSTOPTIMEOUT": "1",
            "QUERYNODE_GRACEFULSTOPTIMEOUT": "1",
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self.health_port),
            "MILVUS_RUN_DIR": os.path.join(self.folder, "run"),
            "MILVUSCONF": os.path.join(self.folder, "configs"),
            "ETCD_CONFIG_PATH": os.path.join(self.folder, "configs", "etcd.yaml"),
            "LD_LIBRARY_PATH": self.binaries,
            **self.environment,
        }
        libc = ctypes.CDLL(None)
        self.process = subprocess.Popen(
            [os.path.join(self.binaries, "milvus"), "run", "standalone"],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=open(os.path.join(self.folder, "logs", "stdout.log"), "ab"),
            stderr=open(os.path.join(self.folder, "logs", "stderr.log"), "ab"),
            start_new_session=True,
            preexec_fn=lambda: libc.prctl(DIED_WITH_PARENT, signal.SIGKILL),
        )

    def healthy(self):
        """Waits; says what went wrong, or nothing."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                with open(os.path.join(self.folder, "logs", "stderr.log"), errors="replace") as log:
                    return f"it ended with {self.process.returncode}: {log.read()[-800:]}"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/healthz", timeout=5) as reply:
                    if reply.read().decode().strip() == "OK":
                        return None
            except OSError:
                pass
            time.sleep(0.1)
        return f"it was not healthy after {START_SECONDS} s"

    def start(self, first):
        wrong = None
        for attempt in range(STARTS):
            # Somebody else may have taken a port between choosing it and starting: then others are chosen.
            if first or attempt:
                self.configure()
            self.launch()
            wrong = self.healthy()
            if wrong is None:
                answer(
                    port=self.port,
                    health=f"http://127.0.0.1:{self.health_port}/healthz",
                    storage=os.path.join(self.folder, "data"),
                    pid=self.process.pid,
                )
                return True
            self.end(signal.SIGKILL)
            if first:
                shutil.rmtree(self.folder, ignore_errors=True)
        answer(error=wrong)
        return False

    def end(self, how):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def main():
    folder, settings, environment = os.path.abspath(sys.argv[1]), [], {}
    arguments = iter(sys.argv[2:])
    for argument in arguments:
        if argument == "--authorization":
            settings.append(("authorization_enabled", "true"))
        elif argument == "--env":
            name, value = next(arguments).split("=", 1)
            environment[name] = value
        else:
            settings.append(tuple(argument.split("=", 1)))
    server = None
    try:
        server = Server(folder, settings, environment)
        if not server.start(first=True):
            return
        for line in sys.stdin:
            word = line.strip()
            if word in ("kill", "stop"):
                server.end(signal.SIGKILL if word == "kill" else signal.SIGTERM)
                answer(ended=True)
            elif word == "start":
                server.start(first=False)
            elif word == "alive":
                answer(alive=server.process.poll() is None)
            else:
                answer(error=f"unknown word: {word}")
    except KeyboardInterrupt:
        pass
    finally:
        if server is not None:
            # Nothing is kept, so nothing has to be written in order.
            server.end(signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


main()
