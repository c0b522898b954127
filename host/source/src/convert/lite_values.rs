//! Values of Milvus Lite's data files in the form of the digest of rows, and back.
//!
//! Contract: what is read is what was written, bit for bit; a value that does not fit its type is an error with its field's
//! name and never another value. An array is its elements, each behind its length (32 bits).

use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, FixedSizeListBuilder, Float32Builder, ListBuilder, PrimitiveBuilder, StringBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow_schema::DataType;

use super::lite_schema::{LiteType, Scalar};
use super::misfit::Misfit;
use super::piece::Column;

/// What is wrong with a value, without the field's name.
type Wrong = &'static str;

const WIDTH: Wrong = "has another width than its type";
const RANGE: Wrong = "is beyond the range of its type";
const TEXT: Wrong = "is no UTF-8 text";
const MISSING: Wrong = "is missing, and must not be";
const ARRAY: Wrong = "is no array of its type";

/// The column of a data file that holds these values.
///
/// # Errors
/// [`Misfit::Value`].
pub(crate) fn to_arrow(field: &str, kind: LiteType, is_nullable: bool, column: &Column) -> Result<ArrayRef, Misfit> {
    let built =
        if !is_nullable && column.iter().any(|value| value.is_none()) { Err(MISSING) } else { built(kind, column) };
    built.map_err(|what| Misfit::Value { field: field.to_owned(), what: what.to_owned() })
}

fn built(kind: LiteType, column: &Column) -> Result<ArrayRef, Wrong> {
    match kind {
        LiteType::Json => scalars(Scalar::VarChar, column.iter()),
        LiteType::Scalar(scalar) => scalars(scalar, column.iter()),
        LiteType::Array(element) => {
            macro_rules! list_of {
                ($builder:expr, $of:expr) => {
                    list($builder, column, |to, one| {
                        to.append_value($of(one)?);
                        Ok(())
                    })
                };
            }
            match element {
                Scalar::Bool => list_of!(BooleanBuilder::new(), truth),
                Scalar::Int8 => list_of!(PrimitiveBuilder::<Int8Type>::new(), integer),
                Scalar::Int16 => list_of!(PrimitiveBuilder::<Int16Type>::new(), integer),
                Scalar::Int32 => list_of!(PrimitiveBuilder::<Int32Type>::new(), integer),
                Scalar::Int64 => list_of!(PrimitiveBuilder::<Int64Type>::new(), integer),
                Scalar::Float => list_of!(PrimitiveBuilder::<Float32Type>::new(), float),
                Scalar::Double => list_of!(PrimitiveBuilder::<Float64Type>::new(), double),
                Scalar::VarChar => list_of!(StringBuilder::new(), text),
            }
        }
        LiteType::FloatVector(dim) => {
            let width = usize::try_from(dim).unwrap_or(usize::MAX).saturating_mul(4);
            let mut builder = FixedSizeListBuilder::with_capacity(Float32Builder::new(), dim, column.len());
            for value in column.iter() {
                let value = value.ok_or(MISSING)?;
                if value.len() != width {
                    return Err("has another number of dimensions than its field");
                }
                let (numbers, _) = value.as_chunks::<4>();
                numbers.iter().for_each(|number| builder.values().append_value(f32::from_le_bytes(*number)));
                builder.append(true);
            }
            Ok(Arc::new(builder.finish()))
        }
    }
}

fn scalars<'a>(kind: Scalar, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef, Wrong> {
    fn numbers<'a, T: ArrowPrimitiveType>(
        values: impl Iterator<Item = Option<&'a [u8]>>,
        of: impl Fn(&[u8]) -> Result<T::Native, Wrong>,
    ) -> Result<ArrayRef, Wrong> {
        let array: PrimitiveArray<T> = values.map(|value| value.map(&of).transpose()).collect::<Result<_, _>>()?;
        Ok(Arc::new(array))
    }
    match kind {
        Scalar::Bool => {
            let mut builder = BooleanBuilder::new();
            for value in values {
                builder.append_option(value.map(truth).transpose()?);
            }
            Ok(Arc::new(builder.finish()))
        }
        Scalar::Int8 => numbers::<Int8Type>(values, integer),
        Scalar::Int16 => numbers::<Int16Type>(values, integer),
        Scalar::Int32 => numbers::<Int32Type>(values, integer),
        Scalar::Int64 => numbers::<Int64Type>(values, integer),
        Scalar::Float => numbers::<Float32Type>(values, float),
        Scalar::Double => numbers::<Float64Type>(values, double),
        Scalar::VarChar => {
            let mut builder = StringBuilder::new();
            for value in values {
                builder.append_option(value.map(text).transpose()?);
            }
            Ok(Arc::new(builder.finish()))
        }
    }
}

