//! What a segment looks like, and the two arrangements: words by byte planes, and differences over a stride.
//!
//! Contract: every function here is total and its inverse stands beside it. Choosing is a guess about what compresses
//! best; a wrong guess costs bytes, never truth.
//!
//! All of it is inlined into the two loops of `arrange`, which are compiled once for each set of vector instructions.

use fearless_simd::{Select, Simd, SimdBase, SimdFrom, u8x64};

/// Length of a segment. Short enough that one stray byte (a tag, a page header) spoils the alignment of little, long
/// enough that the choice costs nothing.
pub(super) const SEGMENT_BYTES: usize = 4096;
/// Words in a segment, and bytes of one plane of it.
pub(super) const SEGMENT_WORDS: usize = SEGMENT_BYTES / 4;
/// The longest stride, and the bytes before a segment that differences look at.
pub(super) const STRIDE_MAX_BYTES: usize = 64;
/// The shortest stride. Eight bytes are done at a time, so none may depend on another of the same eight.
const STRIDE_MIN_BYTES: usize = 8;
/// Strides that are looked for: 64-bit integers, and groups of eight values packed with 9 to 20 bits each.
const STRIDES_TRIED: std::ops::RangeInclusive<usize> = STRIDE_MIN_BYTES..=20;

/// One whole segment.
pub(super) type Segment = [u8; SEGMENT_BYTES];

/// How a segment is arranged. Its byte in the first stream is what [`Arrangement::to_byte`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// As it is.
    Plain,
    /// 32-bit words by byte planes. The first whole word begins `skip` bytes into the segment, 0 to 3.
    Words {
        /// Bytes before the first whole word.
        skip: usize,
    },
    /// Differences to what stands `bytes` earlier, 8 to 64.
    Stride {
        /// How far back.
        bytes: usize,
    },
}

impl Arrangement {
    pub(super) fn to_byte(self) -> u8 {
        let number = match self {
            Self::Plain => 0,
            Self::Words { skip } => 1 + skip,
            Self::Stride { bytes } => bytes,
        };
        // Never cut: the largest is STRIDE_MAX_BYTES.
        number.to_le_bytes()[0]
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        match usize::from(byte) {
            0 => Some(Self::Plain),
            number @ 1..=4 => Some(Self::Words { skip: number - 1 }),
            bytes @ STRIDE_MIN_BYTES..=STRIDE_MAX_BYTES => Some(Self::Stride { bytes }),
            _ => None,
        }
    }

    /// The arrangement that promises most.
    #[inline(always)]
    pub(super) fn of<S: Simd>(simd: S, segment: &Segment) -> Self {
        if let Some(bytes) = stride_of(segment) {
            return Self::Stride { bytes };
        }
        match skip_of(simd, segment) {
            Some(skip) => Self::Words { skip },
            None => Self::Plain,
        }
    }
}

/// Bytes looked at for each stride.
const STRIDE_PROBE_BYTES: usize = 512;
/// The first of them: where fewer than a quarter are even, the others are not looked at.
const STRIDE_GLANCE_BYTES: usize = 128;

/// The stride at which the segment grows evenly, if there is one: packed dictionary indices that count up, sorted
/// integers. Three of four bytes looked at must differ from the one a stride before as that did from its own; chance
/// gives one of 256.
#[inline(always)]
fn stride_of(segment: &Segment) -> Option<usize> {
    let even = |stride: usize, length: usize| {
        let window = |back: usize| {
            let from = SEGMENT_BYTES / 2 - back * stride;
            segment.get(from..from + length).unwrap_or_default().as_chunks::<STRIDE_GLANCE_BYTES>().0
        };
        let steps = window(0).iter().zip(window(1)).zip(window(2));
        steps.fold(0_u16, |sum, ((c, b), a)| sum.wrapping_add(u16::from(even_bytes(c, b, a))))
    };
    let mut best = (0, None);
    for stride in STRIDES_TRIED {
        if usize::from(even(stride, STRIDE_GLANCE_BYTES)) * 4 > STRIDE_GLANCE_BYTES {
            let count = even(stride, STRIDE_PROBE_BYTES);
            // Of strides that are as good the shortest.
            if count > best.0 {
                best = (count, Some(stride));
            }
        }
    }
    let (count, stride) = best;
    stride.filter(|_| usize::from(count) * 4 > STRIDE_PROBE_BYTES * 3)
}

