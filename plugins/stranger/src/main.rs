//! A well-formed WASI command: a component, but no policy.

fn main() {
    std::process::exit(3);
}
