//! What wasmtime makes of `wit/v0.1.0`, one module per exported interface, sharing types and imports of the first.
//!
//! A plugin may serve any kinds, so each interface has a world of its own here and is looked up on its own.

#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, reason = "generated code")]

/// Interface `about`; also the home of the shared types and of the host's own interface.
pub mod about {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1.0",
        inline: "
            package longshore:host-about;
            world host-about {
                import longshore:policy/types@0.1.0;
                import longshore:policy/host@0.1.0;
                export longshore:policy/about@0.1.0;
            }
        ",
        imports: { default: trappable },
    });
}

/// Interface `selection`.
pub mod selection {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1.0",
        inline: "
            package longshore:host-selection;
            world host-selection { export longshore:policy/selection@0.1.0; }
        ",
        imports: { default: trappable },
        with: { "longshore:policy/types@0.1.0": super::about::longshore::policy::types },
    });
}

/// Interface `compression`.
pub mod compression {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1.0",
        inline: "
            package longshore:host-compression;
            world host-compression { export longshore:policy/compression@0.1.0; }
        ",
        imports: { default: trappable },
        with: { "longshore:policy/types@0.1.0": super::about::longshore::policy::types },
    });
}

/// Interface `placement`.
pub mod placement {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1.0",
        inline: "
            package longshore:host-placement;
            world host-placement { export longshore:policy/placement@0.1.0; }
        ",
        imports: { default: trappable },
        with: { "longshore:policy/types@0.1.0": super::about::longshore::policy::types },
    });
}
