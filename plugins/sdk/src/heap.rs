//! The heap of a guest whose instance answers one call and then goes with its memory.
//!
//! Contract: a block is aligned as asked and never handed out again while it is in use. What is given back serves later
//! blocks of its own size class; memory is never given back, because it goes with the instance. Failure: a null pointer
//! where the host refuses memory.
//!
//! It takes the place of the C library's heap for everything in a guest: for Rust, for the C library, and for the host,
//! which asks for room for each text and list of a question. Most blocks of a call are such short texts, and finding a
//! place for one took longer than writing it there. A policy that brings a heap of its own switches the feature `heap`
//! off.
//!
//! Rust says how large a block is when it gives it back, so its blocks are plain. C does not, and the C library frees lists
//! that the host asked room for; blocks of both carry a header before them. Rust may give back a block with a header
//! like any other (the texts of a question); its header is then no more than lost room.

#![allow(unsafe_code, reason = "a heap hands out raw memory")]

use std::ptr::{null_mut, with_exposed_provenance_mut};

/// Every block begins at a multiple of this, and has at least so many bytes.
pub(crate) const ALIGNMENT: usize = 8;
/// Up to here there is a class for every multiple of [`ALIGNMENT`]; above, four for each doubling.
pub(crate) const SMALL_BYTES: usize = 512;
const SMALL_CLASSES: usize = SMALL_BYTES / ALIGNMENT + 1;
const SMALL_BITS: u32 = SMALL_BYTES.ilog2();
const STEPS_BITS: u32 = 2;
pub(crate) const CLASSES: usize = SMALL_CLASSES + ((usize::BITS - SMALL_BITS) << STEPS_BITS) as usize;
/// Memory is asked for in steps of this: a call of the host costs as much as many blocks, and what is asked for and not
/// used counts against the plugin's budget.
const STEP_BYTES: usize = 4 * PAGE_BYTES;
/// A page of WebAssembly memory.
pub(crate) const PAGE_BYTES: usize = 65_536;
/// No block is larger; WebAssembly's memory ends here.
pub(crate) const MOST_BYTES: usize = 1 << 31;

/// Where a heap has its memory from.
pub(crate) trait Memory {
    /// Adds pages of [`PAGE_BYTES`]. Answers the address of the first; `None` when there is no more.
    fn grow(&mut self, pages: usize) -> Option<usize>;
}

/// Stands before a block of C or of the host: how large it is.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Header {
    bytes: u32,
    /// Whether it lies where blocks of its class do; one of another alignment does not serve again.
    serves_again: bool,
}

const HEADER_BYTES: usize = size_of::<Header>();

/// The first free block of each class; each begins with the pointer to the one after it.
struct Free([*mut u8; CLASSES]);

impl Free {
    #[inline]
    fn pop(&mut self, class: usize) -> *mut u8 {
        let first = self.0[class];
        if !first.is_null() {
            // SAFETY: a free block begins with a pointer.
            self.0[class] = unsafe { first.cast::<*mut u8>().read() };
        }
        first
    }

    /// # Safety
    /// The block has room for its class and is not used any more.
    #[inline]
    unsafe fn push(&mut self, class: usize, block: *mut u8) {
        // SAFETY: a block has room for a pointer and is aligned for it.
        unsafe { block.cast::<*mut u8>().write(self.0[class]) };
        self.0[class] = block;
    }
}

/// A heap; see the module.
pub(crate) struct Heap<M> {
    pub(crate) memory: M,
    /// Where the next new block begins, and where the memory for new blocks ends.
    next: usize,
    end: usize,
    plain: Free,
    headed: Free,
}

/// The class of a block of this size, and how many bytes a block of the class has room for.
#[inline]
pub(crate) fn class_of(bytes: usize) -> (usize, usize) {
    if bytes <= SMALL_BYTES {
        let class = bytes.max(1).div_ceil(ALIGNMENT);
        return (class, class * ALIGNMENT);
    }
    // 513 to 640 bytes are the first class above, 641 to 768 the second.
    let doubling = (bytes - 1).ilog2();
    let step = 1_usize << (doubling - STEPS_BITS);
    let steps = bytes.div_ceil(step);
    let class = SMALL_CLASSES + (((doubling - SMALL_BITS) as usize) << STEPS_BITS) + steps - (1 << STEPS_BITS) - 1;
    (class, steps * step)
}

impl<M: Memory> Heap<M> {
    /// An empty heap.
    pub(crate) const fn new(memory: M) -> Self {
        Self { memory, next: 0, end: 0, plain: Free([null_mut(); CLASSES]), headed: Free([null_mut(); CLASSES]) }
    }

    /// A plain block of so many bytes at a multiple of `align`, a power of two; null when there is no memory.
    #[inline]
    pub(crate) fn give(&mut self, bytes: usize, align: usize) -> *mut u8 {
        if bytes > MOST_BYTES {
            return null_mut();
        }
        let (class, room) = class_of(bytes);
        // Free blocks are aligned like any block; the few that want more are new ones.
        if align <= ALIGNMENT {
            let block = self.plain.pop(class);
            if !block.is_null() {
                return block;
            }
        }
        self.new_block(0, room, align.max(ALIGNMENT))
    }

