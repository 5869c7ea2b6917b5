"""Acceptance cases 14 to 17 on every backend that works here, and sessions that go wrong (spec fabric.md 6)."""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.grafos.conftest import DATA, OUT, TEXT, Programs
from tests.grafos.kernels import BUNDLE, HEAD, OPENCL, VECTOR_ADD, spinning

import guesthouse
from guesthouse.interfaces.grafos.fabric import Fabric, FabricOptions
from guesthouse.resources.gpu import images, probe
from guesthouse.resources.leases.clock import VirtualClock
from guesthouse.testing import guests

VRAM = 1 << 20
ARRAYS = 8192
#: The stand-in is a library in place of NVIDIA's driver (libcuda.c) behind the real bindings.
REAL = ["cpu", "opencl", "cuda", "cuda-stand-in"]


def failed(code: int) -> int:
    return -(256 + code)


def available(backend: str) -> None:
    if reason := probe.why_not(backend):
        pytest.skip(f"no {backend} here: {reason}")


@pytest.fixture(scope="session")
def driver_stand_in(tmp_path_factory):
    """A folder with a libcuda.so.1 that is none."""
    folder = tmp_path_factory.mktemp("driver")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        compiler = [sys.executable, "-m", "ziglang", "cc"]
    source = Path(__file__).with_name("libcuda.c")
    subprocess.run(
        [*compiler, "-shared", "-fPIC", "-O1", "-o", folder / "libcuda.so.1", source, "-ldl"], check=True
    )
    return folder


@pytest.fixture
def backend_of(request, monkeypatch):
    """Name the backend behind a parameter, and let what it needs be found."""

    def name(parameter):
        if parameter == "cuda-stand-in":
            path = str(request.getfixturevalue("driver_stand_in"))
            monkeypatch.setenv("LD_LIBRARY_PATH", path)
            probe.forget()
        return parameter.removesuffix("-stand-in")

    yield name
    monkeypatch.undo()
    probe.forget()


class Bench:
    """A program with a GPU lease, and launches in one line."""

    def __init__(self, program, fabric):
        self.program, self.fabric = program, fabric
        assert program.gpu_lease_alloc(0, VRAM, 60, OUT) == 0
        self.lease = program.word()

    def alloc(self, size):
        assert self.program.gpu_session_mem_alloc(self.lease, size, OUT) == 0
        return self.program.word()

    def load(self, image=BUNDLE):
        self.program.write(DATA, image)
        assert self.program.gpu_session_module_load(self.lease, DATA, len(image), OUT) == 0
        return self.program.word()

    def loads(self, image):
        self.program.write(DATA, image)
        return self.program.gpu_session_module_load(self.lease, DATA, len(image), OUT)

    def put(self, pointer, data, offset=0):
        self.program.write(DATA, data)
        return self.program.gpu_session_mem_write(self.lease, pointer, offset, DATA, len(data))

    def get(self, pointer, length, offset=0):
        assert self.program.gpu_session_mem_read(self.lease, pointer, offset, DATA, length) == 0
        return self.program.read(DATA, length)

    def launch(
        self, module, name=b"vector_add_f32", args=(), *, grid=(4, 1, 1), block=(256, 1, 1), total=None
    ):
        packed = b"".join(args)
        sizes = struct.pack(f"<{len(args)}I", *map(len, args))
        self.program.write(TEXT, name)
        self.program.write(TEXT + 256, struct.pack("<7I", *grid, *block, 0))
        self.program.write(TEXT + 300, packed)
        self.program.write(TEXT + 600, sizes)
        return self.program.gpu_session_launch(
            self.lease, module, TEXT, len(name), TEXT + 256, TEXT + 300,
            len(packed) if total is None else total, TEXT + 600, len(args),
        )  # fmt: skip

    def sync(self):
        return self.program.gpu_session_sync(self.lease)


@pytest.fixture
def bench_on(backend_of):
    made = []

    def open_bench(parameter="cpu", **options):
        backend = backend_of(parameter)
        available(backend)
        fabric = Fabric(FabricOptions(gpu=backend, vram="16MiB", **options), clock=VirtualClock())
        host = guesthouse.Host(fabric=fabric)
        programs = Programs(host)
        made.append((programs, host, fabric))
        return Bench(programs(), fabric)

    yield open_bench
    for programs, host, fabric in made:
        programs.close()
        host.close()
        fabric.close()


@pytest.fixture
def mocked(program, mock_fabric):
    return Bench(program, mock_fabric)


