//! Launches functions of its own and of the module `worker`, through the safe crate only.

use ark_api::core::{log, return_slice, LogLevel};
use ark_api::module_run::{blocking_launch, launch, Function};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

ark_api::require_module_run_api!();

const SUCCESS: u32 = 0;

unsafe fn bytes<'a>(pointer: *const u8, length: u32) -> &'a [u8] {
    if length == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(pointer, length as usize)
    }
}

fn drive<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

#[cfg(feature = "allocator")]
#[no_mangle]
pub unsafe extern "C" fn ark_alloc(size: usize, alignment: usize) -> *mut u8 {
    std::alloc::alloc(std::alloc::Layout::from_size_align_unchecked(size, alignment))
}

/// Upper case, the function that the other one launches.
#[no_mangle]
pub unsafe extern "C" fn upper(pointer: *const u8, length: u32) -> u32 {
    return_slice(&bytes(pointer, length).to_ascii_uppercase());
    SUCCESS
}

/// The input in upper case twice (blocking, then by future), and an echo by the module `worker`.
#[no_mangle]
pub unsafe extern "C" fn tour(pointer: *const u8, length: u32) -> u32 {
    let input = bytes(pointer, length);
    let own = Function::with_local_fn("upper").unwrap();
    let mut output = blocking_launch(&own, input).unwrap();
    output.extend(drive(launch(&own, input)).unwrap());
    let other = Function::new("worker", "echo").unwrap();
    output.extend(drive(launch(&other, b"!")).unwrap());
    assert!(Function::new("nobody", "echo").is_err());
    log(LogLevel::Info, "the tour is over");
    return_slice(&output);
    SUCCESS
}