/// How many of 128 bytes differ from those a stride before as those from theirs. Byte sums that cannot overflow, so that
/// the compiler makes vector code of them.
#[inline(always)]
fn even_bytes(
    last: &[u8; STRIDE_GLANCE_BYTES],
    middle: &[u8; STRIDE_GLANCE_BYTES],
    first: &[u8; STRIDE_GLANCE_BYTES],
) -> u8 {
    let steps = last.iter().zip(middle).zip(first);
    steps.fold(0, |sum: u8, ((c, b), a)| sum.wrapping_add(u8::from(c.wrapping_sub(*b) == b.wrapping_sub(*a))))
}

/// How far apart bytes are compared to see which of the four places within a word is regular. Multiples of four, and
/// otherwise without a common period, so that what repeats at another one does not look like words.
const WORD_LAGS_BYTES: [usize; 4] = [4, 12, 20, 44];
/// Bytes compared at once.
const ROW_BYTES: usize = 64;
// Each lane counts at most one pair of each row but the last, for each lag, in a byte.
const _: () = assert!(WORD_LAGS_BYTES.len() * (SEGMENT_BYTES / ROW_BYTES - 1) <= u8::MAX as usize);
/// Pairs compared at each place.
const WORD_PAIRS: u32 = (WORD_LAGS_BYTES.len() * (SEGMENT_BYTES / ROW_BYTES - 1) * (ROW_BYTES / 4)) as u32;

/// Where 32-bit words begin, if the segment is made of words with a regular highest byte (the exponents of vectors).
/// Of the bytes at each of the four places within four, those of one place must be equal clearly more often than others.
#[inline(always)]
fn skip_of<S: Simd>(simd: S, segment: &Segment) -> Option<usize> {
    let (none, one) = (u8x64::splat(simd, 0), u8x64::splat(simd, 1));
    let mut lanes = none;
    for lag in WORD_LAGS_BYTES {
        let later = segment.get(lag..).unwrap_or_default().as_chunks::<ROW_BYTES>().0;
        // The last row has no whole row behind it.
        for (row, later) in segment.as_chunks::<ROW_BYTES>().0.iter().zip(later) {
            let same = u8x64::simd_from(simd, *row).simd_eq(u8x64::simd_from(simd, *later));
            lanes += same.select(one, none);
        }
    }
    let lanes: [u8; ROW_BYTES] = lanes.into();
    let mut equal = [0_u32; 4];
    for lanes in lanes.as_chunks::<4>().0 {
        equal.iter_mut().zip(lanes).for_each(|(equal, lane)| *equal += u32::from(*lane));
    }
    let sum: u32 = equal.iter().sum();
    let (place, most) = equal.iter().enumerate().max_by_key(|(_, equal)| **equal)?;
    // More often than at the other three places together, by what chance gives: text and packed numbers, in which places
    // differ a little, are left alone.
    (*most > sum - most + WORD_PAIRS / 256).then_some((place + 1) % 4)
}

/// The bytes of the words of one segment, by place, the lowest first.
pub(super) type Planes = [[u8; SEGMENT_WORDS]; 4];

/// Splits the words of a segment into planes. Each word is turned left by one bit before, so that the exponent of a float
/// fills the highest byte and its sign goes to the lowest. The bytes before the first whole word follow the last ones and
/// make a word with them.
#[inline(always)]
pub(super) fn split_words(segment: &Segment, skip: usize, planes: &mut Planes) {
    let (before, words) = segment.split_at(skip % 4);
    let (words, after) = words.as_chunks::<4>();
    let split = |word: [u8; 4]| u32::from_le_bytes(word).rotate_left(1).to_le_bytes();
    let [first, second, third, fourth] = &mut *planes;
    let places = first.iter_mut().zip(second).zip(third).zip(fourth);
    for (word, (((first, second), third), fourth)) in words.iter().zip(places) {
        [*first, *second, *third, *fourth] = split(*word);
    }
    if !after.is_empty() {
        let mut last = [0; 4];
        last.iter_mut().zip(after.iter().chain(before)).for_each(|(place, byte)| *place = *byte);
        planes.iter_mut().filter_map(|plane| plane.last_mut()).zip(split(last)).for_each(|(place, byte)| *place = byte);
    }
}