def words(*pointers, count):
    return [struct.pack("<Q", pointer) for pointer in pointers] + [struct.pack("<I", count)]


@pytest.mark.parametrize("backend", REAL)
def test_case_14_vector_add_is_exact(bench_on, backend):
    bench = bench_on(backend)
    rng = np.random.default_rng(14)
    left, right = (rng.standard_normal(1000).astype("f4") * 1e20 for _ in range(2))
    a, b, out = (bench.alloc(4000) for _ in range(3))
    assert len({a, b, out}) == 3 and all(pointer % 256 == 0 for pointer in (a, b, out))
    assert bench.put(a, left.tobytes()) == 0
    assert bench.put(b, right.tobytes()) == 0
    assert bench.get(out, 4000) == bytes(4000)
    assert bench.launch(bench.load(), args=words(a, b, out, count=1000)) == 0
    assert bench.sync() == 0
    assert np.array_equal(np.frombuffer(bench.get(out, 4000), "f4"), left + right)


def test_case_14_reference_kernels_do_the_same(bench_on):
    bench = bench_on("cpu")
    left, right = np.arange(1000, dtype="f4") / 7, np.arange(1000, dtype="f4") / 3
    a, b, out = (bench.alloc(4000) for _ in range(3))
    bench.put(a, left.tobytes())
    bench.put(b, right.tobytes())
    module = bench.load(images.bundle([(images.REFERENCE, b"vector_add_f32")]))
    assert bench.launch(module, args=words(a, b, out, count=1000)) == 0
    assert np.array_equal(np.frombuffer(bench.get(out, 4000), "f4"), left + right)


@pytest.mark.parametrize("backend", REAL)
def test_case_15_bad_launches_are_told_at_once(bench_on, backend):
    bench = bench_on(backend)
    pointers = [bench.alloc(4000) for _ in range(3)]
    args = words(*pointers, count=1000)
    module = bench.load()
    assert bench.launch(module, b"unknown", args) == failed(4)
    assert bench.launch(module, b"\xff", args) == failed(4)
    for grid, block in (
        ((4, 1, 1), (2048, 1, 1)), ((4, 1, 1), (0, 1, 1)), ((0, 1, 1), (1, 1, 1)), ((1, 65536, 1), (1, 1, 1)),
        ((1, 1, 65536), (1, 1, 1)), ((2**31, 1, 1), (1, 1, 1)), ((1, 1, 1), (1, 1, 65)), ((1, 1, 1), (32, 33, 1)),
    ):  # fmt: skip
        assert bench.launch(module, args=args, grid=grid, block=block) == failed(5)
    assert bench.launch(module, args=args, total=27) == failed(5)
    assert bench.launch(module, args=args[:3]) == failed(5)
    assert bench.launch(module, args=[args[3], *args[:3]]) == failed(5)
    assert bench.launch(module, args=args) == 0
    assert bench.program.gpu_session_module_unload(bench.lease, module) == 0
    assert bench.launch(module, args=args) == failed(1)
    assert bench.program.gpu_session_module_unload(bench.lease, module) == failed(1)
    assert bench.sync() == 0


def test_case_15_on_the_mock(mocked):
    module = mocked.load(bytes(8))
    assert mocked.launch(module, b"k") == 0
    assert mocked.loads(b"") == failed(2)
    assert mocked.launch(module, b"k", block=(2048, 1, 1)) == failed(5)
    assert mocked.launch(module, b"k", [b"abcd"], total=3) == failed(5)
    assert mocked.launch(module, b"k2", [b"abcd", b"12345678"], grid=(1, 2, 3)) == 0
    assert mocked.fabric.launch_log == [
        (module, "k", (4, 1, 1, 256, 1, 1, 0), ()),
        (module, "k2", (1, 2, 3, 256, 1, 1, 0), (b"abcd", b"12345678")),
    ]
    assert mocked.sync() == 0
    assert mocked.program.gpu_session_module_unload(mocked.lease, module) == 0
    assert mocked.launch(module, b"k") == failed(1)


