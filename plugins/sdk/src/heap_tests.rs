//! The heap on memory of a test, against a list of what is in use.

#![allow(unsafe_code, clippy::unwrap_used, clippy::print_stdout, reason = "tests of a heap")]

use crate::heap::{ALIGNMENT, CLASSES, Heap, MOST_BYTES, Memory, PAGE_BYTES, SMALL_BYTES, class_of};

/// Memory of a test: as much as it says, and somebody else takes pages in between.
struct Block {
    words: Vec<u64>,
    used_bytes: usize,
    gaps: bool,
    /// Where somebody else's pages begin.
    others: Vec<usize>,
}

impl Block {
    fn of(pages: usize, gaps: bool) -> Self {
        Self { words: vec![u64::MAX; pages * PAGE_BYTES / 8], used_bytes: 0, gaps, others: Vec::new() }
    }
}

impl Memory for Block {
    fn grow(&mut self, pages: usize) -> Option<usize> {
        if self.gaps && self.used_bytes / PAGE_BYTES % 3 == 1 {
            self.others.push(self.used_bytes / 8);
            self.used_bytes += PAGE_BYTES;
        }
        let start = self.used_bytes;
        let end = start.checked_add(pages.checked_mul(PAGE_BYTES)?).filter(|end| *end <= self.words.len() * 8)?;
        self.used_bytes = end;
        Some(self.words.as_mut_ptr().expose_provenance() + start)
    }
}

/// A block in use: where, how large and aligned, and the byte it is full of.
#[derive(Clone, Copy)]
struct Used {
    block: *mut u8,
    bytes: usize,
    align: usize,
    full_of: u8,
    headed: bool,
}

impl Used {
    fn fill(self) {
        // SAFETY: it is in use and that large.
        unsafe { self.block.write_bytes(self.full_of, self.bytes) };
    }

    fn must_be_untouched(self, first_bytes: usize) {
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(self.block, first_bytes.min(self.bytes)) };
        assert!(bytes.iter().all(|byte| *byte == self.full_of), "a block in use was written to");
        assert_eq!(self.block as usize % self.align, 0);
    }
}

/// Numbers that look random, the same for the same seed (Knuth's multiplier for 64 bits).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    /// Mostly small.
    fn size(&mut self) -> usize {
        let limit = [200, 200, 3_000, 40_000][self.below(4)];
        self.below(limit) + 1
    }
}

fn play(seed: u64) {
    let mut numbers = Numbers(seed);
    let mut heap = Heap::new(Block::of(12, seed % 2 == 1));
    let mut used: Vec<Used> = Vec::new();
    for number in 0..120 {
        let full_of = u8::try_from(number).unwrap();
        let (act, bytes) = (numbers.below(10), numbers.size());
        let which = numbers.below(used.len().max(1));
        if act < 4 || used.is_empty() {
            let align = 1 << if numbers.below(8) == 0 { numbers.below(13) } else { numbers.below(4) };
            let headed = numbers.below(2) == 1;
            let block = if headed { heap.give_headed(bytes, align) } else { heap.give(bytes, align) };
            if !block.is_null() {
                used.push(Used { block, bytes, align, full_of, headed });
            }
        } else if act < 7 {
            let old = used.swap_remove(which);
            old.must_be_untouched(usize::MAX);
            // SAFETY: it was in use and no longer is. Rust gives a block with a header back as a plain one.
            unsafe {
                if old.headed && act < 6 {
                    heap.take_headed(old.block);
                } else {
                    heap.take(old.block, old.bytes);
                }
            }
        } else {
            let old = used[which];
            // SAFETY: as above.
            let block = unsafe {
                if old.headed {
                    heap.resize_headed(old.block, bytes)
                } else {
                    heap.resize(old.block, old.bytes, bytes, old.align)
                }
            };
            if !block.is_null() {
                let align = if old.headed { ALIGNMENT } else { old.align };
                Used { block, bytes, align, ..old }.must_be_untouched(old.bytes);
                used[which] = Used { block, bytes, align, full_of, ..old };
                used[which].fill();
            }
        }
        if let Some(last) = used.last() {
            last.fill();
        }
        used.iter().for_each(|one| one.must_be_untouched(usize::MAX));
    }
    for others in &heap.memory.others {
        let page = &heap.memory.words[*others..others + PAGE_BYTES / 8];
        assert!(page.iter().all(|word| *word == u64::MAX), "somebody else's page was written to");
    }
}

#[test]
fn what_is_in_use_is_never_touched() {
    for seed in 0..100 {
        println!("seed {seed}");
        play(seed);
    }
}

#[test]
fn a_class_has_room_and_wastes_a_quarter_at_most() {
    let large = (0..31).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1, (1 << bits) + (1 << bits) / 3]);
    for bytes in (1..10_000_usize).chain(large).chain([MOST_BYTES]).filter(|bytes| *bytes > 0) {
        let (class, room) = class_of(bytes);
        assert!(room >= bytes && (room - bytes) * 4 <= bytes.max(4 * ALIGNMENT), "{bytes}");
        assert!(class_of(room + 1).0 == class + 1 && class_of(room) == (class, room) && class < CLASSES, "{bytes}");
    }
}

#[test]
fn blocks_serve_again_and_the_newest_grows_where_it_is() {
    let mut heap = Heap::new(Block::of(4, false));
    let (first, second) = (heap.give(100, 1), heap.give_headed(100, 1));
    // SAFETY: each block is used as the heap asks for.
    unsafe {
        heap.take(first, 100);
        heap.take_headed(second);
        assert_eq!((heap.give(97, 8), heap.give_headed(97, 8)), (first, second), "of the same class");
        let newest = heap.give(SMALL_BYTES, 1);
        assert_eq!(heap.resize(newest, SMALL_BYTES, 60_000, 1), newest);
        assert_ne!(heap.resize(first, 97, 200, 1), first);
        heap.take_headed(std::ptr::null_mut());
        assert!(!heap.resize_headed(std::ptr::null_mut(), 1).is_null(), "a block that was none is a new one");
    }
}

#[test]
fn no_memory_is_a_null_pointer_and_what_is_there_stays() {
    let mut heap = Heap::new(Block::of(4, false));
    let block = heap.give_headed(200_000, 8);
    let used = Used { block, bytes: 200_000, align: ALIGNMENT, full_of: 7, headed: true };
    used.fill();
    for bytes in [200_000, MOST_BYTES, MOST_BYTES + 1, usize::MAX] {
        assert!(heap.give(bytes, 8).is_null() && heap.give_headed(bytes, 4_096).is_null());
    }
    assert!(heap.give_headed(8, 1 << 40).is_null());
    // SAFETY: the block is in use.
    assert!(unsafe { heap.resize_headed(block, 400_000).is_null() && heap.resize_headed(block, usize::MAX).is_null() });
    used.must_be_untouched(usize::MAX);
}