/// The inverse of [`split_words`].
#[inline(always)]
pub(super) fn join_words(planes: [&[u8; SEGMENT_WORDS]; 4], skip: usize, segment: &mut Segment) {
    let [first, second, third, fourth] = planes;
    let places = first.iter().zip(second).zip(third).zip(fourth);
    for (word, (((first, second), third), fourth)) in segment.as_chunks_mut::<4>().0.iter_mut().zip(places) {
        *word = u32::from_le_bytes([*first, *second, *third, *fourth]).rotate_right(1).to_le_bytes();
    }
    segment.rotate_right(skip % 4);
}

/// The bytes before a segment.
pub(super) type Before = [u8; STRIDE_MAX_BYTES];
/// Both.
pub(super) type History = [u8; STRIDE_MAX_BYTES + SEGMENT_BYTES];

/// The segment less what stands `stride` bytes before it, both taken as one large little-endian number, modulo its
/// size. Values packed with any number of bits that grow evenly give a difference that repeats, wherever they begin.
#[inline(always)]
pub(super) fn subtract(history: &History, stride: usize, differences: &mut Segment) {
    let mut borrow = false;
    let steps = differences.as_chunks_mut::<8>().0.iter_mut().zip((STRIDE_MAX_BYTES..).step_by(8));
    for (difference, at) in steps {
        let less;
        (less, borrow) = eight(history, at).borrowing_sub(eight(history, at.saturating_sub(stride)), borrow);
        *difference = less.to_le_bytes();
    }
}

/// The inverse of [`subtract`]: the segment that follows `before`.
#[inline(always)]
pub(super) fn add(before: &Before, stride: usize, differences: &Segment, segment: &mut Segment) {
    // One body for each number of words that a stride reaches back, so that these words stay in registers: read from the
    // bytes just written, they would make each step wait for the one before.
    match stride.div_ceil(8) {
        1 => add_near::<1>(before, stride, differences, segment),
        2 => add_near::<2>(before, stride, differences, segment),
        3 => add_near::<3>(before, stride, differences, segment),
        _ => add_far(before, stride, differences, segment),
    }
}

/// [`add`] for strides of more than `8 * (BACK - 1)` and at most `8 * BACK` bytes, `BACK` being 1, 2 or 3.
#[inline(always)]
fn add_near<const BACK: usize>(before: &Before, stride: usize, differences: &Segment, segment: &mut Segment) {
    let word =
        |back: usize| before.as_rchunks::<8>().1.iter().rev().nth(back - 1).map_or(0, |b| u64::from_le_bytes(*b));
    let (mut third, mut second, mut last) = (word(3), word(2), word(1));
    // What stands a stride back begins so many bits into the oldest word that it touches.
    let shift = (BACK * 8).saturating_sub(stride) as u32 * 8 % 64;
    let mut carry = false;
    for (place, difference) in segment.as_chunks_mut::<8>().0.iter_mut().zip(differences.as_chunks::<8>().0) {
        let (oldest, next) = match BACK {
            1 => (last, 0),
            2 => (second, last),
            _ => (third, second),
        };
        // The left shift in two steps, because one by all 64 bits would be none.
        let earlier = oldest >> shift | next << 1 << (63 - shift);
        let more;
        (more, carry) = u64::from_le_bytes(*difference).carrying_add(earlier, carry);
        *place = more.to_le_bytes();
        (third, second, last) = (second, last, more);
    }
}

/// [`add`] for any stride.
fn add_far(before: &Before, stride: usize, differences: &Segment, segment: &mut Segment) {
    let mut history: History = [0; STRIDE_MAX_BYTES + SEGMENT_BYTES];
    history.first_chunk_mut().into_iter().for_each(|place| *place = *before);
    let mut carry = false;
    for (difference, at) in differences.as_chunks::<8>().0.iter().zip((STRIDE_MAX_BYTES..).step_by(8)) {
        let earlier = eight(&history, at.saturating_sub(stride));
        let more;
        (more, carry) = u64::from_le_bytes(*difference).carrying_add(earlier, carry);
        if let Some(place) = history.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *place = more.to_le_bytes();
        }
    }
    history.last_chunk().into_iter().for_each(|sum| *segment = *sum);
}

fn eight(history: &History, at: usize) -> u64 {
    history.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