@pytest.mark.parametrize("backend", ["mock", *REAL])
def test_case_16_device_memory_is_bounded_by_the_lease(request, backend):
    bench = (
        request.getfixturevalue("mocked")
        if backend == "mock"
        else request.getfixturevalue("bench_on")(backend)
    )
    program = bench.program
    assert program.gpu_session_mem_alloc(bench.lease, VRAM + 1, OUT) == -4
    first = bench.alloc(VRAM - 512)
    assert program.gpu_session_mem_alloc(bench.lease, 513, OUT) == -4
    second = bench.alloc(257)
    assert program.gpu_session_mem_alloc(bench.lease, 1, OUT) == -4
    assert program.gpu_session_mem_free(bench.lease, first) == 0
    assert program.gpu_session_mem_free(bench.lease, first) == failed(1)
    again = bench.alloc(VRAM - 512)
    assert bench.get(again, 64) == bytes(64)
    assert program.gpu_session_mem_alloc(bench.lease, 0, OUT) == failed(5)
    assert bench.put(second, b"abc", offset=254) == 0
    assert bench.get(second, 3, offset=254) == b"abc"
    assert bench.put(second, b"abc", offset=255) == -4
    assert program.gpu_session_mem_read(bench.lease, second, 2**64 - 1, DATA, 2) == -4
    assert program.gpu_session_mem_read(bench.lease, second + 256, 0, DATA, 1) == failed(1)
    assert program.gpu_session_mem_read(bench.lease, second, 257, DATA, 0) == 0


@pytest.mark.parametrize("backend", ["mock", "cpu"])
def test_pointers_and_modules_of_another_session_are_foreign(request, backend):
    bench = (
        request.getfixturevalue("mocked")
        if backend == "mock"
        else request.getfixturevalue("bench_on")(backend)
    )
    program = bench.program
    pointer, module = bench.alloc(64), bench.load(BUNDLE)
    assert program.gpu_lease_alloc(0, VRAM, 60, OUT) == 0
    other = program.word()
    assert program.gpu_session_mem_alloc(other, 64, OUT) == 0
    assert program.word() != pointer
    assert program.gpu_session_mem_read(other, pointer, 0, DATA, 1) == failed(1)
    assert program.gpu_session_mem_write(other, pointer, 0, DATA, 1) == failed(1)
    assert program.gpu_session_mem_free(other, pointer) == failed(1)
    assert program.gpu_session_module_unload(other, module) == failed(1)
    assert bench.get(pointer, 64) == bytes(64)


@pytest.mark.parametrize("backend", ["mock", *REAL])
def test_case_17_leases_tell_their_status(request, programs, backend):
    bench = (
        request.getfixturevalue("mocked")
        if backend == "mock"
        else request.getfixturevalue("bench_on")(backend)
    )
    program, clock = bench.program, bench.fabric.clock
    assert program.gpu_lease_query(bench.lease) == 0
    pointer, module = bench.alloc(64), bench.load(BUNDLE)
    assert program.gpu_lease_renew(bench.lease, 100, OUT) == 0
    assert program.word() == clock.now() + 100
    clock.advance(100)
    assert program.gpu_lease_query(bench.lease) == 1
    assert program.gpu_session_mem_read(bench.lease, pointer, 0, DATA, 4) == -2
    assert program.gpu_session_mem_free(bench.lease, pointer) == -2
    assert program.gpu_session_module_unload(bench.lease, module) == -2
    assert program.gpu_lease_free(bench.lease) == -2
    assert program.gpu_lease_alloc(0, 0 if backend == "mock" else VRAM, 0, OUT) == 0
    lease = program.word()
    assert program.gpu_lease_free(lease) == 0
    assert program.gpu_lease_query(lease) == 2
    assert program.gpu_session_sync(lease) == -6
    for unknown in (1, 0, 2**64 - 1):
        assert program.gpu_lease_query(unknown) == -8
        assert program.gpu_session_sync(unknown) == -8
    assert program.gpu_lease_alloc(2, 0, 0, OUT) == -4
    assert program.gpu_lease_alloc(0, 1 << 40, 0, OUT) == -4
    if backend == "mock":
        assert programs(tenant="other").gpu_lease_query(lease) == -8