fn list<B: ArrayBuilder>(
    builder: B,
    column: &Column,
    add: impl Fn(&mut B, &[u8]) -> Result<(), Wrong>,
) -> Result<ArrayRef, Wrong> {
    let mut builder = ListBuilder::new(builder);
    for value in column.iter() {
        for element in value.into_iter().flat_map(elements) {
            add(builder.values(), element?)?;
        }
        builder.append(value.is_some());
    }
    Ok(Arc::new(builder.finish()))
}

/// The elements of an array, each behind its length.
pub(crate) fn elements(mut array: &[u8]) -> impl Iterator<Item = Result<&[u8], Wrong>> {
    std::iter::from_fn(move || {
        if array.is_empty() {
            return None;
        }
        let split = array.split_first_chunk::<4>().and_then(|(length, rest)| {
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            rest.split_at_checked(length)
        });
        let Some((element, rest)) = split else {
            array = &[];
            return Some(Err(ARRAY));
        };
        array = rest;
        Some(Ok(element))
    })
}

/// Adds an element of an array to its bytes.
fn add_element(array: &mut Vec<u8>, element: &[u8]) {
    array.extend(u32::try_from(element.len()).unwrap_or(u32::MAX).to_le_bytes());
    array.extend(element);
}

fn exact<const N: usize>(value: &[u8]) -> Result<[u8; N], Wrong> {
    value.try_into().map_err(|_| WIDTH)
}

fn integer<T: TryFrom<i64>>(value: &[u8]) -> Result<T, Wrong> {
    T::try_from(i64::from_le_bytes(exact(value)?)).map_err(|_| RANGE)
}

fn float(value: &[u8]) -> Result<f32, Wrong> {
    exact(value).map(f32::from_le_bytes)
}

fn double(value: &[u8]) -> Result<f64, Wrong> {
    exact(value).map(f64::from_le_bytes)
}

fn truth(value: &[u8]) -> Result<bool, Wrong> {
    match value {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(WIDTH),
    }
}

fn text(value: &[u8]) -> Result<&str, Wrong> {
    std::str::from_utf8(value).map_err(|_| TEXT)
}

/// Reads the rows of a column of a data file or of a log.
///
/// # Errors
/// [`Misfit::Value`] for a column of another type than its field.
pub(crate) fn from_arrow(field: &str, kind: LiteType, array: &ArrayRef) -> Result<Column, Misfit> {
    let mut column = Column::default();
    let what = || format!("is kept as {}, and not as a field of type {} is", array.data_type(), kind.name());
    each(kind, array, &mut |value| column.push(value))
        .ok_or_else(|| Misfit::Value { field: field.to_owned(), what: what() })?;
    Ok(column)
}

/// `None` for an array of another type.
fn each(kind: LiteType, array: &ArrayRef, visit: &mut dyn FnMut(Option<&[u8]>)) -> Option<()> {
    match kind {
        LiteType::Json => each_scalar(Scalar::VarChar, array, visit),
        LiteType::Scalar(scalar) => each_scalar(scalar, array, visit),
        LiteType::Array(element) => {
            let lists = array.as_list_opt::<i32>()?;
            for row in 0..lists.len() {
                if lists.is_null(row) {
                    visit(None);
                    continue;
                }
                let mut bytes = Vec::new();
                let mut has_gap = false;
                each_scalar(element, &lists.value(row), &mut |one| match one {
                    Some(one) => add_element(&mut bytes, one),
                    None => has_gap = true,
                })?;
                if has_gap {
                    return None;
                }
                visit(Some(&bytes));
            }
            Some(())
        }
        LiteType::FloatVector(dim) => {
            let lists = array.as_fixed_size_list_opt()?;
            if lists.value_length() != dim {
                return None;
            }
            let mut bytes = Vec::new();
            for row in 0..lists.len() {
                if lists.is_null(row) {
                    visit(None);
                    continue;
                }
                let value = lists.value(row);
                bytes.clear();
                let numbers = value.as_primitive_opt::<Float32Type>().filter(|numbers| numbers.null_count() == 0)?;
                numbers.values().iter().for_each(|number| bytes.extend(number.to_le_bytes()));
                visit(Some(&bytes));
            }
            Some(())
        }
    }
}

