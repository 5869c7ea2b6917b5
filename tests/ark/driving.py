"""A caller that a test drives call by call: a real instance inside a real call, on a thread of the host."""

from __future__ import annotations

import queue
import struct
import threading
import time

from guesthouse import Limits
from guesthouse.calls import Outcome
from guesthouse.testing import guests

#: Where the driver puts things in the caller's two pages of memory.
MODULE, NAME, OUT, READY, INPUT, BUFFER = 0, 8192, 16384, 16400, 32768, 65536
PAGES = 2 * 65536

PATIENT = Limits(wall="60s", memory="256MiB", output="64MiB")


def wasm(name: str) -> bytes:
    """The bytes of a guest of this interface."""
    suffix = ".c" if name == "worker" else ".wat"
    return guests.load(f"guests/ark/{name}{suffix}")


class Driver:
    """Calls the host functions of one instance of ``caller``, one at a time."""

    def __init__(self, host, guest):
        self.host, self.guest = host, guest
        self._jobs, self._answers = queue.SimpleQueue(), queue.SimpleQueue()
        guest.owner.serve = self._serve
        self.call = self.result = None
        # Not on a worker: a driver that waits for its test would keep the place of a guest.
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        self.result = self.host.scheduler.run(self.guest.name, tenant=self.guest.tenant, kept=True)

    def _serve(self, call):
        self.call = call
        instance = self.guest.open(call)
        try:
            instance.start()
            while (job := self._jobs.get()) is not None:
                try:
                    self._answers.put((job(instance), None))
                except BaseException as error:
                    self._answers.put((None, error))
            return Outcome(0, instance.output)
        finally:
            self.guest.dismiss(instance, call)

    def do(self, job):
        """Run a function of the instance on the instance's own thread."""
        self._jobs.put(job)
        answer, error = self._answers.get(timeout=60)
        if error is not None:
            raise error
        return answer

    def end(self):
        """Let the caller return; its result."""
        self._jobs.put(None)
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.result

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.end()

    # -- the imports, by their plain names

    def invoke(self, name, *args):
        return self.do(lambda instance: instance.invoke(name, *args))

    def write(self, address, data):
        self.do(lambda instance: instance.write(address, data))

    def read(self, address, size):
        return self.do(lambda instance: instance.read(address, size))

    def create(self, module, name, source=1):
        """``(code, handle)`` of create_function."""
        module, name = (each.encode() if isinstance(each, str) else each for each in (module, name))
        self.write(MODULE, module)
        self.write(NAME, name)
        code = self.invoke("create", source, MODULE, len(module), NAME, len(name), OUT)
        return code, self._word(OUT) if code == 0 else 0

    def function(self, name, module="worker"):
        """The handle of a function that must be there."""
        code, handle = self.create(module, name)
        assert code == 0
        assert handle != 0
        return handle

    def launch(self, function, data=b"", *, blocking=False):
        """``(code, handle)`` of launch or blocking_launch."""
        self.write(INPUT, data)
        code = self.invoke("blocking" if blocking else "launch", function, INPUT, len(data), OUT)
        return code, self._word(OUT) if code == 0 else 0

    def request(self, function, data=b"", *, blocking=False):
        """The handle of a launch that must be accepted."""
        code, handle = self.launch(function, data, blocking=blocking)
        assert code == 0
        assert handle != 0
        return handle

    def ready(self, request):
        """``(code, the eight bytes)`` of is_ready."""
        self.write(READY, b"\xee" * 8)
        return self.invoke("ready", request, READY), self.read(READY, 8)

    def wait(self, request, seconds=30):
        """Poll until the request is over; the size it reports."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            code, answer = self.ready(request)
            assert code == 0
            done, size = struct.unpack("<II", answer)
            if done:
                return size
            time.sleep(0.001)
        raise AssertionError("the request is not over in time")

    def retrieve(self, request, size):
        """``(code, buffer, the byte behind it)`` of retrieve."""
        self.write(BUFFER, b"\xee" * (size + 1))
        code = self.invoke("retrieve", request, BUFFER, size)
        buffer = self.read(BUFFER, size + 1)
        return code, buffer[:size], buffer[size]

    def output(self, function, data=b"", *, blocking=False):
        """Launch, wait and retrieve: ``(code, output)``."""
        request = self.request(function, data, blocking=blocking)
        size = self.wait(request)
        code, buffer, _ = self.retrieve(request, size)
        return code, buffer if code == 0 else b""

    def _word(self, address):
        return int.from_bytes(self.read(address, 8), "little")