@pytest.mark.parametrize("backend", [backend for backend in REAL if backend != "opencl"])
def test_a_fault_is_told_once_and_loses_the_session_and_nothing_else(bench_on, backend):
    bench = bench_on(backend)
    program = bench.program
    assert program.gpu_lease_alloc(0, VRAM, 60, OUT) == 0
    bystander = program.word()
    assert program.gpu_session_mem_alloc(bystander, 64, OUT) == 0
    bystanders = program.word()
    pointer, module = bench.alloc(64), bench.load()
    wild = [struct.pack("<Q", 4096)]  # where nothing is, in no process
    assert bench.launch(module, b"stray", wild, grid=(1, 1, 1), block=(1, 1, 1)) == 0
    assert bench.sync() == failed(8)
    assert bench.sync() == failed(10)
    assert bench.launch(module, b"stray", [struct.pack("<Q", pointer)]) == failed(10)
    assert program.gpu_session_mem_alloc(bench.lease, 64, OUT) == failed(10)
    assert program.gpu_session_mem_read(bench.lease, pointer, 0, DATA, 4) == failed(10)
    assert program.gpu_session_mem_free(bench.lease, pointer) == 0
    assert program.gpu_session_module_unload(bench.lease, module) == 0
    assert program.gpu_lease_query(bench.lease) == 0
    assert program.gpu_session_mem_read(bystander, bystanders, 0, DATA, 64) == 0
    assert program.gpu_lease_free(bench.lease) == 0


@pytest.mark.parametrize("backend", REAL)
def test_an_endless_kernel_meets_the_deadline(bench_on, backend):
    bench = bench_on(backend, gpu_deadline="2s")
    module = bench.load()
    assert bench.launch(module, b"spin", grid=(1, 1, 1), block=(1, 1, 1)) == 0  # launches do not wait
    assert bench.sync() == failed(9)
    assert bench.sync() == failed(10)
    assert bench.program.gpu_lease_free(bench.lease) == 0


def test_a_call_that_is_over_stops_waiting_for_the_device(bench_on):
    """The kernel may run for 30 seconds, the call may not."""
    bench = bench_on("cpu")
    guest = bench.program.guest.host.load(
        spinning(), name="spinning", grant=["grafos"], limits=guesthouse.Limits(wall="1500ms")
    )
    begun = time.monotonic()
    with pytest.raises(guesthouse.DeadlineExceeded):
        guest.call(b"")
    assert 1.4 < time.monotonic() - begun < 25  # not the device's 30 seconds


def test_leases_of_a_former_host_answer_as_revoked(bench_on, tmp_path):
    first = bench_on("cpu", directory=tmp_path)
    lease = first.lease
    first.alloc(64)
    first.fabric.close()
    second = bench_on("cpu", directory=tmp_path)
    assert second.program.gpu_lease_query(lease) == 2
    assert second.program.gpu_session_sync(lease) == -6


@pytest.mark.parametrize("backend", REAL)
def test_a_killed_session_is_lost_and_leaves_no_process(bench_on, backend):
    bench = bench_on(backend)
    bench.alloc(64)
    (session,) = bench.fabric.gpu.sessions()
    child = session._channel._child
    child.kill()
    assert bench.sync() == failed(10)
    assert bench.program.gpu_lease_free(bench.lease) == 0
    assert child.returncode is not None


def test_a_sessions_process_has_none_of_the_hosts_secrets(bench_on, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "hush")
    bench = bench_on("cpu")
    bench.alloc(64)
    (session,) = bench.fabric.gpu.sessions()
    child = session._channel._child.pid
    assert b"hush" not in Path(f"/proc/{child}/environ").read_bytes()
    links = [str(link.readlink()) for link in Path(f"/proc/{child}/fd").iterdir()]
    assert len(links) <= 10
    assert not [link for link in links if "guesthouse-memory" in link or "guesthouse-blocks" in link]


def test_a_session_outlives_the_thread_that_opened_it(bench_on):
    bench = bench_on("cpu")
    opened: list[int] = []
    thread = threading.Thread(target=lambda: opened.append(bench.alloc(64)))
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert bench.put(opened[0], b"still here") == 0
    assert bench.get(opened[0], 10) == b"still here"


def test_no_process_outlives_a_host_that_is_killed():
    """Not even one that is busy with a kernel that never ends."""
    script = """
import sys
from guesthouse.resources.gpu.pool import Gpu
from guesthouse.resources.gpu.probe import devices
from guesthouse.resources.leases.clock import LeaseClock
from tests.grafos.kernels import VECTOR_ADD
gpu = Gpu(LeaseClock(), devices("cpu"))
session = gpu.session("t", gpu.lease("t", 0, 1 << 20, 60).id)
session.launch(session.load(VECTOR_ADD), b"spin", (1, 1, 1, 1, 1, 1, 0), ())
print(session._channel._child.pid, flush=True)
sys.stdin.read()
"""
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])}
    host = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=guests.root(),
        env=path,
    )
    child = int(host.stdout.readline())
    host.kill()
    host.communicate()
    limit = time.monotonic() + 5
    while time.monotonic() < limit and is_running(child):
        time.sleep(0.05)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_teardown_that_fails_fences_the_memory(mocked):
    program = mocked.program
    mocked.alloc(64)
    mocked.fabric.fail_next_teardown(mocked.lease)
    assert program.gpu_lease_free(mocked.lease) == -3
    assert program.gpu_lease_query(mocked.lease) == 3
    assert program.gpu_session_sync(mocked.lease) == -3


