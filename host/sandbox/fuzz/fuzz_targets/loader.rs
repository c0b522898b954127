//! See `look`.
#![no_main]

#[path = "../look.rs"]
mod look;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(what) = look::look(bytes) {
        panic!("{what}");
    }
});
