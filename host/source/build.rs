//! Turns `proto/` into Rust: the messages with prost, and for each call an implementation of `Rpc`, so that path, answer,
//! database and what may be repeated stand in the .proto alone. No protoc is needed.

use std::collections::HashSet;
use std::fmt::Write as _;

use prost_build::{Service, ServiceGenerator};
use prost_types::FileDescriptorSet;
use prost_types::method_options::IdempotencyLevel;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/milvus.proto"], ["proto"])?;
    let calls = Box::new(Calls { with_database: requests_with_database(&files) });
    prost_build::Config::new().service_generator(calls).compile_fds(files)?;
    Ok(())
}

/// Full names of the messages that say which database is meant, in the one spelling or the other.
fn requests_with_database(files: &FileDescriptorSet) -> HashSet<String> {
    let mut found = HashSet::new();
    for file in &files.file {
        for message in file
            .message_type
            .iter()
            .filter(|message| message.field.iter().any(|field| matches!(field.name(), "db_name" | "dbName")))
        {
            found.insert(format!(".{}.{}", file.package(), message.name()));
        }
    }
    found
}

struct Calls {
    with_database: HashSet<String>,
}

impl ServiceGenerator for Calls {
    fn generate(&mut self, service: Service, buffer: &mut String) {
        for call in &service.methods {
            let repeatable = call.options.idempotency_level() != IdempotencyLevel::IdempotencyUnknown;
            let database = if self.with_database.contains(&call.input_proto_type) { "&self.db_name" } else { "\"\"" };
            let is_status = call.output_proto_type.ends_with(".Status");
            let status = if is_status { "Some(answer)" } else { "answer.status.as_ref()" };
            let written = write!(
                buffer,
                "impl crate::milvus::rpc::Rpc for {input} {{\n\
                 type Answer = {output};\n\
                 const NAME: &'static str = \"{name}\";\n\
                 const PATH: &'static str = \"/{package}.{service}/{name}\";\n\
                 const REPEATABLE: bool = {repeatable};\n\
                 fn database(&self) -> &str {{ {database} }}\n\
                 fn status(answer: &Self::Answer) -> Option<&super::common::Status> {{ {status} }}\n\
                 }}\n",
                input = call.input_type,
                output = call.output_type,
                name = call.proto_name,
                package = service.package,
                service = service.proto_name,
            );
            // Writing into a string does not fail.
            debug_assert!(written.is_ok());
        }
    }
}