IMAGES = [
    (b"", 2),
    (b"no image", 2),
    (b"\x7fELF" + bytes(60), 3),
    ((0xBA55ED50).to_bytes(4, "little") + bytes(60), 3),
    (b"FGB1", 2),
    (b"FGB1" + bytes(4), 3),
    (b"FGB1" + (2**32 - 1).to_bytes(4, "little"), 2),
    (images.bundle([(images.CUBIN, b"x")]), 3),
    (images.bundle([(images.REFERENCE, b"no_such_kernel")]), 3),
    (images.bundle([(images.CUBIN, b"x")])[:-1], 2),
    (OPENCL, 3),
    (HEAD.encode() + b".visible .entry k() { frobnicate.u32 %r1; ret; }", 3),
    (HEAD.encode() + b".visible .entry k() { .reg .b32 %r<2>; sqrt.rn.f32 %r1, %r1; ret; }", 3),
    (HEAD.encode() + b".visible .entry k() { .reg .b32 %r<2>; add.u32 %r1, %r9, 1; ret; }", 2),
    (HEAD.encode() + b".visible .entry k() { bra NOWHERE; }", 2),
    (HEAD.encode() + b".visible .entry k( {", 2),
    (HEAD.encode() + b".visible .entry k() { .reg .b32 %r<999999999>; ret; }", 3),
    *(
        (HEAD.encode() + b".visible .entry k(%b) { .reg .b32 %%r<3>; .reg .f32 %%f<3>; %b ret; }" % pair, 2)
        for pair in (
            (b"", b"add.u32 %r1, %r2, 086;"),
            (b"", b"add.u32 %r1, %r2, 0x1ffffffffffffffff;"),
            (b"", b"add.u32 %r1, %r2, " + b"9" * 5000 + b";"),
            (b"", b"ld.global.u32 %r1, [%r2+99999999999999999999];"),
            (b"", b"ld.global.u32 %r1, [%r2*4];"),
            (b"", b"not.f32 %f1, %f2;"),
            (b"", b"shr.f32 %f1, %f2, 1;"),
            (b".param .b8 x[99999999]", b""),
            (b".param .align 08 .b8 x[8]", b""),
        )
    ),
    (HEAD.encode() + b"\xff\xfe", 2),
    (HEAD.encode() + b".func f() { ret; }", 3),
]


def test_malformed_and_foreign_images_are_told_apart(bench_on):
    bench = bench_on("cpu")
    assert [bench.loads(image) for image, _ in IMAGES] == [failed(code) for _, code in IMAGES]
    assert bench.loads(VECTOR_ADD) == 0


def test_what_works_has_no_reason_why_it_does_not(backend_of):
    for parameter in ("cpu", "off", "cuda-stand-in"):
        if not (reason := probe.why_not(backend := backend_of(parameter))):
            assert [device.backend for device in probe.devices(backend)] == [backend] * (backend != "off")
        else:
            assert "cuda-bindings is not installed" in reason


def test_probing_says_why_a_backend_does_not_work():
    for backend in ("cuda", "opencl"):
        if reason := probe.why_not(backend):
            with pytest.raises(guesthouse.ResourceError) as caught:
                probe.devices(backend)
            assert reason in str(caught.value)
    assert probe.devices("off") == ()
    assert probe.devices("auto")[0].backend in {"cuda", "cpu"}
    with pytest.raises(guesthouse.ResourceError, match="there are: auto"):
        probe.devices("tpu")
    assert VECTOR_ADD.startswith(b".version")


def test_without_a_backend_everything_is_unsupported(bench_on):
    fabric = Fabric(FabricOptions(gpu="off"), clock=VirtualClock())
    with guesthouse.Host(fabric=fabric) as host:
        programs = Programs(host)
        program = programs()
        assert program.gpu_lease_alloc(0, 0, 0, OUT) == -5
        assert program.gpu_session_sync(1) == -5
        programs.close()
    fabric.close()
