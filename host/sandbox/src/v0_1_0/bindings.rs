//! What wasmtime makes of `wit/v0.1.0`.
//!
//! One world holds every export, though a plugin may serve any kinds: each interface is looked up on its own, and the
//! indices of the world as a whole are not used. Questions are lowered from borrowed values, so that the host makes no
//! copy of its facts on their way into a plugin.

#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../../wit/v0.1.0",
    inline: "
        package longshore:host-speaker;
        world host-speaker {
            import longshore:policy/types@0.1.0;
            import longshore:policy/host@0.1.0;
            export longshore:policy/about@0.1.0;
            export longshore:policy/selection@0.1.0;
            export longshore:policy/compression@0.1.0;
            export longshore:policy/placement@0.1.0;
        }
    ",
    imports: { default: trappable },
    ownership: Borrowing { duplicate_if_necessary: false },
});
