"""The fabric as a host's option: places, quotas, mistakes in options."""

from __future__ import annotations

import pytest
from tests.grafos.conftest import DATA, OUT, Programs, mirror

import guesthouse
from guesthouse.interfaces.grafos.fabric import Fabric, FabricOptions
from guesthouse.resources.gpu import probe
from guesthouse.testing import current_mock, mock_set_unix_time_secs, reset_mock


def test_a_host_keeps_leases_in_the_directory_it_is_given(tmp_path):
    ids = []
    for _ in range(2):
        with guesthouse.Host(fabric=tmp_path) as host:
            programs = Programs(host)
            program = programs()
            if not ids:
                ids = [program.fbmu(64), program.fbbu(8)]
                program.write(DATA, b"kept" * 128)
                assert program.fbbu_write_block_lease(ids[1], 7, DATA) == 0
            else:
                assert program.fbmu_query(ids[0], OUT) == 0
                assert program.read(OUT + 24, 1) == b"\x02"
                assert program.fbbu_read_block_lease(ids[1], 7, DATA) == 0
                assert program.read(DATA, 512) == b"kept" * 128
            programs.close()


def test_tenants_may_have_quotas_of_their_own():
    options = {"arena": "1MiB", "blocks": 64, "tenants": {"small": {"arena": "4KiB", "blocks": 1}}}
    with guesthouse.Host(fabric=options) as host:
        programs = Programs(host)
        big, small = programs(), programs(tenant="small")
        assert big.fbmu_alloc(1 << 20, 1, OUT) == 0
        assert small.fbmu_alloc(4097, 1, OUT) == -4
        assert small.fbmu_alloc(4096, 1, OUT) == 0
        assert small.fbbu_hello() == 0
        assert small.fbbu_get_num_blocks() == 1
        programs.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"arean": 1}, "unknown option 'arean'; there are: arena"),
        ({"tenants": {"t": {"memory": 1}}}, "quota of 'memory'; there are: arena, blocks, vram"),
        ({"tenants": {"t": {"arena": "?"}}}, r"option tenants\['t'\]\['arena'\]='\?': '\?' is not a size"),
        ({"tenants": 5}, "option tenants=5"),
        ({"sync": "always"}, "unknown sync policy 'always'; there are: none, interval, each"),
        ({"arena": "lots"}, "option arena='lots': 'lots' is not a size; write for example '512KiB'"),
        ({"memory_pool": 0}, "option memory_pool=0: at least 4096 is needed"),
        ({"blocks": "many"}, "option blocks='many': a whole number is needed"),
        ({"blocks": -1}, "option blocks=-1: at least 0 is needed"),
        ({"link_speeds": {"eth0": "fast"}}, r"option link_speeds\['eth0'\]='fast': a whole number"),
        ({"gpu_deadline": "soon"}, "option gpu_deadline='soon': 'soon' is not a duration"),
        ({"gpu": "tpu"}, "no backend 'tpu'; there are: auto, cuda, opencl, cpu, off"),
        ({"directory": "/proc/nowhere"}, "cannot use the directory /proc/nowhere"),
        ({"block_device": "/proc/disk"}, "cannot use /proc/disk for blocks"),
        ("nats://127.0.0.1", "no backend for a fabric at 'nats://127.0.0.1'"),
        (5, "a directory, a mapping of options, 'mock' or a Fabric is needed, not 5"),
    ],
)
def test_mistakes_in_options_say_at_once_what_would_be_right(options, words):
    with pytest.raises(guesthouse.ResourceError, match=words):
        guesthouse.Host(fabric=options)


def test_a_backend_that_is_asked_for_by_name_is_there_or_the_host_is_not():
    for backend in ("cuda", "opencl"):
        if reason := probe.why_not(backend):
            with pytest.raises(guesthouse.ResourceError, match=f"{backend} does not work here"):
                guesthouse.Host(fabric={"gpu": backend})
            assert reason
    with guesthouse.Host(fabric={"gpu": "cpu"}) as host:
        assert host.service("fabric").gpu.devices[0].backend == "cpu"


def test_the_threads_mock_can_be_named():
    reset_mock()
    mock_set_unix_time_secs(77)
    with guesthouse.Host(fabric="mock") as host:
        programs = Programs(host)
        assert programs().unix_time_secs() == 77
        assert host.service("fabric") is current_mock()
        programs.close()
    reset_mock()


def test_revoking_from_the_hosts_side():
    fabric = Fabric(FabricOptions(gpu="off"))
    with guesthouse.Host(fabric=fabric) as host:
        programs = Programs(host)
        program = programs()
        lease = program.fbmu(64)
        fabric.memory.leases.revoke(lease)
        assert program.fbmu_read_lease(lease, 0, DATA, 1) == -6
        assert fabric.status()["memory leases"] == 0
        programs.close()


def test_modules_are_told_apart():
    with guesthouse.Host(fabric="mock") as host:
        assert host.load(mirror(), name="mirror").interface == "grafos"
