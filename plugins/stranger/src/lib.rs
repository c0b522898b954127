//! A well-formed component that exports nothing a policy exports: what a host gets when somebody names the wrong file.

#![allow(missing_docs, unsafe_code, unreachable_pub, reason = "generated code")]

wit_bindgen::generate!({
    inline: "
        package example:greeter@1.0.0;
        world greeter { export greet: func() -> string; }
    ",
});

struct Greeter;

impl Guest for Greeter {
    fn greet() -> String {
        "Good morning.".to_owned()
    }
}

export!(Greeter);
