"""The kernels of the tests, as each backend wants them."""

from __future__ import annotations

from guesthouse.resources.gpu import images
from guesthouse.testing import guests

HEAD = ".version 7.0\n.target sm_75\n.address_size 64\n"

VECTOR_ADD = (
    HEAD
    + """
.visible .entry vector_add_f32(.param .u64 a, .param .u64 b, .param .u64 out, .param .u32 n)
{
    .reg .pred %p<2>; .reg .f32 %f<4>; .reg .b32 %r<6>; .reg .b64 %rd<11>;
    ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; ld.param.u64 %rd3, [out]; ld.param.u32 %r2, [n];
    mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mov.u32 %r5, %tid.x;
    mad.lo.s32 %r1, %r3, %r4, %r5;
    setp.ge.u32 %p1, %r1, %r2;
    @%p1 bra DONE;
    cvta.to.global.u64 %rd4, %rd1;
    mul.wide.s32 %rd5, %r1, 4;
    add.s64 %rd6, %rd4, %rd5;
    cvta.to.global.u64 %rd7, %rd2;
    add.s64 %rd8, %rd7, %rd5;
    ld.global.f32 %f1, [%rd8]; ld.global.f32 %f2, [%rd6];
    add.f32 %f3, %f1, %f2;
    cvta.to.global.u64 %rd9, %rd3;
    add.s64 %rd10, %rd9, %rd5;
    st.global.f32 [%rd10], %f3;
DONE:
    ret;
}
.visible .entry spin() { .reg .b32 %r<2>; L: add.u32 %r1, %r1, 1; bra L; }
.visible .entry stray(.param .u64 a)
{
    .reg .b64 %rd<2>; .reg .b32 %r<2>;
    ld.param.u64 %rd1, [a]; mov.u32 %r1, 7; st.global.u32 [%rd1], %r1; ret;
}
"""
).encode()

OPENCL = b"""
__kernel void vector_add_f32(__global const float *a, __global const float *b, __global float *out, uint n) {
    size_t i = get_global_id(0);
    if (i < n) out[i] = a[i] + b[i];
}
__kernel void stray(__global uint *a) { a[0] = 7; }
__kernel void spin(void) { volatile int on = 1; while (on) {} }
"""

BUNDLE = images.bundle(
    [
        (images.PTX, VECTOR_ADD),
        (images.OPENCL, OPENCL),
        (images.REFERENCE, b"vector_add_f32\n"),
    ]
)

#: A guest that launches a kernel which never ends, and waits for it; `%LENGTH%` and `%IMAGE%` are put in.
_SPINNING = """
(module
  (import "fabricbios_gpu_v1" "gpu_lease_alloc" (func $lease (param i64 i64 i64 i32) (result i32)))
  (import "fabricbios_gpu_v1" "gpu_session_module_load" (func $load (param i64 i32 i32 i32) (result i32)))
  (import "fabricbios_gpu_v1" "gpu_session_launch"
    (func $launch (param i64 i64 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "fabricbios_gpu_v1" "gpu_session_sync" (func $sync (param i64) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 32) "spin")
  (data (i32.const 64) "\\01\\00\\00\\00\\01\\00\\00\\00\\01\\00\\00\\00\\01\\00\\00\\00\\01\\00\\00\\00\\01\\00\\00\\00\\00\\00\\00\\00")
  (data (i32.const 1024) "%IMAGE%")
  (func (export "run") (result i32)
    (drop (call $lease (i64.const 0) (i64.const 65536) (i64.const 60) (i32.const 8)))
    (drop (call $load (i64.load (i32.const 8)) (i32.const 1024) (i32.const %LENGTH%) (i32.const 16)))
    (drop (call $launch (i64.load (i32.const 8)) (i64.load (i32.const 16)) (i32.const 32) (i32.const 4)
      (i32.const 64) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
    (call $sync (i64.load (i32.const 8)))))
"""


def spinning() -> bytes:
    """That guest, as a module."""
    image = "".join(f"\\{byte:02x}" for byte in VECTOR_ADD)
    return guests.wat(_SPINNING.replace("%LENGTH%", str(len(VECTOR_ADD))).replace("%IMAGE%", image))
