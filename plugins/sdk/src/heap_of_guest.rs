//! The heap of a guest under the names by which Rust, the C library and the host ask for it.
//!
//! All functions of C's heap have to be here (ISO C, POSIX): one that came from the C library would bring its heap with it.

#![allow(unsafe_code, reason = "a heap hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::ptr::{null_mut, without_provenance_mut};

use crate::heap::{ALIGNMENT, Heap, Memory, PAGE_BYTES, bytes_of};

/// What `posix_memalign` answers when there is no memory, and for an alignment that is none (wasi-libc, `errno.h`).
const ENOMEM: c_int = 48;
const EINVAL: c_int = 28;

struct Linear;

impl Memory for Linear {
    fn grow(&mut self, pages: usize) -> Option<usize> {
        let before = core::arch::wasm32::memory_grow::<0>(pages);
        (before != usize::MAX).then(|| before * PAGE_BYTES)
    }
}

struct OneThread(UnsafeCell<Heap<Linear>>);

// SAFETY: the sandbox knows no threads.
unsafe impl Sync for OneThread {}

#[global_allocator]
static HEAP: OneThread = OneThread(UnsafeCell::new(Heap::new(Linear)));

#[inline]
fn heap() -> &'static mut Heap<Linear> {
    // SAFETY: there is one thread, and no function of the heap calls anything that calls another.
    unsafe { &mut *HEAP.0.get() }
}

// SAFETY: blocks are as `Heap` promises.
unsafe impl GlobalAlloc for OneThread {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        heap().give(layout.size(), layout.align())
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { heap().take(block, layout.size()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { heap().resize(block, layout.size(), bytes, layout.align()) }
    }
}

/// What the host calls for each text and list that it writes into the guest (component model, Canonical ABI, `realloc`).
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_bytes: usize, align: usize, bytes: usize) -> *mut u8 {
    if bytes == 0 {
        return without_provenance_mut(align);
    }
    let heap = heap();
    // SAFETY: the host gives what it was given before.
    let block = if old_bytes == 0 { heap.give_headed(bytes, align) } else { unsafe { heap.resize_headed(old, bytes) } };
    if block.is_null() {
        core::arch::wasm32::unreachable();
    }
    block
}

#[unsafe(no_mangle)]
extern "C" fn malloc(bytes: usize) -> *mut u8 {
    heap().give_headed(bytes, ALIGNMENT)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { heap().take_headed(block) }
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, bytes: usize) -> *mut u8 {
    let Some(bytes) = count.checked_mul(bytes) else { return null_mut() };
    let block = heap().give_headed(bytes, ALIGNMENT);
    if !block.is_null() {
        // SAFETY: it has room for so many.
        unsafe { block.write_bytes(0, bytes) };
    }
    block
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut u8, bytes: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { heap().resize_headed(block, bytes) }
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: usize, bytes: usize) -> *mut u8 {
    if align.is_power_of_two() { heap().give_headed(bytes, align) } else { null_mut() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(place: *mut *mut u8, align: usize, bytes: usize) -> c_int {
    if !align.is_power_of_two() {
        return EINVAL;
    }
    let block = heap().give_headed(bytes, align);
    if block.is_null() {
        return ENOMEM;
    }
    // SAFETY: the caller's promise: it is a place for a pointer.
    unsafe { place.write(block) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_usable_size(block: *mut u8) -> usize {
    // SAFETY: the caller's promise.
    if block.is_null() { 0 } else { unsafe { bytes_of(block) } }
}
