//! The derive macros of [Commons](https://docs.rs/commons): what may lie in memory that programs share. Use them from
//! there, as `commons::Shareable` and `commons::shared::NoPadding`.

mod fields;
mod item;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use syn::{DeriveInput, parse_macro_input};

/// Lets a structure lie in shared memory: implements `commons::shared::Shareable`, with its layout, and, if all its
/// fields are, `commons::shared::InPlace`.
///
/// The structure has `#[repr(C)]` or `#[repr(transparent)]`, and each field is `Shareable`. What is not is refused,
/// with what to use instead. Lifetimes, enumerations, unions, `packed` and `Drop` are refused too. Type parameters
/// are given the bound `Shareable`.
///
/// Whoever derives it says that every bit pattern is a value that the structure's own methods can live with: other
/// processes may have written anything.
///
/// `#[shareable(crate = path)]` says where `commons` is, if not at `::commons`.
#[proc_macro_derive(Shareable, attributes(shareable))]
pub fn shareable(input: TokenStream) -> TokenStream {
    expand(&parse_macro_input!(input), item::shareable, item::instead_of_shareable)
}

/// Says that a structure has no bytes that belong to no field, and implements `commons::shared::NoPadding`; refused
/// if there are any. The structure is `Shareable` and `Copy`, and has no type parameters.
#[proc_macro_derive(NoPadding, attributes(shareable))]
pub fn no_padding(input: TokenStream) -> TokenStream {
    expand(&parse_macro_input!(input), item::no_padding, item::instead_of_no_padding)
}

/// What is implemented; or the reason why it is not, and nothing else: `instead` spares the compiler to say wherever the
/// structure is used that it is not what it was to be.
fn expand(
    input: &DeriveInput,
    implement: fn(&DeriveInput) -> syn::Result<Tokens>,
    instead: fn(&DeriveInput) -> Tokens,
) -> TokenStream {
    let refused = |error: syn::Error| {
        let mut tokens = error.into_compile_error();
        tokens.extend(instead(input));
        tokens
    };
    implement(input).unwrap_or_else(refused).into()
}
