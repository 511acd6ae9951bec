//! Types of fields that can be told by their spelling to be none for shared memory, and what to use instead. Whatever
//! is not known here is left to the compiler, which asks whether it is `Shareable`.

use syn::spanned::Spanned;
use syn::{Error, GenericArgument, Path, PathArguments, Type};

/// Refuses a field of a type that is known not to be `Shareable`.
pub(crate) fn check(name: &str, field: &Type) -> syn::Result<()> {
    match refuse(field) {
        None => Ok(()),
        Some((found, why)) => Err(Error::new(found.span(), format!("field `{name}`: {why}"))),
    }
}

/// The type, or a part of it, that cannot be shared, and why.
fn refuse(found: &Type) -> Option<(&Type, String)> {
    let because = |why: &str| Some((found, why.to_owned()));
    match found {
        Type::Array(array) => refuse(&array.elem),
        Type::Paren(inner) => refuse(&inner.elem),
        Type::Group(inner) => refuse(&inner.elem),
        Type::Path(path) if path.qself.is_none() => match primitive(&path.path) {
            Some(why) => Some((found, why)),
            None => guarded(&path.path).find_map(refuse),
        },
        Type::Reference(_) => {
            because("a reference is an address, which means nothing in another process: use an offset (u64)")
        }
        Type::Ptr(_) => {
            because("a pointer is an address, which means nothing in another process: use an offset (u64)")
        }
        Type::FnPtr(_) => because(
            "a function's address means nothing in another process: use a number that says which function",
        ),
        Type::Tuple(tuple) if tuple.elems.is_empty() => because("`()` has no bytes to share: leave it out"),
        Type::Tuple(_) => {
            because("a tuple has no fixed layout: use a struct with #[repr(C)] and #[derive(Shareable)]")
        }
        Type::Slice(_) => because("a slice has no fixed size: use an array and a length"),
        Type::TraitObject(_) | Type::ImplTrait(_) => {
            because("what implements a trait has no fixed layout: use a struct that derives Shareable")
        }
        Type::Never(_) => because("`!` has no value, and every bit pattern has to be one: leave it out"),
        _ => None,
    }
}

/// Why a primitive type is refused.
fn primitive(path: &Path) -> Option<String> {
    let name = path.get_ident()?.to_string();
    let why = match &*name {
        "bool" => "is not valid for every bit pattern: use u8 or AtomicU8",
        "char" => "is not valid for every bit pattern: use u32 or AtomicU32",
        "usize" => "has another size in 32-bit programs: use u64 or AtomicU64",
        "isize" => "has another size in 32-bit programs: use i64 or AtomicI64",
        "u128" | "i128" => "is not aligned alike by all compilers: use [u64; 2]",
        "f16" | "f128" => "is not laid out alike everywhere: use f32 or f64",
        "str" => "has no fixed size: use an array of u8 and a length",
        _ => return None,
    };
    Some(format!("`{name}` {why}"))
}

/// The data of the locks that have some.
fn guarded(path: &Path) -> impl Iterator<Item = &Type> {
    let last = path
        .segments
        .last()
        .filter(|last| ["Mutex", "RwLock", "SeqLock", "OnceLock"].iter().any(|lock| last.ident == lock));
    let arguments = last.and_then(|last| match &last.arguments {
        PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        _ => None,
    });
    arguments.into_iter().flatten().filter_map(|argument| match argument {
        GenericArgument::Type(data) => Some(data),
        _ => None,
    })
}
