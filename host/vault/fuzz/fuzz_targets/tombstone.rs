//! See `longshore_vault::testing::Parser`.
#![no_main]

use longshore_vault::testing::Parser;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let bytes = Parser::Tombstone.with_right_digest(bytes.to_vec());
    if let Err(what) = Parser::Tombstone.look(&bytes) {
        panic!("{what}");
    }
});