fn each_scalar(kind: Scalar, array: &ArrayRef, visit: &mut dyn FnMut(Option<&[u8]>)) -> Option<()> {
    fn numbers<T: ArrowPrimitiveType, const N: usize>(
        array: &ArrayRef,
        bytes_of: impl Fn(T::Native) -> [u8; N],
        visit: &mut dyn FnMut(Option<&[u8]>),
    ) -> Option<()> {
        let numbers = array.as_primitive_opt::<T>()?;
        numbers.iter().for_each(|value| match value {
            Some(value) => visit(Some(&bytes_of(value))),
            None => visit(None),
        });
        Some(())
    }
    match kind {
        Scalar::Bool => {
            array.as_boolean_opt()?.iter().for_each(|value| match value {
                Some(value) => visit(Some(&[u8::from(value)])),
                None => visit(None),
            });
            Some(())
        }
        Scalar::Int8 => numbers::<Int8Type, 8>(array, |value| i64::from(value).to_le_bytes(), visit),
        Scalar::Int16 => numbers::<Int16Type, 8>(array, |value| i64::from(value).to_le_bytes(), visit),
        Scalar::Int32 => numbers::<Int32Type, 8>(array, |value| i64::from(value).to_le_bytes(), visit),
        Scalar::Int64 => numbers::<Int64Type, 8>(array, i64::to_le_bytes, visit),
        Scalar::Float => numbers::<Float32Type, 4>(array, f32::to_le_bytes, visit),
        Scalar::Double => numbers::<Float64Type, 8>(array, f64::to_le_bytes, visit),
        Scalar::VarChar => {
            match array.data_type() {
                DataType::LargeUtf8 => {
                    array.as_string::<i64>().iter().for_each(|value| visit(value.map(str::as_bytes)));
                }
                _ => array.as_string_opt::<i32>()?.iter().for_each(|value| visit(value.map(str::as_bytes))),
            }
            Some(())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const SCALARS: [Scalar; 8] = [
        Scalar::Bool,
        Scalar::Int8,
        Scalar::Int16,
        Scalar::Int32,
        Scalar::Int64,
        Scalar::Float,
        Scalar::Double,
        Scalar::VarChar,
    ];

    /// Bytes of a value of a type, made from any number.
    fn value(kind: Scalar, seed: u64) -> Vec<u8> {
        let signed = seed.cast_signed();
        let narrow = |bits: u32| (signed >> (64 - bits)).to_le_bytes().to_vec();
        match kind {
            Scalar::Bool => vec![u8::from(seed % 2 == 1)],
            Scalar::Int8 => narrow(8),
            Scalar::Int16 => narrow(16),
            Scalar::Int32 => narrow(32),
            Scalar::Int64 | Scalar::Double => seed.to_le_bytes().to_vec(),
            Scalar::Float => seed.to_le_bytes()[..4].to_vec(),
            Scalar::VarChar => format!("é{seed}").into_bytes(),
        }
    }

    proptest! {
        /// Also fractions that are no numbers keep every bit.
        #[test]
        fn every_value_of_every_type_comes_back_bit_for_bit(
            seeds in proptest::collection::vec(proptest::option::of(any::<u64>()), 0..20), dim in 1_i32..5
        ) {
            let mut kinds = vec![LiteType::FloatVector(dim), LiteType::Json];
            kinds.extend(SCALARS.map(LiteType::Scalar));
            kinds.extend(SCALARS.map(LiteType::Array));
            for kind in kinds {
                let mut column = Column::default();
                for seed in &seeds {
                    let bytes = seed.map(|seed| match kind {
                        LiteType::Scalar(scalar) => value(scalar, seed),
                        LiteType::Json => value(Scalar::VarChar, seed),
                        LiteType::Array(element) => {
                            let mut array = Vec::new();
                            (0..seed % 4).for_each(|more| add_element(&mut array, &value(element, seed ^ more)));
                            array
                        }
                        LiteType::FloatVector(_) => seed.to_le_bytes().repeat(3)[..dim as usize * 4].to_vec(),
                    });
                    // Vectors are never missing.
                    if bytes.is_some() || !matches!(kind, LiteType::FloatVector(_)) {
                        column.push(bytes.as_deref());
                    }
                }
                let arrow = to_arrow("f", kind, true, &column).unwrap();
                prop_assert_eq!(arrow.data_type(), &kind.arrow());
                prop_assert_eq!(from_arrow("f", kind, &arrow).unwrap(), column, "{:?}", kind);
            }
        }
    }

    #[test]
    fn what_does_not_fit_its_type_names_the_field() {
        let of = |value: Option<&[u8]>| {
            let mut column = Column::default();
            column.push(value);
            column
        };
        let int8 = LiteType::Scalar(Scalar::Int8);
        for (kind, value, said) in [
            (int8, Some(&128_i64.to_le_bytes()[..]), RANGE),
            (int8, Some(&[1][..]), WIDTH),
            (int8, None, MISSING),
            (LiteType::Json, Some(&[0xff][..]), TEXT),
            (LiteType::FloatVector(2), Some(&[0; 4][..]), "has another number of dimensions than its field"),
            (LiteType::Array(Scalar::Int64), Some(&[9, 0, 0, 0, 1][..]), ARRAY),
            (LiteType::Array(Scalar::Int64), Some(&[1, 0, 0, 0, 1][..]), WIDTH),
        ] {
            let misfit = to_arrow("age", kind, false, &of(value)).unwrap_err();
            assert_eq!(misfit.to_string(), format!("a value of field `age` {said}"));
        }
        let text = to_arrow("age", LiteType::Json, false, &of(Some(b"{}"))).unwrap();
        assert!(from_arrow("age", int8, &text).unwrap_err().to_string().contains("field `age` is kept as Utf8"));
    }
}
