//! What wit-bindgen makes of `wit/v0.1.0`. Not part of the public interface: plugins see the plain types of
//! [`crate::facts`] and [`crate::answer`] only, so that a change of generator changes no plugin.
//!
//! The contract's worlds each export `about` beside one kind. Here `about` and every kind get a world of their own, so
//! that [`crate::export!`] can put together any combination without exporting `about` twice. The linker joins the
//! worlds of one plugin; the host finds every world of the contract that the exports satisfy.

#![allow(missing_docs, unsafe_code, unreachable_pub, unused_imports, clippy::all, reason = "generated code")]

/// What every plugin imports and exports.
pub mod base {
    wit_bindgen::generate!({
        path: "../../wit/v0.1.0",
        inline: "
            package longshore:plugin-base;
            world plugin-base {
                import longshore:policy/types@0.1.0;
                import longshore:policy/host@0.1.0;
                export longshore:policy/about@0.1.0;
            }
        ",
        generate_all,
        generate_unused_types: true,
        pub_export_macro: true,
        export_macro_name: "export_about",
        default_bindings_module: "longshore_plugin::bindings::base",
    });
}

/// The export of a selection policy.
pub mod selection {
    wit_bindgen::generate!({
        path: "../../wit/v0.1.0",
        inline: "
            package longshore:plugin-selection;
            world plugin-selection { export longshore:policy/selection@0.1.0; }
        ",
        with: { "longshore:policy/types@0.1.0": crate::bindings::base::longshore::policy::types },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_selection",
        default_bindings_module: "longshore_plugin::bindings::selection",
    });
}

/// The export of a compression policy.
pub mod compression {
    wit_bindgen::generate!({
        path: "../../wit/v0.1.0",
        inline: "
            package longshore:plugin-compression;
            world plugin-compression { export longshore:policy/compression@0.1.0; }
        ",
        with: { "longshore:policy/types@0.1.0": crate::bindings::base::longshore::policy::types },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_compression",
        default_bindings_module: "longshore_plugin::bindings::compression",
    });
}

/// The export of a placement policy.
pub mod placement {
    wit_bindgen::generate!({
        path: "../../wit/v0.1.0",
        inline: "
            package longshore:plugin-placement;
            world plugin-placement { export longshore:policy/placement@0.1.0; }
        ",
        with: { "longshore:policy/types@0.1.0": crate::bindings::base::longshore::policy::types },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_placement",
        default_bindings_module: "longshore_plugin::bindings::placement",
    });
}
