//! The macro that turns a policy into a component.

/// Exports a policy: the type that implements [`Plugin`](crate::Plugin), and the kinds it serves, in any combination of
/// `selection`, `compression` and `placement`. Write it once, at the top level of a crate whose `crate-type` includes
/// `cdylib`. In a native build it only checks that the type implements the traits of the kinds it names.
///
/// ```
/// use longshore_plugin::*;
///
/// struct Nightly;
///
/// impl Plugin for Nightly {
///     fn about() -> About {
///         About {
///             name: "nightly",
///             version: env!("CARGO_PKG_VERSION"),
///             author: "Example",
///             description: "Leaves out what is not written to any more.",
///             settings_schema: NO_SETTINGS,
///         }
///     }
/// }
///
/// impl SelectionPolicy for Nightly {
///     fn select(_run: &Run, page: &[Collection]) -> Result<Answer<Selected>, Refusal> {
///         Ok(page.iter().filter(|c| c.new_bytes == 0).map(|c| {
///             (c.id, Selected::excluded(Reason::new("unchanged", "Nothing was written since the last backup.")))
///         }).collect())
///     }
/// }
///
/// export!(Nightly: selection);
/// ```
///
/// A kind whose trait is missing does not compile:
///
/// ```compile_fail
/// # use longshore_plugin::*;
/// struct Nothing;
/// # impl Plugin for Nothing { fn about() -> About { unimplemented!() } }
/// export!(Nothing: placement);
/// ```
#[macro_export]
macro_rules! export {
    ($policy:ident : $($kind:ident),+ $(,)?) => {
        const _: () = {
            $crate::__export_kind!(about $policy);
            $( $crate::__export_kind!($kind $policy); )+
        };
    };
}

/// One export of [`export!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __export_kind {
    (about $policy:ident) => {
        const _: fn() -> $crate::About = <$policy as $crate::Plugin>::about;
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Export;
            impl $crate::bindings::base::exports::longshore::policy::about::Guest for Export {
                fn describe() -> $crate::bindings::base::exports::longshore::policy::about::Info {
                    $crate::glue::describe::<$policy>()
                }
            }
    $crate::bindings::base::export_about!(Export with_types_in $crate::bindings::base);
        };
    };
    (selection $policy:ident) => {
        const _: fn() = || {
            let _ = <$policy as $crate::SelectionPolicy>::select;
        };
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::base::longshore::policy::types::{Collection, Refusal, Run};
            use $crate::bindings::selection::exports::longshore::policy::selection::{Guest, PageAnswer};
            struct Export;
            impl Guest for Export {
                fn select(run: Run, page: Vec<Collection>) -> Result<PageAnswer, Refusal> {
                    $crate::glue::select::<$policy>(run, page)
                }
            }
    $crate::bindings::selection::export_selection!(Export with_types_in $crate::bindings::selection);
        };
    };
    (compression $policy:ident) => {
        const _: fn() = || {
            let _ = <$policy as $crate::CompressionPolicy>::choose;
        };
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::base::longshore::policy::types::{Refusal, Run};
            use $crate::bindings::compression::exports::longshore::policy::compression::{
                Codec, CollectionStreams, Guest, PageAnswer,
            };
            struct Export;
            impl Guest for Export {
                fn choose(
                    run: Run,
                    codecs: Vec<Codec>,
                    collections: Vec<CollectionStreams>,
                ) -> Result<PageAnswer, Refusal> {
                    $crate::glue::choose::<$policy>(run, codecs, collections)
                }
            }
    $crate::bindings::compression::export_compression!(Export with_types_in $crate::bindings::compression);
        };
    };
    (placement $policy:ident) => {
        const _: fn() = || {
            let _ = <$policy as $crate::PlacementPolicy>::place;
        };
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::base::longshore::policy::types::{Collection, Refusal, Run};
            use $crate::bindings::placement::exports::longshore::policy::placement::{Guest, PageAnswer, Region};
            struct Export;
            impl Guest for Export {
                fn place(run: Run, collections: Vec<Collection>, regions: Vec<Region>) -> Result<PageAnswer, Refusal> {
                    $crate::glue::place::<$policy>(run, collections, regions)
                }
            }
    $crate::bindings::placement::export_placement!(Export with_types_in $crate::bindings::placement);
        };
    };
    ($kind:ident $policy:ident) => {
        compile_error!(concat!(
            "`",
            stringify!($kind),
            "` is no kind of policy: write selection, compression or placement"
        ));
    };
}
