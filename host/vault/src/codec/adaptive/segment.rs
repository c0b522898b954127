//! What a segment looks like, and the two arrangements: words by byte planes, and differences over a stride.
//!
//! Contract: every function here is total and its inverse stands beside it. Choosing is a guess about what compresses
//! best; a wrong guess costs bytes, never truth.

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
    pub(super) fn of(segment: &Segment) -> Self {
        if let Some(bytes) = stride_of(segment) {
            return Self::Stride { bytes };
        }
        match skip_of(segment) {
            Some(skip) => Self::Words { skip },
            None => Self::Plain,
        }
    }
}

/// Bytes looked at for each stride.
const STRIDE_PROBE_BYTES: usize = 512;

/// The stride at which the segment grows evenly, if there is one: packed dictionary indices that count up, sorted
/// integers. Three of four bytes looked at must differ from the one a stride before as that did from its own; chance
/// gives one of 256.
fn stride_of(segment: &Segment) -> Option<usize> {
    let even = |stride: usize| {
        let window = |back: usize| {
            let from = SEGMENT_BYTES / 2 - back * stride;
            segment.get(from..from + STRIDE_PROBE_BYTES).unwrap_or_default().as_chunks::<128>().0
        };
        let steps = window(0).iter().zip(window(1)).zip(window(2));
        steps.fold(0_u16, |sum, ((c, b), a)| sum.wrapping_add(u16::from(even_bytes(c, b, a))))
    };
    let best = STRIDES_TRIED.map(|stride| (even(stride), std::cmp::Reverse(stride))).max();
    best.filter(|(count, _)| usize::from(*count) * 4 > STRIDE_PROBE_BYTES * 3).map(|(_, stride)| stride.0)
}

/// How many of 128 bytes differ from those a stride before as those from theirs. Byte sums that cannot overflow, so that
/// the compiler makes vector code of them.
fn even_bytes(last: &[u8; 128], middle: &[u8; 128], first: &[u8; 128]) -> u8 {
    let steps = last.iter().zip(middle).zip(first);
    steps.fold(0, |sum: u8, ((c, b), a)| sum.wrapping_add(u8::from(c.wrapping_sub(*b) == b.wrapping_sub(*a))))
}

/// Where 32-bit words begin, if the segment is made of words with a regular highest byte (the exponents of vectors).
/// Of the bytes at each of the four places within four, one place must be clearly more regular than the others.
fn skip_of(segment: &Segment) -> Option<usize> {
    let mut counts = [[0_u16; 256]; 4];
    for word in segment.as_chunks::<4>().0.iter().step_by(4) {
        for (counts, byte) in counts.iter_mut().zip(word) {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count = count.wrapping_add(1);
            }
        }
    }
    // The sum of squares grows with regularity: 256 samples give about 511 when all values are as likely.
    let square = |count: &u16| u32::from(*count).wrapping_mul(u32::from(*count));
    let regularity = counts.map(|counts| counts.iter().fold(0_u32, |sum, count| sum.wrapping_add(square(count))));
    let sum: u32 = regularity.iter().sum();
    let (place, most) = regularity.iter().enumerate().max_by_key(|(_, regularity)| **regularity)?;
    // More than one and a half times the mean of the other three.
    (most * 2 > sum - most).then_some((place + 1) % 4)
}

/// Appends the words of a segment to four planes, the lowest byte first. Each word is turned left by one bit before, so
/// that the exponent of a float fills the highest byte and its sign goes to the lowest. The bytes before the first whole
/// word follow the last ones and make a word with them.
pub(super) fn split_words(segment: &Segment, skip: usize, planes: [&mut Vec<u8>; 4]) {
    let mut turned = *segment;
    turned.rotate_left(skip % 4);
    let mut split = [[0_u8; SEGMENT_WORDS]; 4];
    let [first, second, third, fourth] = &mut split;
    let places = first.iter_mut().zip(second).zip(third).zip(fourth);
    for (word, (((first, second), third), fourth)) in turned.as_chunks::<4>().0.iter().zip(places) {
        [*first, *second, *third, *fourth] = u32::from_le_bytes(*word).rotate_left(1).to_le_bytes();
    }
    for (plane, split) in planes.into_iter().zip(&split) {
        plane.extend_from_slice(split);
    }
}

/// The inverse of [`split_words`].
pub(super) fn join_words(planes: [&[u8; SEGMENT_WORDS]; 4], skip: usize) -> Segment {
    let mut segment = [0; SEGMENT_BYTES];
    let [first, second, third, fourth] = planes;
    let places = first.iter().zip(second).zip(third).zip(fourth);
    for (word, (((first, second), third), fourth)) in segment.as_chunks_mut::<4>().0.iter_mut().zip(places) {
        *word = u32::from_le_bytes([*first, *second, *third, *fourth]).rotate_right(1).to_le_bytes();
    }
    segment.rotate_right(skip % 4);
    segment
}

/// A segment with the bytes before it.
pub(super) type History = [u8; STRIDE_MAX_BYTES + SEGMENT_BYTES];

/// The segment less what stands `stride` bytes before it, both taken as one large little-endian number, modulo its
/// size. Values packed with any number of bits that grow evenly give a difference that repeats, wherever they begin.
pub(super) fn subtract(history: &History, stride: usize) -> Segment {
    let mut differences = [0; SEGMENT_BYTES];
    let mut borrow = false;
    let steps = differences.as_chunks_mut::<8>().0.iter_mut().zip((STRIDE_MAX_BYTES..).step_by(8));
    for (difference, at) in steps {
        let (less, one) = eight(history, at).overflowing_sub(eight(history, at.saturating_sub(stride)));
        let (less, other) = less.overflowing_sub(u64::from(borrow));
        *difference = less.to_le_bytes();
        borrow = one | other;
    }
    differences
}

/// The inverse of [`subtract`]: fills in the segment behind the bytes before it.
pub(super) fn add(history: &mut History, stride: usize, differences: &Segment) {
    let mut carry = false;
    for (difference, at) in differences.as_chunks::<8>().0.iter().zip((STRIDE_MAX_BYTES..).step_by(8)) {
        let earlier = eight(history, at.saturating_sub(stride));
        let (more, one) = u64::from_le_bytes(*difference).overflowing_add(earlier);
        let (more, other) = more.overflowing_add(u64::from(carry));
        if let Some(place) = history.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *place = more.to_le_bytes();
        }
        carry = one | other;
    }
}

fn eight(history: &History, at: usize) -> u64 {
    history.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