    /// Takes a block of so many bytes back.
    ///
    /// # Safety
    /// The block is of this heap, was given for so many bytes, and is not used any more.
    #[inline]
    pub(crate) unsafe fn take(&mut self, block: *mut u8, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.plain.push(class_of(bytes).0, block) };
    }

    /// A plain block of another size that begins with the same bytes; null when there is no memory, and then the block
    /// stays.
    ///
    /// # Safety
    /// As [`Heap::take`] for the old size, unless the answer is null or the block itself.
    #[inline]
    pub(crate) unsafe fn resize(&mut self, block: *mut u8, old_bytes: usize, bytes: usize, align: usize) -> *mut u8 {
        if bytes > MOST_BYTES {
            return null_mut();
        }
        let ((old_class, old_room), (class, room)) = (class_of(old_bytes), class_of(bytes));
        if old_class == class {
            return block;
        }
        // The newest block grows where it is: lists and texts grow while they are written.
        let start = block as usize;
        if room > old_room && start + old_room == self.next && self.end - start >= room {
            self.next = start + room;
            return block;
        }
        let moved = self.give(bytes, align);
        if !moved.is_null() {
            // SAFETY: both have room for so many bytes, and a block that was just given is not the old one.
            unsafe {
                block.copy_to_nonoverlapping(moved, old_bytes.min(bytes));
                self.take(block, old_bytes);
            }
        }
        moved
    }

    /// A block with a header; null when there is no memory.
    #[inline]
    pub(crate) fn give_headed(&mut self, bytes: usize, align: usize) -> *mut u8 {
        if bytes > MOST_BYTES || align > MOST_BYTES {
            return null_mut();
        }
        let ((class, room), serves_again) = (class_of(bytes), align <= ALIGNMENT);
        let mut block = if serves_again { self.headed.pop(class) } else { null_mut() };
        if block.is_null() {
            block = self.new_block(HEADER_BYTES, room, align.max(ALIGNMENT));
        }
        if !block.is_null() {
            // SAFETY: there is room for it before the block.
            unsafe { header_of(block).write(Header { bytes: bytes as u32, serves_again }) };
        }
        block
    }

    /// Takes a block with a header back; a null pointer is none.
    ///
    /// # Safety
    /// The block is of [`Heap::give_headed`] or [`Heap::resize_headed`] and is not used any more.
    #[inline]
    pub(crate) unsafe fn take_headed(&mut self, block: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            if !block.is_null() && header_of(block).read().serves_again {
                self.headed.push(class_of(bytes_of(block)).0, block);
            }
        }
    }

    /// A block with a header of another size that begins with the same bytes; a new one for a null pointer; null when there
    /// is no memory, and then the block stays.
    ///
    /// # Safety
    /// As [`Heap::take_headed`], unless the answer is null or the block itself.
    pub(crate) unsafe fn resize_headed(&mut self, block: *mut u8, bytes: usize) -> *mut u8 {
        let moved = self.give_headed(bytes, ALIGNMENT);
        if !block.is_null() && !moved.is_null() {
            // SAFETY: both have room for so many bytes, and a block that was just given is not the old one.
            unsafe {
                block.copy_to_nonoverlapping(moved, bytes_of(block).min(bytes));
                self.take_headed(block);
            }
        }
        moved
    }

    /// New memory of `room` bytes at a multiple of `align`, with so many free bytes before it.
    #[inline]
    fn new_block(&mut self, before: usize, room: usize, align: usize) -> *mut u8 {
        loop {
            let start = self.next.checked_add(before).and_then(|start| start.checked_next_multiple_of(align));
            let Some((start, end)) = start.and_then(|start| Some((start, start.checked_add(room)?))) else {
                return null_mut();
            };
            if end <= self.end {
                self.next = end;
                return with_exposed_provenance_mut(start);
            }
            if !self.grow(before.saturating_add(align).saturating_add(room)) {
                return null_mut();
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, bytes: usize) -> bool {
        // The rest of what is there is part of the block if the new memory follows it.
        let missing = bytes.saturating_sub(self.end - self.next).max(1);
        let pages = missing.div_ceil(STEP_BYTES).saturating_mul(STEP_BYTES / PAGE_BYTES);
        let Some(start) = self.memory.grow(pages) else { return false };
        // Somebody else may have grown the memory in between.
        if start != self.end {
            self.next = start;
        }
        self.end = start + pages * PAGE_BYTES;
        true
    }
}

fn header_of(block: *mut u8) -> *mut Header {
    block.wrapping_sub(HEADER_BYTES).cast()
}

/// How large a block with a header is.
///
/// # Safety
/// It has one.
pub(crate) unsafe fn bytes_of(block: *mut u8) -> usize {
    // SAFETY: the caller's promise.
    unsafe { header_of(block).read().bytes as usize }
}
