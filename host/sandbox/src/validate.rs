//! Whether a file is valid, and whether it can be compiled with an effort that is in proportion to its size.
//!
//! Contract: one pass over the file before the compiler sees it. The compiler's work grows with more than the bytes:
//! every local variable that is changed in a branch is joined where the branches meet, so thousands of locals in thousands
//! of nested blocks are millions of joins in a file of a hundred kilobytes; and a component that instantiates another one
//! twice, which does the same, doubles with every level. Compiling cannot be stopped once it runs, so what would take
//! gigabytes or hours is refused here, by limits far above what compilers write.
//!
//! Failure: [`Misfit`] with the place, the number and the limit.

use wasmparser::{BinaryReaderError, Validator, ValidatorResources};
use wasmparser::{FuncToValidate, FuncValidatorAllocations, FunctionBody, Operator, Parser, Payload, ValidPayload};

use crate::Limits;
use crate::explain::{self, Misfit};

/// Checks a component or a core module as a whole.
pub(crate) fn validate(bytes: &[u8], limits: &Limits) -> Result<(), Misfit> {
    measure(bytes, limits).map(drop)
}

/// The figures that the limits are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Figures {
    functions: u64,
    /// Of the largest function.
    function_bytes: u64,
    /// Of the function with most of them.
    function_joins: u64,
    component_levels: u64,
    component_instances: u64,
}

fn measure(bytes: &[u8], limits: &Limits) -> Result<Figures, Misfit> {
    let broken = |error: BinaryReaderError| explain::broken(&error);
    let mut validator = Validator::new();
    let mut counts = Counts::default();
    // After everything else, because a body may name what is declared behind it.
    let mut functions: Vec<(FuncToValidate<ValidatorResources>, FunctionBody<'_>)> = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(broken)?;
        counts.see(&payload, limits)?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(broken)? {
            functions.push((function, body));
        }
    }
    let mut allocations = FuncValidatorAllocations::default();
    for (function, body) in functions {
        let mut validator = function.into_validator(allocations);
        validator.validate(&body).map_err(broken)?;
        allocations = validator.into_allocations();
        let joins = joins(&body).map_err(broken)?;
        at_most("joins of local variables in one function", joins, limits.function_joins)?;
        counts.found.function_joins = counts.found.function_joins.max(joins);
    }
    Ok(counts.found)
}

/// What the compiler's effort grows with beside code.
#[derive(Default)]
struct Counts {
    found: Figures,
    levels: u64,
}

impl Counts {
    fn see(&mut self, payload: &Payload<'_>, limits: &Limits) -> Result<(), Misfit> {
        match payload {
            Payload::Version { .. } => {
                self.levels += 1;
                self.found.component_levels = self.found.component_levels.max(self.levels);
                at_most("levels of components in components", self.levels, limits.component_levels)
            }
            Payload::End(_) => {
                self.levels = self.levels.saturating_sub(1);
                Ok(())
            }
            Payload::ComponentInstanceSection(section) => {
                self.found.component_instances += u64::from(section.count());
                at_most("instances of components", self.found.component_instances, limits.component_instances)
            }
            Payload::CodeSectionStart { count, .. } => {
                self.found.functions += u64::from(*count);
                at_most("functions", self.found.functions, limits.functions)
            }
            Payload::CodeSectionEntry(body) => {
                let bytes = u64::try_from(body.range().len()).unwrap_or(u64::MAX);
                self.found.function_bytes = self.found.function_bytes.max(bytes);
                at_most("bytes in one function", bytes, limits.function_bytes)
            }
            _ => Ok(()),
        }
    }
}

fn at_most(what: &str, found: u64, limit: u64) -> Result<(), Misfit> {
    if found <= limit { Ok(()) } else { Err(explain::too_complex(what, found, limit)) }
}

/// Most joins of local variables that compiling a function can come to: for each block, loop and branch, the locals that
/// are used in it, or as many as there are.
fn joins(body: &FunctionBody<'_>) -> Result<u64, BinaryReaderError> {
    let mut locals = 0_u64;
    for declared in body.get_locals_reader()? {
        locals += u64::from(declared?.0);
    }
    // A parameter is a local, too; there are at most a thousand.
    let locals = locals + 1_000;
    let (mut joins, mut used, mut open) = (0_u64, 0_u64, Vec::new());
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::LocalGet { .. } | Operator::LocalSet { .. } | Operator::LocalTee { .. } => used += 1,
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                open.push(used);
                used = 0;
            }
            Operator::End => {
                joins = joins.saturating_add(used.min(locals));
                used += open.pop().unwrap_or(0);
            }
            _ => {}
        }
    }
    Ok(joins)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Figures, measure};
    use crate::Limits;

    const UNLIMITED: Limits = Limits {
        functions: u64::MAX,
        function_bytes: u64::MAX,
        function_joins: u64::MAX,
        component_levels: u64::MAX,
        component_instances: u64::MAX,
        ..Limits::DEFAULT
    };

    /// What [`Limits`] says about the room above what compilers write.
    #[test]
    fn shipped_plugins_are_far_below_the_limits() {
        let plugins = ["standard", "residency", "tiered", "cost-cap", "rules", "hostile"];
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins");
        let mut most = Figures::default();
        for plugin in plugins {
            let bytes = std::fs::read(format!("{root}/{plugin}/{plugin}.wasm")).unwrap();
            let found = measure(&bytes, &UNLIMITED).unwrap();
            most.functions = most.functions.max(found.functions);
            most.function_bytes = most.function_bytes.max(found.function_bytes);
            most.function_joins = most.function_joins.max(found.function_joins);
            most.component_levels = most.component_levels.max(found.component_levels);
            most.component_instances = most.component_instances.max(found.component_instances);
        }
        let limits = Limits::DEFAULT;
        assert!(most.functions * 100 < limits.functions, "{most:?}");
        assert!(most.function_bytes * 20 < limits.function_bytes, "{most:?}");
        assert!(most.function_joins * 20 < limits.function_joins, "{most:?}");
        assert!(most.component_levels < limits.component_levels, "{most:?}");
        assert!(most.component_instances * 4 < limits.component_instances, "{most:?}");
    }
}
