"""The kernels of the tests, as each backend wants them."""

from __future__ import annotations

from guesthouse.resources.gpu import images

HEAD = ".version 7.0\n.target sm_50\n.address_size 64\n"

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
"""

BUNDLE = images.bundle(
    [
        (images.PTX, VECTOR_ADD),
        (images.OPENCL, OPENCL),
        (images.REFERENCE, b"vector_add_f32\n"),
    ]
)
